"""Classes of memories, kept in a file beside them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ..signal import LemError
from ..stream import Source
from . import arrays
from .find import sniff

MOST = 1 << 20  # classes
MANY = 1 << 26  # labels
_BLOCK = 1 << 20  # bytes of text that are looked at at a time: as numbers they take fifty times as many


def labels(path: str) -> np.ndarray:
    """Classes, int64 [N], from an idx, npy or text file, compressed by gzip or not, of whole numbers >= 0.

    Raises LemError for anything else, and for more than MANY: a small file, unpacked, may hold any number.
    """
    with open(path, "rb", buffering=0) as file:
        source = Source(file, path)
        if sniff(source.peek(16))[1] == "gzip":
            source = arrays.unzip(source)
        try:
            values = _values(source, sniff(source.peek(16))[1])
            whole = values.astype(np.int64)
            if not len(whole) or (whole != values).any() or whole.min() < 0 or whole.max() >= MOST:
                raise ValueError
        except (ValueError, OverflowError) as error:
            if isinstance(error, LemError):
                raise
            raise LemError(
                f"{path}: no labels: an idx, npy or text file of whole numbers from 0 to {MOST - 1}"
            ) from error
    return whole


def _values(source: Source, family: str) -> np.ndarray:
    if family not in ("idx", "npy"):
        return np.concatenate(list(_numbers(source)))
    shape, dtype = arrays.idx_header(source) if family == "idx" else arrays.npy_header(source)[::2]
    count = math.prod(shape)
    if dtype.kind not in "fiub" or max(shape, default=0) < count:
        raise ValueError
    _check_count(count, source.name)
    raw = source.read(count * dtype.itemsize + 1)
    if len(raw) != count * dtype.itemsize:
        raise ValueError
    return raw.view(dtype)


def _numbers(source: Source) -> Iterator[np.ndarray]:
    """The numbers of a text, a million bytes at a time."""
    rest, count = b"", 0
    while len(block := source.read(_BLOCK)):
        text = rest + block.tobytes()
        cut = max(text.rfind(space) for space in (b"\n", b" ", b"\t")) + 1
        rest = text[cut:]
        if len(rest) > _BLOCK:
            raise ValueError
        yield (values := _parsed(text[:cut]))
        count += len(values)
        _check_count(count, source.name)
    yield _parsed(rest)


def _parsed(text: bytes) -> np.ndarray:
    return np.array(text.decode("utf-8-sig").split(), np.int64)


def _check_count(count: int, name: str) -> None:
    if count > MANY:
        raise LemError(f"{name}: {count} labels or more, of which there may be {MANY}")
