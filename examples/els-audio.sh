#!/usr/bin/env bash
# Does a closed formula predict what a diffusion network of sounds dreams? The machines of Kamb & Ganguli (arXiv 2412.20292)
# over spectra, for each equivariance, beside the best linear filter, the Gaussian and the ideal score, against networks
# that are trained here. What is asked, and what was fixed beforehand, stands at the head of els_audio.py.
#
#     examples/els-audio.sh DATA OUT [--quick] [stage ...]        stages: sounds train sizes compare along hear trace table
#
# DATA holds fsdd or esc10 (SET, default fsdd); SET=folder takes the sounds in DATA itself. Everything made goes to OUT, and
# what is there already is not made again unless its settings or inputs are others now.
#
# --quick: the primary cell alone, with sizes that were calibrated before, a short training and 10 seeds: 7 minutes on two
# cores.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
data=${1:?usage: els-audio.sh DATA OUT [--quick] [stage ...]} out=${2:?where does it go?}
shift 2
if [ "${1:-}" = --quick ]; then
    export QUICK=1
    shift
fi
for stage in "${@:-sounds train sizes compare along hear trace table}"; do
    for name in $stage; do python "$here/els_audio.py" "$name" "$data" "$out"; done
done
