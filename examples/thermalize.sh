#!/usr/bin/env bash
# Does a corrector keep a rollout on the manifold? Emulators of a chaotic system fed their own output, with every corrector
# and with controls. The tables of docs/thermalize.md.
#
#     examples/thermalize.sh OUT [--quick] [stage ...]        stages: data train rounds networks controls table picture
#
# Everything made goes to OUT, and what is there already is not made again. --quick: one seed and 1,000 steps, six minutes on
# two cores. Else three seeds and 10,000 steps, hours. What is cut goes on where it stood. Environment: SYSTEM (ks22), SEEDS, STEPS, ROWS, JOBS, ONLY.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?usage: thermalize.sh OUT [--quick] [stage ...]}
shift
if [ "${1:-}" = --quick ]; then
    export QUICK=1 SEEDS=${SEEDS:-0} STEPS=${STEPS:-1000}
    shift
    stages="data train rounds table picture"
fi
for stage in "${@:-${stages:-data train rounds networks controls table picture}}"; do
    for name in $stage; do python "$here/thermalize.py" "$name" "$out"; done
done
