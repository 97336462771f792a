#!/usr/bin/env bash
# What survives severe compression for a machine's perception: the share of items that a judge of lem-train classifier still knows.
#
#     examples/perception.sh DATA OUT [--quick] [stage ...]     stages: fsdd cifar10 esc10 table
#
# DATA holds the folders fsdd, cifar10 and esc10; one that is missing is skipped by name. Everything made goes to OUT (see the head of
# perception.py), and the same command goes on where it stopped. --quick: one seed, few judges and small ones, few conditions, ten
# minutes of two cores. In full, judges of CIFAR-10 take hours of a CPU and minutes of a GPU. Dials:
#
#     SEEDS='0 1 2' DEVICE=cpu JOBS=1 (judges side by side) ARMS='whole family' TASKS='digit class' (all, where not given)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
data=${1:?usage: perception.sh DATA OUT [--quick] [stage ...]} out=${2:?where does it go?}
shift 2
if [ "${1:-}" = --quick ]; then
    export QUICK=1
    shift
fi
exec python "$here/perception.py" "$data" "$out" "$@"
