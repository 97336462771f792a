"""How sure a number of a few speakers is: bootstraps, intervals, and p values of several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from ..denoise.moments import student_t
from ..rng import generator
from .groups import Groups

RESAMPLES = 4000
LEVEL = 0.05  # of significance


def resamples(groups: Groups) -> np.ndarray:
    """[RESAMPLES, S]: how often each speaker is drawn; with sides, as many of each as there are."""
    rng = generator(0, 0, 0, f"speakers {len(groups.speakers)}")
    side = np.zeros(len(groups.speakers), int) if groups.side is None else groups.side
    out = np.zeros((RESAMPLES, len(side)))
    for i in np.unique(side):
        here = np.flatnonzero(side == i)
        out[:, here] = rng.multinomial(len(here), np.full(len(here), 1 / len(here)), RESAMPLES)
    return out


def interval(drawn: np.ndarray, n: int, level: float = 1 - LEVEL) -> tuple[float | None, float | None]:
    """Ends of the expanded percentile interval of a bootstrap [R] over n speakers; None of what is undefined often."""
    drawn = drawn[np.isfinite(drawn)]
    if n < 3 or len(drawn) < 0.9 * RESAMPLES:
        return None, None
    tail = NormalDist().cdf(-math.sqrt(n / (n - 1)) * student_t(level, n - 1))
    low, high = np.quantile(drawn, (tail, 1 - tail))
    return float(low), float(high)


def p_value(value: float, chance: np.ndarray, better: str) -> float | None:
    """Share of shuffled values, the true one among them, that are as good; None where nothing is better or it is undefined."""
    if math.isnan(value) or not better:
        return None
    as_good = chance >= value - 1e-12 if better == "higher" else chance <= value + 1e-12
    return (1 + int(as_good.sum())) / (1 + len(chance))


def holm(p: Sequence[float]) -> list[float]:
    """p values adjusted for there being several (Holm 1979): the i-th smallest of m, times m - i + 1, made monotone."""
    out, most = [0.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        most = max(most, min(1.0, (len(p) - rank) * p[i]))
        out[i] = most
    return out
