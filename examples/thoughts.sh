#!/usr/bin/env bash
# Do dimensions that are carried from token to token let a network of fixed depth follow a state? Arms and controls stand at the
# head of thoughts.py.
#
#     examples/thoughts.sh OUT [--quick] [stage ...]        stages: train lengths text plot table
#
# Everything made goes to OUT. Networks that are trained are not trained again, and one that was stopped goes on.
#
# --quick: parity alone, small networks, two seeds, a few minutes on two cores. JOBS=3: three networks side by side.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?usage: thoughts.sh OUT [--quick] [stage ...]}
shift
if [ "${1:-}" = --quick ]; then
    export QUICK=1
    shift
fi
exec python "$here/thoughts.py" "$out" "$@"
