#!/usr/bin/env bash
# Does a closed loop of frames of tokens stay among the frames that it learned from? Two sprites on 32 x 32 pixels, 64 tokens a frame,
# fed back to a transformer that sees two frames and draws all places of the next one independently.
#
#     examples/sprites.sh OUT [--quick]
#
# Everything made goes to OUT, and what is there already is not made again: OUT/results.jsonl has a line a seed, way and step
# (sprites.py says what stands in it), OUT/sprites.png shows some frames. --quick: one seed, 200 rows, 60 steps, no
# lem-thermalize, ten minutes on two cores; else three seeds, 1,000 rows and 500 steps, for which a GPU is asked.
# Environment: DEVICE (cpu), JOBS at a time (1), SEEDS, ROWS, STEPS, UPDATES of the training (1200), WAYS after every step,
# and THERMALIZE, a file of more of them, each line a name and options of lem-thermalize (sprites.txt).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?usage: sprites.sh OUT [--quick]}
if [ "${2:-}" = --quick ]; then
    export SEEDS=${SEEDS:-0} ROWS=${ROWS:-200} STEPS=${STEPS:-60}
else
    THERMALIZE=${THERMALIZE:-$here/sprites.txt}
fi
export SEEDS=${SEEDS:-0 1 2} ROWS=${ROWS:-1000} STEPS=${STEPS:-500} STORED=${STORED:-1000} JOBS=${JOBS:-1} DEVICE=${DEVICE:-cpu}
export UPDATES=${UPDATES:-1200} here out
ways=${WAYS:-none requantise noise snap expected}
mkdir -p "$out"

[ -e "$out/pictures.npy" ] || python "$here/sprites.py" pictures "$out"
[ -e "$out/patches.safetensors" ] || lem-encode --encoder patches --size 4 "$out/pictures.npy" -o "$out/patches.safetensors"
[ -e "$out/fit.npy" ] || python "$here/sprites.py" patches "$out"
[ -e "$out/codes.safetensors" ] ||
    lem-encode --encoder rvq --fit --stages 1 --codes 64 -o "$out/codes.safetensors" "$out/fit.npy"
[ -e "$out/tokens.safetensors" ] ||
    lem-encode --model "$out/codes.safetensors" "$out/patches.safetensors" -o "$out/tokens.safetensors"

learn() { # SEED
    [ -e "$out/start-$1.npy" ] || python "$here/sprites.py" start "$out" "$1"
    local model="$out/frames-$1"
    [ -e "$model.safetensors" ] && [ ! -e "$model.state.safetensors" ] && return
    lem-train frames --data "$out/tokens.safetensors" --rows "$STORED" --steps "$UPDATES" --seed "$1" \
        --device "$DEVICE" --log-file "$model.jsonl" -o "$model.safetensors"
    rm -f "$model.state.safetensors" "$model.previous.safetensors" # it has learnt all
}
measured() { # SEED NAME [FILE]
    [ -e "$out/lines-$1-$2.jsonl" ] || {
        python "$here/sprites.py" measure "$out" "$@" > "$out/lines-$1-$2.part"
        mv "$out/lines-$1-$2.part" "$out/lines-$1-$2.jsonl"
    }
}
way() { # SEED WAY
    [ -e "$out/roll-$1-$2.npy" ] || python "$here/sprites.py" roll "$out" "$1" "$2" >> "$out/rolls.jsonl"
    measured "$1" "$2"
}
thermalized() { # SEED NAME OPTIONS
    local file="$out/roll-$1-$2.safetensors"
    [ -e "$file" ] || eval "lem-thermalize --codebook \"$out/codes.safetensors\" --memory \"$out/tokens.safetensors\" \
        --memory-rows $STORED --rows $ROWS --rollout \"$out/frames-$1.safetensors\" --steps $STEPS --seed $1 $3 --device $DEVICE \
        --log \"$out/roll-$1-$2.log\" \"$out/start-$1.npy\" -o \"$file\""
    measured "$1" "$2" "$file"
}
export -f learn measured way thermalized

each() { tr '\n' '\0' | xargs -0 -P "$JOBS" -I{} bash -euo pipefail -c '{}'; }
for seed in $SEEDS; do echo "learn $seed"; done | each
{
    for seed in $SEEDS; do
        for one in $ways; do echo "way $seed $one"; done
        if [ "${THERMALIZE:-}" ]; then
            while read -r name options; do printf 'thermalized %s %s %q\n' "$seed" "$name" "$options"; done < "$THERMALIZE"
        fi
    done
} | each
cat "$out"/lines-*.jsonl > "$out/results.jsonl"
names=$ways
[ -z "${THERMALIZE:-}" ] || names="$names $(cut -d ' ' -f 1 "$THERMALIZE" | tr '\n' ' ')"
python "$here/sprites.py" picture "$out" "${SEEDS%% *}" $names
