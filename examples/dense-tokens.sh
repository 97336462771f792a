#!/usr/bin/env bash
# Photos as dense tokens: patches of 8 x 8 pixels, each in a few codes, against scalar codes of as many bits.
#
#     examples/dense-tokens.sh DATA [photos ...]
#
# DATA holds bsds400 (40 of its photos are learnt from) and kodak (6 photos, never learnt from). A few minutes on two
# cores.
set -euo pipefail
data=$(cd "${1:?usage: dense-tokens.sh DATA [table ...]}" && pwd)
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

patches() { lem-encode -q --encoder patches --size 8 "$@"; }

score() { # photos as they were, an encoding's decoding on stdin -> PSNR and bits a patch
    lem-encode -q --decode | lem-compare --metric psnr --metric bits --pair order "$1" - |
        awk -F'\t' '/^psnr/ { psnr = $2 } /^bits/ { bits = $2 * 192 } END { printf "%.1f\t%.2f\n", bits, psnr }'
}

photos() {
    mkdir -p "$work/learn" "$work/test"
    find "$data/bsds400/images" -type f | sort | awk 'NR % 10 == 1' | xargs -I{} ln -sf {} "$work/learn/"
    for n in 01 03 07 15 19 23; do ln -sf "$data/kodak/kodim$n.png" "$work/test/"; done
    patches "$work/learn" > "$work/learn.stream"
    patches "$work/test" > "$work/test.stream"
    printf 'Kodak, 6 photos, patches of 192 numbers\tbits a patch\tPSNR in dB\n'
    for stages in 1 2 4; do
        lem-encode -q --encoder rvq --fit --stages "$stages" --codes 256 "$work/learn.stream" -o "$work/rvq.safetensors" \
            > "$work/report.$stages" 2> "$work/verdict.$stages"
        printf 'rvq, %d x 256 codes\t' "$stages"
        lem-encode -q --model "$work/rvq.safetensors" "$work/test.stream" |
            lem-encode -q --decode --model "$work/rvq.safetensors" | score "$work/test"
    done
    for setting in 4:2 2:4 8:2 4:4 16:2 8:4; do # whitened dimensions x bits each: the quantiser fits every one
        dims=${setting%:*} bits=${setting#*:}
        lem-encode -q --encoder pca --fit --whiten --dims "$dims" "$work/learn.stream" -o "$work/pca.safetensors" > /dev/null
        printf 'pca, %d dimensions x %d bits\t' "$dims" "$bits"
        lem-encode -q --model "$work/pca.safetensors" "$work/test.stream" |
            lem-fragment -q --bits "$bits" --quantizer lloyd-max | lem-reconstruct -q --method decode |
            lem-encode -q --decode --model "$work/pca.safetensors" | score "$work/test"
    done
    echo
    echo 'the fit of 4 x 256 codes, on patches of the learnt photos that were held back'
    cat "$work/report.4" "$work/verdict.4"
}

for table in "${@:-photos}"; do
    case $table in
        photos) "$table" ;;
        *) echo "no table $table" >&2; exit 2 ;;
    esac
done
