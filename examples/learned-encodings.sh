#!/usr/bin/env bash
# Are small codes of tokens, learnt with the task, as good as a full table? And better than those of an autoencoder, of principal
# components, drawn at random, or a full table at few bits? At equal stored bits, with the same trunk, batches and text for all.
# Cells, arms, controls, and what was predicted before the experiment stand at the head of learned_encodings.py.
#
#     examples/learned-encodings.sh DATA OUT [--quick] [stage ...]        stages: prepare train search table plot
#
# DATA holds the folders text and genome; everything made goes to OUT/CORPUS-VOCAB, and the same command goes on where it stopped.
# Byte-pair encoding takes lemtools[llm].
#
# --quick: one seed, a ratio of 8, a depth of 1, a few minutes on two cores. Without it: 7 ratios x 6 arms x 5 seeds, for one GPU.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[[ $# -ge 2 ]] || { echo "usage: learned-encodings.sh DATA OUT [--quick] [stage ...]" >&2; exit 2; }
data=$1 out=$2
shift 2
if [[ ${1:-} = --quick ]]; then
    export QUICK=1
    shift
fi
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec python "$here/learned_encodings.py" "$data" "$out" "$@"
