#!/usr/bin/env bash
# A language model of bytes and one of 512 byte pairs: each goes on from the other's activations after the first block, by ridge
# regression of 4,096 positions where a token of both ends at the same byte; bits a byte on text that neither has seen, beside
# controls.
#
#     examples/other-tokens.sh DATA OUT
#
# DATA: a folder with text/tinyshakespeare.txt. The same command again goes on where it stopped.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
data=${1:?usage: other-tokens.sh DATA OUT} out=${2:?where does it go?}
mkdir -p "$out"
if [ ! -f "$out/held.txt" ]; then
    python "$here/activations.py" text "$data" "$out"
fi
cd "$out"
head -c 60000 train.txt > pairs.txt
[ -f bpe.safetensors ] || lem-encode --encoder text --fit --vocab 512 train.txt -o bpe.safetensors > fit.txt
lem-train lm -q --depth 2 --steps 300 --seed 1 --data train.txt -o a.safetensors
lem-train lm -q --depth 2 --steps 300 --seed 2 --codec bpe.safetensors --data train.txt -o b.safetensors

lem-encode --encoder activations --lm a.safetensors --layer 1 --flat pairs.txt -o ah.safetensors
lem-encode --encoder activations --lm b.safetensors --codec bpe.safetensors --layer 1 --flat pairs.txt -o bh.safetensors
translate=(lem-encode --encoder translate --fit --map ridge --pairs 4096)
"${translate[@]}" --onto bh.safetensors ah.safetensors -o ab.safetensors > ab.fit.txt
"${translate[@]}" --onto ah.safetensors bh.safetensors -o ba.safetensors > ba.fit.txt

put=(lem-encode --patch-back --layer 1 held.txt)
echo "byte pairs read bytes' activations"
"${put[@]}" --translate ab.safetensors --lm b.safetensors --codec bpe.safetensors --from-lm a.safetensors
echo "bytes read byte pairs' activations"
"${put[@]}" --translate ba.safetensors --lm a.safetensors --from-lm b.safetensors --from-codec bpe.safetensors
