"""A random rotation at O(D log D): Hadamard transforms between random signs and orders, without padding.

Twice: shuffle, change signs and transform the first n dimensions, n the greatest power of two not above D; then, where
there are more, change signs and transform the last n, which overlap the first (after the randomised Hadamard transform
of Ailon & Chazelle 2006). Once would turn a vector of one large element into one of equal magnitudes, far from the
Gaussian that quantisers suppose; without the signs between them, overlapping transforms undo each other.
"""

from functools import lru_cache

import numpy as np

_VALUES = 1 << 16  # rotated at a time: they stay in the cache
_ROUNDS = 2


@lru_cache(maxsize=8)
def _rounds(seed: int, dims: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(order int [D], signs float32 [D, 1], signs of the second transform) of each round.

    From raw words of PCG64, which no version of numpy changes.
    """
    words = np.random.PCG64(np.random.SeedSequence(seed))

    def signs() -> np.ndarray:
        return 1 - 2 * (words.random_raw(dims) >> np.uint64(63)).astype(np.float32)[:, None]

    return [(np.argsort(words.random_raw(dims), kind="stable"), signs(), signs()) for _ in range(_ROUNDS)]


def _transform(x: np.ndarray) -> None:
    """The orthonormal Hadamard transform along the first axis, in place; its own inverse. x: [2^k, R]."""
    n, rows = x.shape
    half = 1
    while half < n:
        pairs = x.reshape(n // (2 * half), 2, half, rows)
        difference = pairs[:, 0] - pairs[:, 1]
        pairs[:, 0] += pairs[:, 1]
        pairs[:, 1] = difference
        half *= 2
    x *= np.float32(n**-0.5)


def rotate(x: np.ndarray, seed: int, inverse: bool = False) -> np.ndarray:
    """float32 [N, D]: every row turned by the rotation that `seed` (>= 0) and D fix; inverse: turned back.

    Rows do not depend on one another, to the last digit.
    """
    count, dims = x.shape
    rounds, n = _rounds(seed, dims), 1 << dims.bit_length() - 1
    out, rows = np.empty((count, dims), np.float32), max(_VALUES // dims, 1)
    for at in range(0, count, rows):
        t = np.ascontiguousarray(x[at : at + rows].T, np.float32)
        for step in reversed(rounds) if inverse else rounds:
            t = (_unturned if inverse else _turned)(t, n, *step)
        out[at : at + rows] = t.T
    return out


def _turned(t: np.ndarray, n: int, order: np.ndarray, signs: np.ndarray, again: np.ndarray) -> np.ndarray:
    t = t[order] * signs
    _transform(t[:n])
    if n < len(t):
        t *= again
        _transform(t[-n:])
    return t


def _unturned(t: np.ndarray, n: int, order: np.ndarray, signs: np.ndarray, again: np.ndarray) -> np.ndarray:
    if n < len(t):
        _transform(t[-n:])
        t *= again
    _transform(t[:n])
    back = np.empty_like(t)
    back[order] = t * signs
    return back
