"""Classes of memories, kept in a file beside them."""

from __future__ import annotations

import gzip
import io

import numpy as np

from ..signal import LemError

MOST = 1 << 20  # classes


def labels(path: str) -> np.ndarray:
    """Classes, int64 [N], from an idx, npy or text file, compressed by gzip or not, of whole numbers >= 0."""
    with open(path, "rb") as file:
        raw = file.read()
    try:
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        if raw[:4] == b"\0\0\x08\1":  # idx of bytes in one dimension, as MNIST's labels
            values = np.frombuffer(raw, np.uint8, offset=8)
            if len(values) != int.from_bytes(raw[4:8], "big"):
                raise ValueError
        elif raw[:6] == b"\x93NUMPY":
            values = np.load(io.BytesIO(raw), allow_pickle=False).reshape(-1)
        else:
            values = np.array(raw.decode("utf-8").split(), np.int64)
        whole = values.astype(np.int64)
        if not len(whole) or (whole != values).any() or whole.min() < 0 or whole.max() >= MOST:
            raise ValueError
    except (ValueError, EOFError, OSError) as error:
        raise LemError(f"{path}: no labels: an idx, npy or text file of whole numbers from 0 to {MOST - 1}") from error
    return whole
