#!/usr/bin/env bash
# How much of a text with gaps comes back: a small language model learns the validation part of WikiText-2, and is asked for
# pieces of its test part, and of tinyshakespeare, which it was not trained on; beside it n-grams of what it learnt.
#
#     examples/texts.sh DATA OUT
#
# DATA holds the folder text; the model and both tables go to OUT. The same command goes on where it stopped. The dials, as they
# are where not given:
#
#     DEPTH=2 FLOPS=4e13 SEED=0 PIECES=12 SKIP=8
#
# That takes 10 minutes of a core for the model and 7 for the tables.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
data=$(cd "${1:?usage: texts.sh DATA OUT}" && pwd)/text out=${2:?where does it go?}
mkdir -p "$out"
lem-train lm --data "$data/wikitext2-valid.txt" --depth "${DEPTH:-2}" --flops "${FLOPS:-4e13}" --seed "${SEED:-0}" --holdout 64 \
    --save-every 500 --log-file "$out/lm.jsonl" -o "$out/lm.safetensors"
for name in wikitext2-test tinyshakespeare; do
    printf '\n%s\n' "$name"
    python "$here/texts.py" "$out/lm.safetensors" "$data/wikitext2-valid.txt" "$data/$name.txt" \
        --pieces "${PIECES:-12}" --skip "${SKIP:-8}" | tee "$out/$name.tsv"
done
