#!/usr/bin/env bash
# Does a closed formula predict what a diffusion network draws? Calibrate the patch sizes of the formula, send the
# same seeds through both, and see where the pixels of the formula's samples come from. Ends in the table of lem-els
# --against.
#
#     examples/els-images.sh OUT [MODEL]
#
# LEM_DATA is the folder that holds mnist (or fashion-mnist: SET). MODEL, or the second argument, is a network of
# `lem-train diffusion` on that set at SIZE px (32, as the paper has it). Without one, a tiny network is trained
# first, at 16 px, on the very images of the bank, which takes some minutes on two cores; it is a toy: its numbers
# show how the tool is used, not what the theory is worth. BANK (500) training images are asked, SEEDS (0-19)
# compared, and calibrated with TRIES (1000-1003), which are others. Only bbels is calibrated: ls and els are compared
# with its sizes.
#
# What OUT holds already is not made again if it came from the same settings, which are noted beside it (FILE.made). The
# toy itself refuses to go on with others: give another OUT then.
set -euo pipefail
out=${1:?usage: els-images.sh OUT [MODEL]} model=${2:-${MODEL:-}}
data=${LEM_DATA:?LEM_DATA names the folder that holds mnist} set=${SET:-mnist}
mkdir -p "$out"
bank="$out/$set.bank.safetensors"
size=${SIZE:-$([ -n "$model" ] && echo 32 || echo 16)}

made() { [ -f "$1" ] && [ "$(cat "$1.made" 2> /dev/null)" = "$2" ]; } # made FILE SETTINGS

settings="$set, ${BANK:-500} images, $size px, $(cksum < "$data/$set/train-images-idx3-ubyte.gz")"
made "$bank" "$settings" || {
    python - "$data/$set/train-images-idx3-ubyte.gz" "$out/$set.npy" "${BANK:-500}" << 'END'
import sys

import numpy as np

from lemtools.media import load

source, target, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
np.save(target, next(load([source], batch=count)).data)
END
    lem-els --bank "$out/$set.npy" --size "$size" --prepare -o "$bank"
    echo "$settings" > "$bank.made"
}

if [ -z "$model" ]; then
    model="$out/toy.safetensors"
    lem-train diffusion --data "$bank" --arch resnet --width 32 --depth 4 --steps "${STEPS:-1500}" --batch 32 \
        --lr 2e-3 --holdout 0 --save-every 10000 -o "$model"
fi

settings="sizes ${SIZES:-3-15}, seeds ${TRIES:-1000-1003}, bank $(cksum < "$bank"), network $(cksum < "$model")"
made "$out/scales.txt" "$settings" || {
    lem-els --bank "$bank" --calibrate "$model" --sizes "${SIZES:-3-15}" --monotone --seeds "${TRIES:-1000-1003}" \
        -o "$out/scales.txt"
    echo "$settings" > "$out/scales.txt.made"
}
printf 'patch sizes in px, low noise first: %s\n\n' "$(grep -v '^#' "$out/scales.txt" | cut -f 1 | paste -sd ' ')"

printf 'where the pixels of 4 samples come from (%s)\n' "$out/map.png"
lem-els --bank "$bank" --scales "$out/scales.txt" --seeds 0-3 --explain "$out/map.png"

printf '\nthe machines against the network, medians over seeds (%s)\n' "$out/sheet.png"
lem-els --bank "$bank" --scales "$out/scales.txt" --against "$model" --seeds "${SEEDS:-0-19}" -o "$out/sheet.png"
