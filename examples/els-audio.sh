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
# cores. JOBS=3: three networks side by side, from train to along; one GPU has nothing to gain from more.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
data=${1:?usage: els-audio.sh DATA OUT [--quick] [stage ...]} out=${2:?where does it go?}
shift 2
if [ "${1:-}" = --quick ]; then
    export QUICK=1
    shift
fi
all="sounds train sizes compare along hear trace table"
stages=" ${*:-$all} "
for stage in $stages; do
    case " $all " in *" $stage "*) ;; *) echo "els-audio.sh: error: stage $stage is none of $all" >&2; exit 2 ;; esac
done

# the stages among those named that were asked for, one after the other, of the networks that the environment names
run() {
    for stage; do
        case $stages in *" $stage "*) python "$here/els_audio.py" "$stage" "$data" "$out" ;; esac
    done
}

run sounds
if [ "${JOBS:-1}" -gt 1 ] && [ -z "${QUICK:-}" ]; then
    export -f run
    export here data out stages
    for rep in ${REPS:-complex}; do for net in ${NETS:-a b c d}; do for seed in ${RUNS:-0 1 2}; do
        printf '%s\0' "REPS=$rep NETS=$net RUNS=$seed"
    done; done; done |
        xargs -0 -P "$JOBS" -I{} bash -euo pipefail -c 'export {}; run train sizes compare along < /dev/null' || exit 2
else
    run train sizes compare along
fi
run hear trace table
