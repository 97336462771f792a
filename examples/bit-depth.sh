#!/usr/bin/env bash
# Bit depth of embeddings: what is left of a vector at 1, 2, 3 and 4 bits a number, by quantiser, beside the limit.
#
#     examples/bit-depth.sh [gaussian|spectrum|neighbours|cost ...]      (LEM_DEVICE=cuda codes the trellis there)
#
# gaussian: independent N(0, 1), the case that theory knows; spectrum: variances ~ 1/i along the axes, as embeddings
# have them; neighbours: how many of its 10 nearest neighbours a vector keeps; cost: bits an element, norm and all. NMSE
# is the mean over vectors. All tables take about seven minutes on one core, the trellis nearly all of it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python - "$work" <<'PYTHON'
import sys

import numpy as np

work, rng = sys.argv[1], np.random.default_rng(1)
sets = ("gaussian", 500, 128, 0), ("spectrum", 500, 128, 1), ("neighbours", 3000, 256, 1), ("cost", 8, 128, 0)
for name, count, dims, slope in sets:
    x = rng.standard_normal((count, dims)) * np.arange(1, dims + 1) ** (-slope / 2)
    np.save(f"{work}/{name}.npy", x.astype(np.float32))
PYTHON

limit() { # data -> least NMSE of Gaussian vectors with its variances: reverse water-filling (Cover & Thomas, 10.3.3);
    # at B bits a dimension, and with the float16 norm that the codes spend besides
    python - "$1" <<'PYTHON'
import sys

import numpy as np

variances = np.ones(128) if "gaussian" in sys.argv[1] else 1 / np.arange(1, 129)
for name, norm in (("limit", 0), ("limit, norm paid", 16 / 128)):
    row = [name]
    for bits in (1, 2, 3, 4):
        low, high = 0.0, 1.0
        for _ in range(100):
            level = (low + high) / 2
            rate = np.log2(np.maximum(variances / level, 1)).mean() / 2
            low, high = (level, high) if rate > bits + norm else (low, level)
        row.append(f"{np.minimum(variances, level).sum() / variances.sum():.4f}")
    print("\t".join(row))
PYTHON
}

score() { # metric, data, options of lem-fragment -> the mean of the metric
    local metric=$1 data=$2
    shift 2
    lem-fragment -q "$@" "$data" | lem-reconstruct -q --to safetensors | lem-compare --metric "$metric" "$data" - |
        awk -F'\t' '{ printf "%.4f", $2; exit }'
}

rows() { # metric, data, arm ...: a line an arm, a column a depth
    local metric=$1 data=$2 arm bits
    shift 2
    for arm in "$@"; do
        printf '%s' "$arm"
        for bits in 1 2 3 4; do
            # shellcheck disable=SC2086  (an arm is several options)
            printf '\t%s' "$(score "$metric" "$data" --bits $bits --quantizer $arm)"
        done
        printf '\n'
    done
}

gaussian() {
    printf 'Gaussian, 500 x 128, NMSE\t1 bit\t2 bits\t3 bits\t4 bits\n'
    limit "$work/gaussian.npy"
    rows nmse "$work/gaussian.npy" uniform lloyd-max "lloyd-max --rotate" trellis "trellis --rotate"
}

spectrum() {
    printf 'variance 1/i, 500 x 128, NMSE\t1 bit\t2 bits\t3 bits\t4 bits\n'
    limit "$work/spectrum.npy"
    rows nmse "$work/spectrum.npy" uniform lloyd-max "lloyd-max --rotate" trellis "trellis --rotate"
}

neighbours() {
    printf 'variance 1/i, 3,000 x 256, mutual 10-NN by cosine\t1 bit\t2 bits\t3 bits\t4 bits\n'
    rows mutual-knn-cosine@10 "$work/neighbours.npy" lloyd-max "lloyd-max --rotate" "trellis --rotate"
}

cost() {
    printf 'bits an element, 128 dimensions\t1 bit\t2 bits\t3 bits\t4 bits\n'
    rows bits "$work/cost.npy" "lloyd-max --rotate" trellis
}

for table in "${@:-gaussian spectrum neighbours cost}"; do
    for name in $table; do
        printf '\n'
        "$name"
    done
done
