#!/usr/bin/env bash
# What a text costs: by counting, by compressors, by a small language model; K of its tokens as one vector, and how many
# come back; the next vector predicted in place of the next token; activations of the model quantised and put back; how what it writes repeats itself.
#
#     examples/lm.sh DATA OUT [stage ...]        stages: controls lm token-ae dense patch samplers
#
# DATA holds the folder text; everything made goes to OUT, and the same command goes on where it stopped. Every stage
# ends in a table; the last tenth of the text is kept back throughout. The dials, as they are where not given:
#
#     TEXT=tinyshakespeare.txt DEVICE=auto SEEDS=0 DEPTH=2 FLOPS=1e13
#     KS='1 2 4 8' LATENT=128 WIDTH=128 STEPS=2000 BATCH=8 STAGES=4 CODES=256 LAYER=1
#
# On a GPU, as far as a megabyte of text takes a model (at twice the operations it learns it by heart):
#
#     DEPTH=4 FLOPS=1.5e14 WIDTH=256 STEPS=3000 BATCH=32 LAYER=2 SEEDS='0 1 2' examples/lm.sh DATA OUT
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
data=$(cd "${1:?usage: lm.sh DATA OUT [stage ...]}" && pwd) out=${2:?where does it go?}
shift 2
text=$data/text/${TEXT:-tinyshakespeare.txt}
depth=${DEPTH:-2} flops=${FLOPS:-1e13}
latent=${LATENT:-128} stages=${STAGES:-4} codes=${CODES:-256}
read -ra seeds <<< "${SEEDS:-0}"
read -ra sizes <<< "${KS:-1 2 4 8}"
export DEVICE=${DEVICE:-auto}
mkdir -p "$out"
tenth=$(($(wc -c < "$text") / 10))

windows() { echo $(((tenth + $1 - 1) / $1)); } # of so many bytes, that hold the last tenth: what nothing is fitted to

helper() { python "$here/lm.py" "$@"; }

train() { # name, recipe, options: trained, its log beside it
    lem-train "$2" --data "$text" --device "$DEVICE" --log-file "$out/$1.jsonl" -o "$out/$1.safetensors" "${@:3}"
}

model() { # name, options: a model of the text for every seed, all of the same operations
    for seed in "${seeds[@]}"; do
        train "$1-$seed" lm --depth "$depth" --flops "$flops" --seed "$seed" --save-every 500 \
            --holdout "$(windows $((64 * depth)))" "${@:2}"
    done
}

autoencoder() { # K
    train "ae$1" token-ae --chunk "$1" --set latent="$latent" --width "${WIDTH:-128}" --steps "${STEPS:-2000}" \
        --batch "${BATCH:-8}" --holdout "$(($(windows $((64 * $1))) + depth + 1))" # all that any model keeps back
}

controls() { python "$here/learned_controls.py" text "$text"; }

lm() {
    model lm
    printf 'bits a byte of the last tenth\tmean\tsd\tupdates\tparameters\n'
    controls
    helper runs "lm, depth $depth, $flops operations" held_out_bits_per_byte "$out/lm" "${seeds[@]}"
}

token-ae() {
    local files=()
    for k in "${sizes[@]}"; do
        autoencoder "$k"
        files+=("$out/ae$k.safetensors")
    done
    helper recovered "$text" "${files[@]}"
}

dense() { # the same operations for all: tokens, latents, codes; the autoencoder and the quantiser are made beforehand
    local rvq=$out/rvq-${stages}x$codes.safetensors
    autoencoder 4
    helper quantiser "$text" "$out/ae4.safetensors" "$rvq" "$stages" "$codes"
    model lm
    model latents --on dense --codec "$out/ae4.safetensors"
    model codes --on dense --codec "$out/ae4.safetensors" --codec "$rvq"
    printf 'depth %s, %s operations, bits a byte of the last tenth\tmean\tsd\tupdates\tparameters\n' "$depth" "$flops"
    helper runs 'tokens: likelihood' held_out_bits_per_byte "$out/lm" "${seeds[@]}"
    helper runs "codes, $stages x $codes: two parts, exact" held_out_bits_per_byte "$out/codes" "${seeds[@]}"
    helper runs '  of which what the codes leave open' held_out_rest_bits_per_byte "$out/codes" "${seeds[@]}"
    helper runs '  next tokens right (share)' held_out_next_tokens_right "$out/codes" "${seeds[@]}"
    helper runs "latents, $latent: bound" held_out_bits_per_byte "$out/latents" "${seeds[@]}"
    helper runs '  next tokens right (share)' held_out_next_tokens_right "$out/latents" "${seeds[@]}"
}

patch() {
    model lm
    helper patch "$text" "$out/lm-${seeds[0]}.safetensors" "${LAYER:-1}" "$stages" "$codes"
}

samplers() { # two seeds at least: each reads what another wrote
    local files=()
    model lm
    for seed in "${seeds[@]}"; do files+=("$out/lm-$seed.safetensors"); done
    python "$here/samplers.py" "$text" "${files[@]}"
}

for stage in "${@:-controls lm token-ae dense patch}"; do
    for name in $stage; do
        case $name in
            controls | lm | token-ae | dense | patch | samplers) printf '\n'; "$name" ;;
            *) echo "no stage $name" >&2; exit 2 ;;
        esac
    done
done
