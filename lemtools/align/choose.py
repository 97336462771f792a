"""auto: a map by what each makes of pairs left out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..catalogue.maps import MAPS
from ..signal import LemError
from .maps import Map, unit
from .pairs import Paired
from .relative import ranked

FEWEST = 5  # pairs
PART = 5  # one pair in so many is left out at a time
ENOUGH, MOST = 512, 40  # pairs to leave out in all, splits at most


def auto(pairs: Paired) -> Map:
    """The first map of the catalogue that ranks pairs left out no worse than the best one does, as far as these can tell (95 %).

    A fifth of the sample is left out at a time, until every pair was and 512 in all (at most in 40 splits); B's vector of each
    is ranked among those left out, by cosine about the means of the rest. The rank of a map is the mean over pairs of 1 / rank.
    facts: `chosen`, and the rank of every map. LemError for fewer than 5 pairs.
    """
    if len(pairs.x) < FEWEST:
        raise LemError(f"{len(pairs.x)} pairs; auto leaves pairs out and needs {FEWEST} at least: name a --map")
    rows = [row for row in MAPS.rows if row.tried]
    ranks = {row.name: left_out(pairs, row.load()) for row in rows}
    best = max(ranks.values(), key=np.mean)
    chosen = next(row for row in rows if _as_good(ranks[row.name], best))
    made = chosen.load()(pairs)
    made.facts = {"chosen": chosen.name, **{f"mrr-{name}": float(r.mean()) for name, r in ranks.items()}, **made.facts}
    return made


def _as_good(one: np.ndarray, best: np.ndarray) -> bool:
    behind = best - one
    return behind.mean() <= 1.96 * behind.std(ddof=1) / np.sqrt(len(behind))


def left_out(pairs: Paired, fitted: Callable[[Paired], Map]) -> np.ndarray:
    """Reciprocal rank [n] of each pair of the sample where it was left out, the mean over splits, which are the same for all maps."""
    n, draw = len(pairs.x), np.random.default_rng(18)
    held, total, times = max(n // PART, 2), np.zeros(n), np.zeros(n)
    splits = min(MOST, max(-(-ENOUGH // held), -(-n // held)))
    order = np.concatenate([draw.permutation(n) for _ in range(-(-splits * held // n))])
    for split in range(splits):
        out = np.unique(
            order[split * held : (split + 1) * held]
        )  # (one may stand at the end of an order and in the next)
        rest = np.setdiff1d(np.arange(n), out)
        made = fitted(Paired.of(pairs.x[rest], pairs.y[rest]))
        mean = made.mean[1]
        near = unit(made.apply(pairs.x[out]) - mean) @ unit(pairs.y[out] - mean).T
        total[out] += ranked(near, np.arange(len(out)))
        times[out] += 1
    return total / np.maximum(times, 1)
