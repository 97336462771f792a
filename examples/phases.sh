#!/usr/bin/env bash
# How does the geometry of a small language model's vectors move while it learns, and at which depth can what be read of them?
#
#     examples/phases.sh DATA OUT [--quick] [stage ...]        stages: train curves turns depth
#
# DATA holds the folder text; everything made goes to OUT, and the same command goes on where it stopped. Three seeds of a model of
# bytes learn all but the last tenth of a text; every 20th update is kept. What is measured, and its controls, stand at the head of
# phases.py. The dials, as they are where not given:
#
#     TEXT=tinyshakespeare.txt SEEDS='0 1 2' DEPTH=4 WIDTH=128 CONTEXT=128 BATCH=8 STEPS=1500 EVERY=20 JOBS=2
#     DECAYS=cosine       as of lem-train --decay; several, such as 'cosine constant', stand side by side
#     LEARN=              so many bytes of the text's beginning are learnt, and not all
#
# That takes some 10 minutes of a core and 900 MB; --quick, STEPS=600 and half as many items, some 5 minutes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
data=$(cd "${1:?usage: phases.sh DATA OUT [--quick] [stage ...]}" && pwd) out=${2:?where does it go?}
shift 2
if [ "${1:-}" = --quick ]; then
    export STEPS=${STEPS:-600} ITEMS=${ITEMS:-2000}
    shift
fi
export OUT=$out TEXT=$data/text/${TEXT:-tinyshakespeare.txt} OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
export DEPTH=${DEPTH:-4} WIDTH=${WIDTH:-128} CONTEXT=${CONTEXT:-128} BATCH=${BATCH:-8} STEPS=${STEPS:-1500} EVERY=${EVERY:-20}
export SEEDS=${SEEDS:-0 1 2} DECAYS=${DECAYS:-cosine}
mkdir -p "$out"

one() { # decay, seed: a model, and how it stood at every EVERY-th update
    lem-train lm -q --data "$LEARNT" --depth "$DEPTH" --width "$WIDTH" --context "$CONTEXT" --batch "$BATCH" --steps "$STEPS" \
        --decay "$1" --ema 0 --seed "$2" --holdout "$WINDOWS" --save-every 500 --keep-every "$EVERY" \
        --log-file "$OUT/$1-$2.jsonl" -o "$OUT/$1-$2.safetensors"
}
export -f one

train() {
    export LEARNT=$TEXT WINDOWS=$((($(wc -c < "$TEXT") / 10 + CONTEXT - 1) / CONTEXT)) # that hold the last tenth
    if [ -n "${LEARN:-}" ]; then
        LEARNT=$out/learnt.txt WINDOWS=8
        head -c "$LEARN" "$TEXT" > "$LEARNT"
    fi
    for decay in $DECAYS; do
        for seed in $SEEDS; do printf '%s %s\n' "$decay" "$seed"; done
    done | xargs -P "${JOBS:-2}" -I{} bash -euc 'one {}'
}

for stage in "${@:-train curves turns depth}"; do
    for name in $stage; do
        case $name in
            train) train ;;
            curves | turns | depth) python "$here/phases.py" "$name" "$TEXT" "$out" ;;
            *) echo "phases.sh: no stage $name; there are train, curves, turns and depth" >&2; exit 2 ;;
        esac
    done
done
