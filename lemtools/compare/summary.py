"""What is printed for a set: the mean over items and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from ..denoise.moments import student_t

FEWEST = 5  # items, for an interval


@dataclass
class Result:
    """One metric over the items that it can take.

    metric: as asked for. name: as printed, with the variant. items: their names; values [N], empty where the set has
    one number. mean, and low and high, the ends of its 95 % interval, None where there is none. better: 'higher',
    'lower', or empty. help: what it is, in words. A number that stands beside, such as a floor, is a separate Result: its name says so, and its metric ends
    in what it is, after a hyphen.
    """

    metric: str
    name: str
    unit: str
    items: list[str]
    values: np.ndarray
    mean: float
    low: float | None
    high: float | None
    better: str = ""
    help: str = ""


def missed(
    results: Iterable[Result], least: Iterable[tuple[str, float]], most: Iterable[tuple[str, float]]
) -> list[str]:
    """One line for each mean that is below its `least` or above its `most` [(metric, value)], or undefined."""
    means = {result.metric: result.mean for result in results}
    low = [f"{name} is {means[name]:.6g}, below {end:g}" for name, end in least if not means[name] >= end]
    return low + [f"{name} is {means[name]:.6g}, above {end:g}" for name, end in most if not means[name] <= end]


class Whole(NamedTuple):
    """One number for a whole set: `value`, the number `beside` it, such as a floor (None: none), the `k` used."""

    value: float
    beside: float | None = None
    k: int | str | None = None


def share_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float | None, float | None]:
    """Mean of one yes (1) or no (0) an item, and the two ends of its confidence interval: (mean, low, high).

    Wilson's score interval (1927), for items drawn independently; it has a width where all say the same, too. None of
    fewer than FEWEST items.
    """
    n = np.size(values)
    if n < FEWEST:
        return mean_interval(values)
    share, z = float(np.mean(values)), NormalDist().inv_cdf((1 + level) / 2)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return share, max(middle - half, 0.0), min(middle + half, 1.0)


def mean_interval(
    values: np.ndarray, level: float = 0.95, ends: tuple[float, float] = (-math.inf, math.inf)
) -> tuple[float, float | None, float | None]:
    """Mean of one value an item, and the two ends of its confidence interval: (mean, low, high).

    Student's t, for items drawn independently; of values with `ends`, the least and the greatest that there can be, on
    a scale without ends (log-odds between two of them, the logarithm above one), with the standard error that the delta
    method gives there: so the interval stays between them. Values in dB are averaged in dB (the mean PSNR of a set is
    the mean of its items' PSNR, as in the literature, not the PSNR of the mean error). There is no interval,
    (None, None), of fewer than FEWEST items, or where an item is inf or nan. One inf makes the mean inf, one nan, or no
    item at all, makes it nan.
    """
    values = np.asarray(values, np.float64).ravel()
    n = len(values)
    if n == 0:
        return math.nan, None, None
    with np.errstate(invalid="ignore"):
        mean = float(values.mean())
    if n < FEWEST or not math.isfinite(mean):
        return mean, None, None
    half = student_t(level, n - 1) * float(values.std(ddof=1)) / math.sqrt(n)
    least, most = ends
    above, below = mean - least, most - mean
    if half == 0 or math.isinf(above) or min(above, below) <= 0:
        return mean, mean - half, mean + half
    if math.isinf(below):
        return mean, least + above * math.exp(-half / above), least + above * math.exp(half / above)
    span = most - least
    spread = min(half * span / (above * below), 700.0)  # of the log-odds
    low, high = (least + span / (1 + below / above * math.exp(step)) for step in (spread, -spread))
    return mean, low, high
