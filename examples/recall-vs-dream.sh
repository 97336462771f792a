#!/usr/bin/env bash
# Is reconstruction from a fragment like recall, or like dreaming? Four ways of remembering, of equal size and training,
# beside what needs no training.
#
#     examples/recall-vs-dream.sh DATA OUT [stage ...]        stages: data train recall table sheet
#
# DATA holds mnist, fashion-mnist and cifar10; everything made goes to OUT, and what is there already is not made again.
# All GPUs are used, PER (3) processes each. MNIST's tables in docs/recall-or-dream.md took five minutes of training and five of
# recall, on one H200 with PER=6. Smaller, on a laptop:
#
#     SETS=mnist SEEDS=0 FLOPS=2e12 BATCH=16 TRAIN=2000 TEST=20 DRAWS=2 examples/recall-vs-dream.sh DATA OUT
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
data=${1:?usage: recall-vs-dream.sh DATA OUT [stage ...]} out=${2:?where does it go?}
shift 2
for stage in "${@:-data train recall table sheet}"; do
    for name in $stage; do python "$here/recall_vs_dream.py" "$name" "$data" "$out"; done
done
