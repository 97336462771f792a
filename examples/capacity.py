"""What a memory keeps at how many bits."""

import gzip
import sys
from pathlib import Path

import numpy as np

from lemtools.signal import Signal
from lemtools.stream import write

FEW = 10_000  # images that are stored with --quick


def images(data: Path, out: Path, quick: bool) -> None:
    """stored.safetensors, training images in an order of their own; others.safetensors, the first half of the test images, for
    encoders to be fitted to; asked.safetensors, the second half, for who learns classes: each with its classes."""
    pixels, classes = read(data, "train")
    order = np.random.default_rng(0).permutation(len(pixels))[: FEW if quick else None]
    test, labels = read(data, "t10k")
    half = len(test) // 2
    sets = {"stored": (pixels[order], classes[order]), "others": (test[:half], labels[:half])}
    for name, (data_, label) in (sets | {"asked": (test[half:], labels[half:])}).items():
        save(Signal("image", data_, label=label), out / f"{name}.safetensors")


def read(data: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    raw = gzip.open(data / f"{part}-images-idx3-ubyte.gz").read()
    label = gzip.open(data / f"{part}-labels-idx1-ubyte.gz").read()
    return np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 1, 28, 28), np.frombuffer(
        label, np.uint8, offset=8
    ).astype(np.int64)


def save(signal: Signal, path: Path) -> None:
    new = path.with_suffix(".new")
    with open(new, "wb") as file:
        write([signal], file)
    new.rename(path)


if __name__ == "__main__":
    if sys.argv[1] == "images":
        images(Path(sys.argv[2]), Path(sys.argv[3]), "--quick" in sys.argv)
