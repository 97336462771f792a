#!/usr/bin/env bash
# Photos as dense tokens: patches of 8 x 8 pixels, each in a few codes, against the principal components of as many bits,
# with bits and levels as good as they can be chosen (dense_tokens.py).
#
#     examples/dense-tokens.sh DATA [photos ...]
#
# DATA holds bsds400 (40 of its photos are learnt from) and kodak (24 photos, never learnt from; rvq was developed on 6 of
# them, the others have rows of their own). Some five minutes of CPU.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
data=$(cd "${1:?usage: dense-tokens.sh DATA [table ...]}" && pwd)
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

patches() { lem-encode -q --encoder patches --size 8 "$@"; }

photos() {
    mkdir -p "$work/learn"
    find "$data/bsds400/images" -type f | sort | awk 'NR % 10 == 1' | xargs -I{} ln -sf {} "$work/learn/"
    patches "$work/learn" > "$work/learn.stream"
    patches "$data"/kodak/*.png > "$work/test.stream"
    for stages in 1 2 4; do
        bits=$((8 * stages))
        lem-encode -q --encoder rvq --fit --stages "$stages" --codes 256 "$work/learn.stream" -o "$work/rvq.safetensors" \
            > "$work/report.$stages" 2> "$work/verdict.$stages"
        lem-encode -q --model "$work/rvq.safetensors" "$work/test.stream" |
            lem-encode -q --decode --model "$work/rvq.safetensors" | lem-encode -q --decode -o "$work/rvq-$bits/"
        python "$here/dense_tokens.py" pca "$work/learn.stream" "$work/test.stream" "$bits" "$work/pca.stream"
        lem-encode -q --decode "$work/pca.stream" -o "$work/pca-$bits/"
    done
    python "$here/dense_tokens.py" table "$data/kodak" "$work"
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
