#!/usr/bin/env bash
# How well does a closed formula predict what a trained convolutional diffusion model dreams? The table of Kamb & Ganguli
# (arXiv 2412.20292), on networks that are trained here.
#
#     examples/els-table.sh DATA OUT [stage ...]        stages: banks train scales compare table
#
# DATA holds mnist, fashion-mnist and cifar10; everything made goes to OUT, and what is there already is not made again
# unless its settings or inputs are others now. All visible GPUs are used, a network on each. Only the machine that fits
# a network's padding is calibrated; the other local machines are run with its sizes. Smaller, on a laptop:
#
#     SETS=mnist IMAGES=300 WIDTH=16 STEPS=300 SEEDS=0-3 examples/els-table.sh DATA OUT
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
data=${1:?usage: els-table.sh DATA OUT [stage ...]} out=${2:?where does it go?}
shift 2
for stage in "${@:-banks train scales compare table}"; do
    for name in $stage; do python "$here/els_table.py" "$name" "$data" "$out"; done
done
