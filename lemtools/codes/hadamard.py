"""A random rotation at O(D log D): Hadamard transforms between random signs and orders, without padding.

Of D = 2^k dimensions: H S, signs S (the randomised Hadamard transform; Ailon & Chazelle 2006). Of others, with n the power
of two below D, twice: shuffle and change signs, transform the first n, then the last n, which overlap the first.
"""

from functools import lru_cache

import numpy as np

_ROWS = 512  # rotated at a time: they stay in the cache


@lru_cache(maxsize=8)
def _rounds(seed: int, dims: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(order int [D], signs float32 [D]) of each round. From raw words of PCG64, which no version of numpy changes."""
    words = np.random.PCG64(np.random.SeedSequence(seed))
    lone = dims & (dims - 1) == 0
    out = []
    for _ in range(1 if lone else 2):
        signs = 1 - 2 * (words.random_raw(dims) >> np.uint64(63)).astype(np.float32)
        order = np.arange(dims) if lone else np.argsort(words.random_raw(dims), kind="stable")
        out.append((order, signs))
    return out


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
    out = np.empty((count, dims), np.float32)
    for at in range(0, count, _ROWS):
        t = np.ascontiguousarray(x[at : at + _ROWS].T, np.float32)
        for order, signs in reversed(rounds) if inverse else rounds:
            if inverse:
                if n < dims:
                    _transform(t[-n:])
                _transform(t[:n])
                back = np.empty_like(t)
                back[order] = t * signs[:, None]
                t = back
            else:
                t = t[order] * signs[:, None]
                _transform(t[:n])
                if n < dims:
                    _transform(t[-n:])
        out[at : at + _ROWS] = t.T
    return out
