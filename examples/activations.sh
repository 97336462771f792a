#!/usr/bin/env bash
# Two small language models of other seeds: B goes on from A's activations after the first block, translated by maps from 256 to
# 4,096 pairs; bits a byte on text that neither has seen, beside controls.
#
#     examples/activations.sh DATA OUT [layers]
#
# DATA: a folder with text/tinyshakespeare.txt. The same command again goes on where it stopped. `layers`: instead of them models of
# four blocks, A 128 wide and B 192, three pairs of them, after each block. DEVICE: where lem-train translate learns (cpu).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
data=${1:?usage: activations.sh DATA OUT} out=${2:?where does it go?}
mkdir -p "$out"
if [ ! -f "$out/held.txt" ]; then
    python "$here/activations.py" text "$data" "$out"
fi
if [ "${3:-}" = layers ]; then
    for seed in 1 2 3; do
        lem-train lm --depth 4 --width 128 --steps 500 --seed "$seed" --data "$out/train.txt" -o "$out/narrow-$seed.safetensors"
        lem-train lm --depth 4 --width 192 --steps 500 --seed "$((seed + 10))" --data "$out/train.txt" -o "$out/wide-$seed.safetensors"
    done
    exec python "$here/activations.py" layers "$out"
fi
lem-train lm --depth 2 --steps 500 --seed 1 --data "$out/train.txt" -o "$out/a.safetensors"
lem-train lm --depth 2 --steps 500 --seed 2 --data "$out/train.txt" -o "$out/b.safetensors"
python "$here/activations.py" table "$out"
