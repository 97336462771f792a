#!/usr/bin/env bash
# Train the network for images that comes with the package (lemtools/data/recall-image.safetensors).
#
#     examples/train-image-model.sh PHOTOS MODEL.safetensors [GPUS]
#
# PHOTOS is the folder of the 400 images of BSDS400. The network learns from them first (on four H200, GPUS = 4, 9 minutes, on
# one H100 about 35), and then from them and from what examples/varied-images.py makes of them: other scales, JPEG, noise,
# palettes, halftones, pages of text, drawings, comics, shadings (on four H200 9 minutes). The result depends on the number
# of GPUs only by rounding. The same command goes on where it stopped.
set -euo pipefail
photos=${1:?usage: train-image-model.sh PHOTOS MODEL.safetensors [GPUS]} model=${2:?where does the model go?} gpus=${3:-1}

losses=() # drawn with equal chance for every crop
for options in \
    '--bits 1-7' '--bits 1-7' '--bits 2-6' '--bits 3-7' \
    '--mask 0-.95' '--mask .4-.95' '--mask .4-.95' \
    '--mask 0-.95 --mask-shape patch:4' '--mask 0-.95 --mask-shape patch:8' '--mask 0-.95 --mask-shape patch:16' \
    '--mask 0-.5 --mask-shape block' '--mask 0-.95 --mask-shape rows' \
    '--bits 1-7 --mask 0-.95' '--bits 1-7 --mask 0-.95' '--bits 1-7 --mask 0-.95 --mask-shape patch:8'; do
    losses+=(--fragment "$options")
done
train=(lem-train)
[ "$gpus" -eq 1 ] || train=(torchrun --nproc-per-node "$gpus" --no-python lem-train)

common=("${losses[@]}" --crop 128 --augment zoom:.5-1 --augment dihedral --augment grey:.2
    --weighting log --ema .9995 --holdout 8 --weights float16)
"${train[@]}" feedforward --data "$photos" "${common[@]}" --batch 256 --steps "${STEPS:-22000}" --save-every 2000 \
    -o "${model%.safetensors}-photos.safetensors"
varied=${model%.safetensors}-varied
[ -d "$varied" ] || { python "$(dirname "$0")/varied-images.py" "$photos" "$varied.part" && mv "$varied.part" "$varied"; }
"${train[@]}" feedforward --data "$varied" "${common[@]}" --init "${model%.safetensors}-photos.safetensors" \
    --batch 512 --steps "${MORE:-18000}" --lr 7e-4 --save-every 1000 \
    --card 'name=recall-image 2: images from fragments (1-7 bits, lost pixels, patches, rows or a block, or both)' \
    --card "data=BSDS400: images/train and images/test of BSDS500 (Arbelaez, Maire, Fowlkes, Malik, TPAMI 2011), \
400 photographs, twice, and 2.4 times as many images made of them or drawn by examples/varied-images.py" \
    --card 'data licence=the photographs are for non-commercial research and education, as its authors say' \
    --card 'never trained on=Kodak, Set5' \
    "${@:4}" -o "$model"
