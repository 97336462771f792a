"""Distortion between an original and what was recalled: one float64 value an item.

Every function takes two equally shaped arrays, item axis first (images [N,C,H,W], sound [N,C,T], embeddings [N,D] or
[N,L,D]), `a` the original and `b` the recalled, and treats all that belongs to one item as one long vector. Sums are
kept in float64 over cache-sized tiles: for 8-bit and 16-bit integers they are exact, for floats no copy of the whole
batch is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

_TILE = 65536  # elements converted to float64 at a time: half a MiB, stays in the cache


def paired(a: np.ndarray, b: np.ndarray, peak: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The two arrays, checked: same shape with an item axis, both integer or both float, a positive `peak` if given.

    Raises ValueError, with both shapes or both dtypes. Integers are not compared with floats because 0..255 against
    0..1 would give a number, and a wrong one.
    """
    a, b = items_paired(a, b)
    if a.shape != b.shape:
        raise ValueError(f"shapes differ: original {a.shape}, recalled {b.shape}")
    if peak is not None and not 0 < peak < np.inf:
        raise ValueError(f"peak must be the positive range of the data (255 or 1.0), not {peak}")
    return a, b


def items_paired(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two arrays, checked as `paired` does, where only the number of items must be the same."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape[:1] != b.shape[:1]:
        raise ValueError(f"shapes differ: original {a.shape}, recalled {b.shape}")
    for shape in (a.shape, b.shape):
        if len(shape) < 2 or 0 in shape[1:]:
            raise ValueError(f"need at least one value an item, item axis first; got shape {shape}")
    if a.dtype.kind not in "uif" or b.dtype.kind not in "uif":
        raise ValueError(f"need real numbers: original {a.dtype}, recalled {b.dtype}")
    if (a.dtype.kind == "f") != (b.dtype.kind == "f"):
        raise ValueError(f"cannot compare {a.dtype} with {b.dtype}: bring both to one range first")
    return a, b


def _tiles(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Walk both arrays in float64 tiles [items, elements] of at most _TILE elements; yields the items' slice too."""
    size = math.prod(a.shape[1:])
    a, b = a.reshape(len(a), size), b.reshape(len(a), size)
    width = min(size, _TILE)
    height = max(1, _TILE // width)
    for i in range(0, len(a), height):
        for j in range(0, size, width):
            part = np.s_[i : i + height, j : j + width]
            yield slice(i, i + height), a[part].astype(np.float64), b[part].astype(np.float64)


def sums(a: np.ndarray, b: np.ndarray, *terms: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """One pass over both arrays: [len(terms), N] sums over each item of what `terms` give, ([n,m], [n,m]) -> [n]."""
    total = np.zeros((len(terms), len(a)))
    for rows, x, y in _tiles(a, b):
        for out, term in zip(total, terms):
            out[rows] += term(x, y)
    return total


def _error(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    d = x - y
    return np.einsum("ij,ij->i", d, d)


def _energy(x: np.ndarray, _: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", x, x)


def _within(a: np.ndarray, b: np.ndarray, where: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, int | np.ndarray]:
    """(a, b, how many elements count): outside of `where` (bool, a's shape) b is made equal to a and adds nothing."""
    if where is None:
        return a, b, math.prod(a.shape[1:])
    if where.shape != a.shape:
        raise ValueError(f"shapes differ: items {a.shape}, elements to measure {where.shape}")
    return a, np.where(where, b, a), np.count_nonzero(where.reshape(len(a), -1), axis=1)


def mse(a: np.ndarray, b: np.ndarray, *, where: np.ndarray | None = None) -> np.ndarray:
    """Mean squared error of each item [N], in the square of the data's unit; 0 when equal. `mse`.

    where: bool, a's shape: the elements to measure (None: all); an item without any gets nan. Likewise below.
    """
    a, b, count = _within(*paired(a, b), where)
    with np.errstate(invalid="ignore"):
        return sums(a, b, _error)[0] / count


def mae(a: np.ndarray, b: np.ndarray, *, where: np.ndarray | None = None) -> np.ndarray:
    """Mean absolute error of each item [N], in the data's unit; 0 when equal. `mae`."""
    a, b, count = _within(*paired(a, b), where)
    with np.errstate(invalid="ignore"):
        return sums(a, b, lambda x, y: np.abs(x - y).sum(1))[0] / count


def max_abs(a: np.ndarray, b: np.ndarray, *, where: np.ndarray | None = None) -> np.ndarray:
    """Largest absolute error of each item [N], in the data's unit; 0 when equal. `max_abs`."""
    a, b, count = _within(*paired(a, b), where)
    worst = np.zeros(len(a))
    for rows, x, y in _tiles(a, b):
        worst[rows] = np.maximum(worst[rows], np.abs(x - y).max(1))
    return np.where(count, worst, np.nan)


def psnr(a: np.ndarray, b: np.ndarray, *, peak: float, where: np.ndarray | None = None) -> np.ndarray:
    """Peak signal-to-noise ratio of each item [N] in dB, 10 log10(peak^2 / mse); inf when equal. `psnr`.

    `peak` is the range of the data (255, or 1.0 for floats in [0,1]). The error is averaged over all channels of an
    image before the logarithm, as ImageMagick's `compare -metric PSNR` and skimage do.
    """
    a, b = paired(a, b, peak)
    with np.errstate(divide="ignore"):
        return 10 * np.log10(float(peak) ** 2 / mse(a, b, where=where))


def nmse(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Normalised squared error of each item [N], sum |a-b|^2 / sum |a|^2, dimensionless; 0 when equal. `nmse`.

    1 is what an answer of zeros gets. An all-zero original has no scale: 0 if it was recalled exactly, else nan.
    """
    a, b = paired(a, b)
    error, energy = sums(a, b, _error, _energy)
    return np.divide(error, energy, out=np.where(error == 0, 0.0, np.nan), where=energy != 0)


def sqnr(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Signal-to-quantisation-noise ratio of each item [N] in dB, -10 log10(nmse); inf when equal. `sqnr`.

    0 dB is what an answer of zeros gets. nan for an all-zero original that was not recalled exactly.
    """
    with np.errstate(divide="ignore"):
        return -10 * np.log10(nmse(a, b))


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine similarity of each item [N] taken as one vector, in [-1, 1]; nan where either is all zero. `cosine`."""
    a, b = paired(a, b)
    dot, aa, bb = sums(a, b, lambda x, y: np.einsum("ij,ij->i", x, y), _energy, lambda x, y: _energy(y, x))
    with np.errstate(invalid="ignore"):
        return np.clip(dot / np.sqrt(aa) / np.sqrt(bb), -1, 1)


def accuracy(a: np.ndarray, b: np.ndarray, *, ids: None = None) -> np.ndarray:
    """Share [N] of an item's tokens that are equal. `accuracy`."""
    return (a == b).reshape(len(a), -1).mean(axis=1)


def bits_per_element(a: np.ndarray, b: np.ndarray, *, bits: np.ndarray) -> np.ndarray:
    """Cost [N] of what b was recalled from, in bits per element of the whole memory. `bits_per_element`."""
    return np.asarray(bits, np.float64)
