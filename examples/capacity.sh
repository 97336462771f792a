#!/usr/bin/env bash
# What a memory keeps at how many bits: stored images recalled from fragments of themselves, by bits a memory and by their number;
# beside them memories that are superposed, and what learns ten classes one after the other.
#
#     examples/capacity.sh DATA OUT [--quick]
#
# DATA: a folder with fashion-mnist (SOURCE.txt there says what it is). Encoders are fitted to the first half of its test images,
# which are never stored. --quick: the first 10,000 training images, up to 128 bits. The same command again goes on where it stopped.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
data=${1:?usage: capacity.sh DATA OUT [--quick]} out=${2:?where does it go?} quick=${3:-}
if [ ! -d "$data/fashion-mnist" ]; then
    echo "capacity.sh: no fashion-mnist in $data: skipped" >&2
    exit 0
fi
mkdir -p "$out"
rates="64 128 192"
if [ -n "$quick" ]; then
    rates="64 128"
fi
if [ ! -f "$out/stored.safetensors" ]; then
    python "$here/capacity.py" images "$data/fashion-mnist" "$out" $quick
fi
for dims in 64 128; do
    if [ ! -f "$out/$dims.pca.safetensors" ]; then
        lem-encode --encoder pca --fit --dims "$dims" "$out/others.safetensors" -o "$out/$dims.pca.safetensors"
    fi
    for set in others stored; do
        if [ ! -f "$out/$dims.$set.safetensors" ]; then
            lem-encode --model "$out/$dims.pca.safetensors" "$out/$set.safetensors" -o "$out/$dims.$set.safetensors"
        fi
    done
done
for bits in $rates; do
    dims=$((bits < 128 ? 64 : 128))
    if [ ! -f "$out/$bits.rvq.safetensors" ]; then
        lem-encode --encoder rvq --fit --stages $((bits / 8)) --codes 256 --beam 8 "$out/$dims.others.safetensors" -o "$out/$bits.rvq.safetensors"
    fi
    if [ ! -f "$out/$bits.rvq.codes.safetensors" ]; then
        lem-encode --model "$out/$bits.rvq.safetensors" "$out/$dims.stored.safetensors" -o "$out/$bits.rvq.codes.safetensors"
    fi
done
for set in others stored; do # components of equal variance, for bins of equal width
    if [ ! -f "$out/white.pca.safetensors" ]; then
        lem-encode --encoder pca --fit --dims 64 --whiten "$out/others.safetensors" -o "$out/white.pca.safetensors"
    fi
    if [ ! -f "$out/white.$set.safetensors" ]; then
        lem-encode --model "$out/white.pca.safetensors" "$out/$set.safetensors" -o "$out/white.$set.safetensors"
    fi
done
if [ ! -f "$out/128.uniform.codes.safetensors" ]; then
    lem-fragment --bits 2 "$out/white.stored.safetensors" -o "$out/128.uniform.codes.safetensors"
fi
if [ ! -f "$out/128.trellis.codes.safetensors" ]; then
    lem-fragment --bits 2 --quantizer trellis --rotate "$out/64.stored.safetensors" -o "$out/128.trellis.codes.safetensors"
fi
if [ ! -f "$out/784.pixels.codes.safetensors" ]; then
    lem-fragment --bits 1 "$out/stored.safetensors" -o "$out/784.pixels.codes.safetensors"
fi
python "$here/capacity.py" table "$out" $quick
python "$here/capacity_controls.py" "$out" $quick
