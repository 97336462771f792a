#!/usr/bin/env bash
# Small codes of tokens learnt with the task, against those of an autoencoder, of principal components, drawn at random, and a
# full table at few bits: at equal stored bits, with the same trunk, batches and text for all.
#
#     examples/learned-encodings.sh DATA OUT [stage ...]        stages: prepare train search table
#
# DATA holds the folder text; everything made goes to OUT, and the same command goes on where it stopped. Every model goes
# through the gates of lem-train lm --gates before any number of it is printed; one that fails is named and left out.
# The dials, as they are where not given, are quick, for two cores. All of the experiment, on a GPU:
#
#     FULL=1 examples/learned-encodings.sh DATA OUT
#
#     TEXT=tinyshakespeare.txt HELD= VOCAB=4096 DEPTH=1 STEPS=200 BATCH=16 RATIOS=8 SEEDS=0 WINDOWS=64 DEVICE=auto JOBS=2
#     ARMS='learned random pca autoencoder trellis'
#
# HELD is a file of DATA/text, in place of the last tenth of TEXT. Byte-pair encoding takes lemtools[llm].
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
data=$(cd "${1:?usage: learned-encodings.sh DATA OUT [stage ...]}" && pwd) out=${2:?where does it go?}
shift 2
if [[ ${FULL:-} ]]; then
    : "${DEPTH:=2}" "${STEPS:=3000}" "${BATCH:=32}" "${WINDOWS:=1024}"
    : "${RATIOS:=1 2 4 8 16 32 64}" "${SEEDS:=0 1 2 3 4}" "${ARMS:=learned longer random pca autoencoder tuned joint trellis}"
fi
depth=${DEPTH:-1} steps=${STEPS:-200} batch=${BATCH:-16} vocab=${VOCAB:-4096} jobs=${JOBS:-2}
read -ra ratios <<< "${RATIOS:-8}"
read -ra seeds <<< "${SEEDS:-0}"
read -ra arms <<< "${ARMS:-learned random pca autoencoder trellis}"
export DEVICE=${DEVICE:-auto} WINDOWS=${WINDOWS:-64} FULL=${FULL:-} OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
mkdir -p "$out"
codec=$out/bpe-$vocab.safetensors

helper() { python "$here/learned_encodings.py" "$@"; }

prepare() { # what is learnt and what is kept back; a vocabulary of the former alone; what costs nothing to train
    local held=()
    [[ ${HELD:-} ]] && held=(--held "$data/text/$HELD")
    [[ -e $out/learnt.txt ]] || python "$here/learned_controls.py" text "$data/text/${TEXT:-tinyshakespeare.txt}" "${held[@]}" \
        --parts "$out" > "$out/controls.tsv"
    [[ -e $codec ]] || lem-encode --encoder text --fit --vocab "$vocab" "$out/learnt.txt" -o "$codec"
}

one() { # name, seed, options: trained through the gates; a model that fails them leaves NAME.failed, and no number
    local model=$out/$1-$2 status=0
    [[ -e $model.failed ]] && return
    lem-train lm -q --data "$out/learnt.txt" --validate "$out/held.txt" --codec "$codec" --depth "$depth" --steps "$steps" \
        --batch "$batch" --save-every "$steps" --gates 300 --seed "$2" --device "$DEVICE" --log-file "$model.jsonl" \
        -o "$model.safetensors" "${@:3}" 2> "$model.txt" || status=$?
    [[ $status != 1 ]] || mv "$model.txt" "$model.failed"
    [[ $status -lt 2 ]] || { cat "$model.txt" >&2; exit 2; }
    [[ $status = 1 ]] || rm "$model.txt"
}

slot() { while (($(jobs -rp | wc -l) >= jobs)); do wait -n; done; }

finished() { local job; for job in $(jobs -p); do wait "$job"; done; }

train() {
    for seed in "${seeds[@]}"; do slot; one full "$seed" & done
    finished
    for seed in "${seeds[@]}"; do
        [[ -e $out/full-$seed.safetensors ]] || continue # (no table of it, then)
        local table=(--table "$out/full-$seed.safetensors")
        for arm in "${arms[@]}"; do
            for ratio in "${ratios[@]}"; do
                local small=(--ratio "$ratio") name=$arm-$ratio
                case $arm in
                    learned | random) small+=(--embedding "$arm") ;;
                    longer) small+=(--embedding learned --steps "$((2 * steps))") ;; # what pca, trellis ... have with full's training
                    pca | autoencoder) small+=(--embedding "$arm" "${table[@]}") ;;
                    tuned | joint) small+=(--embedding autoencoder --coding "$arm" "${table[@]}") ;;
                    trellis) small=(--embedding trellis "${table[@]}") name=trellis-1 ;;
                    *) echo "no arm $arm" >&2; exit 2 ;;
                esac
                [[ $name = trellis-1 && $ratio != "${ratios[0]}" ]] && continue
                slot
                one "$name" "$seed" "${small[@]}" &
            done
        done
    done
    finished
}

search() {
    local model
    for model in "$out"/*-*.safetensors; do
        case $model in *.state.safetensors | *.previous.safetensors | "$codec") continue ;; esac
        [[ -e ${model%.safetensors}.json ]] && continue
        slot
        helper search "$model" "$out/learnt.txt" "$out/held.txt" "$codec" "${model%.safetensors}.json" &
    done
    finished
}

table() {
    cat "$out"/*.failed 2> /dev/null || true
    cat "$out/controls.tsv"
    helper table "$out"/*.json
}

for stage in "${@:-prepare train search table}"; do
    for name in $stage; do
        case $name in
            prepare | train | search | table) "$name" ;;
            *) echo "no stage $name" >&2; exit 2 ;;
        esac
    done
done
