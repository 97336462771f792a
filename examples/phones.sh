#!/usr/bin/env bash
# When is each phone spoken? Boundaries of lem-encode --encoder phones beside labels made by hand, with controls (phones.py).
#
#     examples/phones.sh DATA [command table score fit network long ...]
#
# DATA holds emodb_2s (56 German clips of Emo-DB with their labels) and, for rows of their own, emodb (all 535 clips: wav/ and
# lablaut/ of github sylaschacko/voice-emotion-analysis @4b0f64c) and ae (WAVs and _annot.json of 7 English sentences: github
# IPS-LMU/EMU-webApp @e046e3f, app/testData/newFormat/ae), and praatio (mary.wav, mary.TextGrid, bobby.wav, bobby_phones.TextGrid and
# bobby_words.TextGrid: github timmahrt/praatIO @9043a52, examples/files). Speech of espeak-ng is added where espeakng-loader is installed.
# command: the commands themselves, on emodb_2s; table, score: what docs/phones.md shows; fit: the shifts that ship; network: those of
# a network for the last step, learnt from emodb (phones_net.py); long: what memory an hour takes (phones_long.py; ae). One core:
# command 1 minute, table and score 4 minutes each, fit 2, network 30 (three seeds of every network), long 8.
set -euo pipefail
export OMP_NUM_THREADS=1
here=$(cd "$(dirname "$0")" && pwd)
data=$(cd "${1:?usage: phones.sh DATA [what ...]}" && pwd)
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

command_() {
    python "$here/phones.py" prepare "$data" "$work"
    for refine in none constant classes spectral; do
        lem-encode -q --encoder phones --phones "$work/phones" --refine "$refine" --to textgrid -o "$work/$refine/" "$data/emodb_2s/flac"
        echo "--refine $refine"
        lem-compare "$work/true" "$work/$refine"
    done
}

for what in "${@:-table}"; do
    case $what in
        command) command_ ;;
        table | score | fit) python "$here/phones.py" "$what" "$data" ;;
        network) for part in prepare folds controls english; do python "$here/phones_net.py" $part "$data" "$work/network"; done ;;
        long) python "$here/phones_long.py" "$data" "$work/long" ;;
        *) echo "no $what" >&2; exit 2 ;;
    esac
done
