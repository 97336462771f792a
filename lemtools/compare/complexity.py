"""Lempel-Ziv complexity of the signs of an embedding: do they repeat themselves? One float64 value an item."""

from __future__ import annotations

import numpy as np

from .distortion import paired

_WORD = 8  # bits that a byte of the search text holds: among 256 letters a search skips, between two it crawls


def phrases(bits: np.ndarray) -> int:
    """The number of components of the exhaustive history of a sequence of bools [n]: c(n) of Lempel and Ziv 1976.

    Each component is the shortest stretch that does not occur, overlap allowed, before its own last symbol; the last
    one may be cut short. That a stretch occurs is monotone in its length, so the length is bisected, once strides that
    double, from the usual length of log2 of what came before, have met one that does not occur.
    """
    size = len(bits)
    windows = np.lib.stride_tricks.sliding_window_view(np.append(bits, np.zeros(_WORD - 1, bool)), _WORD)
    text = {1: bits.tobytes(), _WORD: np.packbits(windows, axis=1).tobytes()}
    count = start = 0
    while start < size:
        known, new, at = 0, size - start + 1, 0  # lengths: one that occurs before, one that does not
        length, stride = start.bit_length(), 1
        while new - known > 1:
            length = min(max(length, 1), new - 1)
            less = (_WORD if length >= _WORD else 1) - 1
            letters, stop = text[less + 1], start + length - less
            found = letters.find(letters[start:stop], at, stop - 1)
            if found >= 0:
                known, at = length, found  # a longer stretch occurs no earlier
            else:
                new = length
            stride *= 2
            length = length + stride // 2 if found >= 0 and new > size - start else (known + new) // 2
        count, start = count + 1, start + new
    return count


def lempel_ziv(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """LZ76 complexity [N] of the signs of each item's n elements in their order, c(n) log2(n) / n; originals beside.

    A bit is whether the element is above 0. Fair random bits tend to 1 from above (1.16 on average at n = 128, 1.08 at
    768, 1.04 at 4096), constant ones to 0. ValueError: items of fewer than 2 elements. `lz76[recalled,signs]`.
    """
    a, b = paired(a, b)
    n = a[0].size if len(a) else 2
    if n < 2:
        raise ValueError("a sequence of signs needs at least 2 elements")
    found = [[phrases(row > 0) for row in x.reshape(len(x), -1)] for x in (b, a)]
    b, a = np.array(found, np.float64) * np.log2(n) / n
    return b, a
