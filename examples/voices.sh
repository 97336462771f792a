#!/usr/bin/env bash
# Acted emotions beside emotions made by one set of rules: how well each is told apart by other speakers' sounds, how far it
# is from neutral, how diffuse, and whether that differs between the sexes, by features with units (and by a voice vector).
#
#     examples/voices.sh DATA OUT [SYNTHETIC]
#
# DATA: recordings named as those of Emo-DB, or any with DATA/labels.tsv (name, emotion, speaker, sex, sentence).
# SYNTHETIC: sounds of somebody's synthesiser with a labels.tsv of their own, to stand in for those made by rules.
# The rules are always spoken, as the control, and with half of them for men, as what a test should find: pip install
# espeakng-loader. WEIGHTS=pretrained.pt (of the PyPI package Resemblyzer) adds the voice vector. BOUND=D: differences of
# shifts below D count as none. FEATURES: those that are looked at one by one, f0_range, level and rate where nothing is said.
# WITHOUT: features of prosody that are left out, such as level where recordings were brought to full scale one by one.
# 35 seconds on one core for 535 recordings of 2 s, and as much for the voice vector.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
data=${1:?usage: voices.sh DATA OUT [SYNTHETIC]} out=${2:?where does it go?} other=${3:-}
mkdir -p "$out"
python "$here/voices.py" labels "$data" "$out"
python "$here/voices.py" speak "$data" "$out"
if [ -n "$other" ]; then
    python "$here/voices.py" add "$other" "$out"
fi

encoders=prosody
if [ -n "${WEIGHTS:-}" ]; then encoders="prosody voice"; fi
for encoder in $encoders; do
    more=()
    if [ "$encoder" = voice ]; then more=(--weights "$WEIGHTS"); fi
    lem-encode --encoder "$encoder" "${more[@]}" "$data" -o "$out/acted.$encoder.safetensors"
    for kind in rules halved; do
        lem-encode --encoder "$encoder" "${more[@]}" "$out/$kind" -o "$out/$kind.$encoder.safetensors"
    done
    second=$out/rules.$encoder.safetensors
    if [ -n "$other" ]; then
        second=$out/synthetic.$encoder.safetensors
        lem-encode --encoder "$encoder" "${more[@]}" "$other" -o "$second"
    fi
    if [ "$encoder" = prosody ] && [ -n "${WITHOUT:-}" ]; then
        python "$here/voices.py" without "$WITHOUT" "$out"
    fi
    how=(--labels "$out/labels.tsv" --by emotion --leave speaker --cross sex --control "$out/rules.$encoder.safetensors")
    if [ "$encoder" = prosody ]; then how+=(--features "${FEATURES:-f0_range,level,rate}"); fi
    if [ -n "${BOUND:-}" ]; then how+=(--bound "$BOUND"); fi
    lem-compare "${how[@]}" "$out/acted.$encoder.safetensors" "$second" > "$out/$encoder.tsv"
    lem-compare "${how[@]}" --metric interaction "$out/halved.$encoder.safetensors" | grep '^halved' >> "$out/$encoder.tsv"
    printf '# %s\n' "$encoder"
    cat "$out/$encoder.tsv"
done
