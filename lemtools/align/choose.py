"""auto: a map by what each makes of pairs left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ..catalogue.maps import MAPS
from ..signal import LemError
from .maps import Map, unit
from .pairs import Paired

FEWEST = 5  # pairs
PART, LEAST = 5, 3  # one pair in so many is left out at a time, so many at least
ENOUGH, MOST = 800, 40  # pairs to leave out in all, splits at most
CROWD = 1000  # vectors among which a pair's is looked for


def auto(pairs: Paired, among: Sequence[str] = ()) -> Map:
    """The first map of the catalogue that ranks pairs left out as well as the best, within a standard error, fitted to all.

    A fifth of the sample is left out at a time, until 800 pairs were, at most in 40 splits. Among so few nearly all are found, and
    what parts maps is how far a pair's cosine (about the means of the rest) stands out from those with the others that are left
    out; so the mean reciprocal rank is the one among 1,000 others, each of which is nearer with probability p, the share of
    all such cosines, each less the mean of its row, that stand out more. among: the maps to choose from; none: all. facts: `chosen`, and this for every map. LemError for
    fewer than 5 pairs.
    """
    if len(pairs.x) < FEWEST:
        raise LemError(f"{len(pairs.x)} pairs; auto leaves pairs out and needs {FEWEST} at least: name a --map")
    ranks = {row.name: left_out(pairs, row.load()) for row in MAPS.rows if (row.name in among if among else row.tried)}
    best = max(ranks.values(), key=np.mean)
    chosen = next(name for name, found in ranks.items() if _as_good(found, best))
    made: Map = MAPS.load(chosen)(pairs)
    made.facts = {"chosen": chosen, **{f"mrr-{name}": float(r.mean()) for name, r in ranks.items()}, **made.facts}
    return made


def _as_good(found: np.ndarray, best: np.ndarray) -> bool:
    behind = best - found
    return behind.mean() <= behind.std(ddof=1) / math.sqrt(len(behind))


def left_out(pairs: Paired, fitted: Callable[[Paired], Map]) -> np.ndarray:
    """Reciprocal rank [n] among 1,000 others of each pair of the sample, left out. All maps are tried on the same splits."""
    n, draw = len(pairs.x), np.random.default_rng(18)
    held, margin, times, others = max(n // PART, LEAST), np.zeros(n), np.zeros(n), []
    splits = min(MOST, -(-ENOUGH // held))
    order = np.concatenate([draw.permutation(n) for _ in range(-(-splits * held // n))])
    for split in range(splits):
        out = np.unique(
            order[split * held : (split + 1) * held]
        )  # (one may stand at the end of an order and in the next)
        rest = np.setdiff1d(np.arange(n), out)
        made = fitted(Paired.of(pairs.x[rest], pairs.y[rest]))
        mean = made.mean[1]
        near = unit(made.apply(pairs.x[out]) - mean) @ unit(pairs.y[out] - mean).T
        apart = near[~np.eye(len(out), dtype=bool)].reshape(len(out), -1)
        middle = apart.mean(1)
        margin[out] += near.diagonal() - middle
        times[out] += 1
        others.append((apart - middle[:, None]).ravel())
    known = np.sort(np.concatenate(others))
    more = len(known) - np.searchsorted(known, margin[times > 0] / times[times > 0])
    return np.array([expected(p) for p in (more + 0.5) / (len(known) + 1)])


def expected(p: float, others: int = CROWD) -> float:
    """The mean of 1 / (1 + how many of the others are nearer), each with probability p: (1 - (1 - p)^(n+1)) / ((n + 1) p)."""
    return -math.expm1((others + 1) * math.log1p(-p)) / ((others + 1) * p) if p < 1 else 1 / (others + 1)
