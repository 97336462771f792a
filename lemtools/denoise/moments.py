"""Mean and covariance of vectors that come in pieces, in one pass over them, and how sure a mean is. Loads numpy only; takes
torch too."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


class Moments:
    """Mean and covariance of rows [n, D], numpy arrays or torch tensors of one device.

    Differences from `origin` are summed, in float64; by default it is the mean of the first piece. As that piece is
    part of the data, its mean lies within sqrt(N / n) standard deviations of theirs, so that of the digits of float64
    no more than those of N / n are lost. Products are made in the type of the rows, or in float32 where `single`.

    full: the whole covariance [D, D]; else the variance [D] alone.

    >>> moments = Moments()
    >>> for piece in (np.array([[1.0, 2.0]]), np.array([[3.0, 6.0], [5.0, 4.0]])):
    ...     moments.add(piece)
    >>> moments.mean, moments.variance
    (array([3., 4.]), array([2.66666667, 2.66666667]))
    """

    def __init__(self, origin: Any = None, *, full: bool = True, single: bool = False):
        self.origin, self.full, self.single = origin, full, single
        self.count: Any = 0
        self._sum: Any = 0.0
        self._square: Any = 0.0

    def add(self, x: Any, seen: Any = None) -> None:
        """Take in rows x [n, D]. seen: [n, D], 1 where a number counts and 0 where it does not (variance only)."""
        if not len(x):
            return
        count = len(x) if seen is None else seen.sum(0)
        if self.origin is None:
            self.origin = x.mean(0) if seen is None else (x * seen).sum(0) / np.maximum(count, 1)
        d = x - self.origin
        d = d if seen is None else d * seen
        self.count = self.count + count
        self._sum += _wide(d.sum(0))
        d = d.astype(np.float32) if self.single else d
        self._square += _wide(d.T @ d if self.full else (d * d).sum(0))

    @property
    def mean(self) -> Any:
        """[D] float64; the origin where nothing was seen."""
        return _wide(self.origin) + self._sum / np.maximum(self.count, 1)

    @property
    def covariance(self) -> Any:
        """[D, D] float64, divided by the number of rows."""
        shift = self._sum / self.count
        return self._square / self.count - shift[:, None] * shift

    @property
    def variance(self) -> Any:
        """[D] float64, not negative: about the mean, divided by how often each number was seen."""
        count = np.maximum(self.count, 1)
        square = self._square.diagonal() if self.full else self._square
        return (square / count - (self._sum / count) ** 2).clip(0)


def of_channels(x: np.ndarray, seen: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(mean, gain) of each channel of states [N, C, ...], float64 [C, 1, ...] that broadcasts to an item; gain is 1 over the
    rms about the mean, 1 for a channel that does not change. seen: shaped like x, which values count."""
    rows = np.moveaxis(x, 1, -1).reshape(-1, x.shape[1]).astype(np.float64, copy=False)
    found = Moments(full=False)
    found.add(rows, None if seen is None else np.moveaxis(seen, 1, -1).reshape(rows.shape))
    rms = np.sqrt(np.broadcast_to(found.variance, rows.shape[1:]))
    gain = np.divide(1, rms, out=np.ones(len(rms)), where=rms > 1e-7 * np.abs(rows).max(axis=0))
    shape = (-1, *[1] * (x.ndim - 2))
    return found.mean.reshape(shape), gain.reshape(shape)


def student_t(level: float, df: int) -> float:
    """The t with P(|T| <= t) = level for Student's distribution with df = 1, 2, ... degrees of freedom.

    Bisection on theta = atan(t / sqrt(df)) of the finite series of Abramowitz and Stegun 26.7.3-4. Above df = 100,000
    the value there is returned (t moves by less than 2e-5 of itself from there to infinity).
    """
    if not 0 < level < 1 or df < 1:
        raise ValueError(f"need 0 < level < 1 and df >= 1, got level {level}, df {df}")
    df = min(int(df), 100_000)
    odd = df % 2
    j = np.arange(1, (df - odd) // 2 if df > 1 else 1)
    coefficients = np.cumprod(np.append(1.0, 2 * j / (2 * j + 1) if odd else (2 * j - 1) / (2 * j)))
    powers = 2 * np.arange(len(coefficients)) + odd

    def inside(theta: float) -> float:
        series = math.sin(theta) * float(np.sum(coefficients * math.cos(theta) ** powers)) if df > 1 else 0.0
        return 2 / math.pi * (theta + series) if odd else series

    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if inside(middle) < level else (low, middle)
    return math.tan(low) * math.sqrt(df)


def _wide(x: Any) -> Any:
    """float64, on the device of x where that has it (MPS has not)."""
    if isinstance(x, (np.ndarray, np.floating)):
        return x.astype(np.float64)
    return (x.cpu() if x.device.type == "mps" else x).double()
