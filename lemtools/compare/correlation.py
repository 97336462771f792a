"""Correlations of columns, and ranks."""

from __future__ import annotations

import numpy as np

ROUNDING = 2.0**-46  # 64 times the rounding of a number near 1


def ranks(x: np.ndarray, rounding: float = 0.0) -> np.ndarray:
    """Ranks [n] from 1, of equal values their mean.

    rounding: a value that is above the next lower one by no more than this equals it. What is computed of equal things, such as
    the cosines of pairs of items that are alike, differs in its last digits, by which ties would be broken.
    """
    if len(x) == 0:
        return np.empty(0)
    order, found = np.argsort(x), np.empty(len(x))
    group = np.concatenate([[0], np.cumsum(np.diff(x[order]) > rounding)])
    count = np.bincount(group)
    found[order] = (np.cumsum(count) - (count - 1) / 2)[group]
    return found


def pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """r of each column of [n, D] with the same of another; nan where one is constant."""
    x, y = x - x.mean(0), y - y.mean(0)
    scale = np.sqrt((x**2).sum(0) * (y**2).sum(0))
    return np.divide((x * y).sum(0), scale, out=np.full(x.shape[1], np.nan), where=scale > 0)
