"""Whether states stand in the order that somebody says: R rows side by side, item t R + r row r at step t."""

from __future__ import annotations

from typing import Any

import numpy as np

LAGS, PAIRS, PLACES = 256, 256, 64  # how far apart states are compared, how many of each, and how many of their values
BYTES = 1 << 26  # that are read
ALIKE = 0.6  # times as far from each other as successors: closer than that others are more likely to be them
FAR = 1.1  # standard deviations between successors from which on they are as any two states


def misplaced(states: Any, rows: int) -> str:
    """What speaks against `rows` in states [N, ...], '' where nothing does: states at another distance in the file are much more
    alike than those `rows` apart. Distances that are whole steps speak only where successors are as any two states, since
    a system may come back, and where they are not the very same. Rows that are nearly the same are doubted, too."""
    lags = np.union1d(np.arange(1, min(LAGS, len(states) // 2)), rows)
    room = len(states) - int(lags[-1])
    if room < 1:
        return ""
    size = max(int(np.prod(states.shape[1:])), 1)
    pairs = int(np.clip(BYTES // (4 * size * len(lags)), 8, PAIRS))
    at = np.unique(np.linspace(0, room - 1, min(pairs, room)).astype(int))
    place = np.unique(np.linspace(0, size - 1, min(PLACES, size)).astype(int))
    need, number = np.unique(at[:, None] + np.append(lags, 0), return_inverse=True)
    x = np.asarray(states[need], np.float64).reshape(len(need), -1)[:, place]
    std = x.std(0)
    x = x[:, std > 0] / std[std > 0]
    number = number.reshape(len(at), -1)
    if len(at) < 8 or not x.size:
        return ""
    off = np.array([np.sqrt(np.square(x[number[:, i]] - x[number[:, -1]]).mean()) for i in range(len(lags))])
    after = off[lags == rows][0]
    other = (off > 0) & (after > FAR) | (lags % rows != 0)
    near = np.flatnonzero(other & (off < ALIKE * after))
    if not len(near):
        return ""
    first = near[0]
    return f"states {lags[first]} apart differ by {off[first]:.2g} standard deviations, and those {rows} apart by {after:.2g}"
