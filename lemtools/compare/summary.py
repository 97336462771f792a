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
FEWEST_OTHERS = 3  # of others, such as subjects, each of which has seen all items


@dataclass
class Result:
    """One metric over the items that it can take.

    metric: as asked for. name: as printed, with the variant. items: names of what was measured, items or, where `over` says so, others; values [N], empty where the set has
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
    over: str = "items"


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


class Over(NamedTuple):
    """Numbers `values` [S] of others than items, each of which has seen all items, such as subjects, and their `names`."""

    values: np.ndarray
    names: list[str]


class Pooled(NamedTuple):
    """A number over all that the items hold together, such as boundaries: `values` [N] of the items, `mean` over all, and the ends
    of its interval over items, None where there is none."""

    values: np.ndarray
    mean: float
    low: float | None
    high: float | None


def ratio_half(sums: np.ndarray, counts: np.ndarray, level: float = 0.95) -> float | None:
    """Half the width of the confidence interval of sum(sums) / sum(counts), a sum and a count an item [N]; None of fewer than
    FEWEST items that have a count.

    Student's t with the linearised variance of a ratio (Cochran, Sampling Techniques, 1977, section 6.4): what one item holds
    belongs together, the items are drawn independently.
    """
    sums, counts = sums[counts > 0], counts[counts > 0]
    n = len(counts)
    if n < FEWEST:
        return None
    rest = sums - sums.sum() / counts.sum() * counts
    spread = math.sqrt(n / (n - 1) * float(np.square(rest).sum())) / float(counts.sum())
    return student_t(level, n - 1) * spread


def ratio_interval(
    sums: np.ndarray, counts: np.ndarray, ends: tuple[float, float] = (-math.inf, math.inf)
) -> tuple[float, float | None, float | None]:
    """sum(sums) / sum(counts) over items, and the two ends of its 95 % confidence interval: (ratio, low, high), with the
    half width of `ratio_half` and `ends` as in `mean_interval`. A share that is 0 or 1 in all items has Wilson's interval
    over items, as it has a width. nan where nothing is counted."""
    total = float(counts.sum())
    if not total:
        return math.nan, None, None
    mean, half = float(sums.sum()) / total, ratio_half(sums, counts)
    if half is None:
        return mean, None, None
    if ends == (0, 1) and mean in ends:
        return share_interval(np.full(np.count_nonzero(counts), mean))
    return mean, *_inside(mean, half, ends)


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


def change_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float | None, float | None]:
    """Mean of one change an item, from yes to no (-1), from no to yes (1) or none (0), and the two ends of its confidence
    interval: (mean, low, high).

    Of paired shares, by Agresti & Min 2005 (Statistics in Medicine 24, 729-740): Wald's interval of the four counts, each
    half an item larger; it has a width where nothing changes, too. None of fewer than FEWEST items.
    """
    n = np.size(values)
    if n < FEWEST:
        return mean_interval(values)
    up, down = np.count_nonzero(values > 0) + 0.5, np.count_nonzero(values < 0) + 0.5
    middle = (up - down) / (n + 2)
    half = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(up + down - (up - down) ** 2 / (n + 2)) / (n + 2)
    return float(np.mean(values)), max(middle - half, -1.0), min(middle + half, 1.0)


def mean_interval(
    values: np.ndarray, level: float = 0.95, ends: tuple[float, float] = (-math.inf, math.inf), fewest: int = FEWEST
) -> tuple[float, float | None, float | None]:
    """Mean of one value an item, and the two ends of its confidence interval: (mean, low, high).

    Student's t, for items drawn independently; of values with `ends`, the least and the greatest that there can be, on
    a scale without ends (log-odds between two of them, the logarithm above one), with the standard error that the delta
    method gives there: so the interval stays between them. Values in dB are averaged in dB (the mean PSNR of a set is
    the mean of its items' PSNR, as in the literature, not the PSNR of the mean error). There is no interval,
    (None, None), of fewer than `fewest` items, or where an item is inf or nan. One inf makes the mean inf, one nan, or no
    item at all, makes it nan.
    """
    values = np.asarray(values, np.float64).ravel()
    n = len(values)
    if n == 0:
        return math.nan, None, None
    with np.errstate(invalid="ignore"):
        mean = float(values.mean())
    if n < fewest or not math.isfinite(mean):
        return mean, None, None
    return mean, *_inside(mean, student_t(level, n - 1) * float(values.std(ddof=1)) / math.sqrt(n), ends)


def _inside(mean: float, half: float, ends: tuple[float, float]) -> tuple[float, float]:
    """The ends of an interval mean - half, mean + half that stays between the least and the greatest value."""
    least, most = ends
    above, below = mean - least, most - mean
    if half == 0 or math.isinf(above) or min(above, below) <= 0:
        return mean - half, mean + half
    if math.isinf(below):
        return least + above * math.exp(-half / above), least + above * math.exp(half / above)
    span = most - least
    spread = min(half * span / (above * below), 700.0)  # of the log-odds
    low, high = (least + span / (1 + below / above * math.exp(step)) for step in (spread, -spread))
    return low, high
