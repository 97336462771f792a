"""Self-learning: few pairs, and vectors of each space without pairs, whose nearest neighbours are the next dictionary."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import numpy as np

from ..signal import LemError
from .clouds import ROUNDS, SETTLED, Cloud, Turn, rounds
from .maps import Map, unit
from .pairs import Paired

WEIGHT = 0.3  # of the pairs together, where the dictionary's is 1
FIRST = 16  # directions at first
STOPS = (20, SETTLED, ROUNDS)  # after how many rounds it may stop
PARTS, CROWD = 5, 2048  # parts of the pairs that are left out in turn, and vectors of B that they are ranked among
FEWEST = 8  # pairs
SEED = 18

Clouds = tuple[np.ndarray, np.ndarray]  # vectors of A [n, D] and of B [m, E]


def learnt(pairs: Paired, more: Clouds, made: Map, again: Callable[[Paired], Map]) -> Map:
    """`made`, which `again` fitted to the pairs, or the map that grew from them: whichever ranks pairs left out best.

    more: vectors of A [n, D] and of B [m, E], none of which need have a partner. A fifth of the pairs is left out at a time, both maps
    are fitted to the rest, and each pair's vector of B is ranked among those of `more`, by cosine; that also says after how many
    rounds to stop. facts: `rounds` (0: it did harm), `mrr-before` and `mrr-after`, mean reciprocal ranks of those left out;
    `mutual`, the share of vectors that were each other's nearest in the last round. LemError for fewer than 8 pairs.
    """
    if len(pairs.x) < FEWEST:
        raise LemError(f"{len(pairs.x)} pairs; self-learning leaves pairs out and needs {FEWEST} at least")
    before, *after = left_out(pairs, more, again).mean(1)
    best = int(np.argmax([before, *after]))
    found = grown(pairs, more, STOPS[best - 1 : best])[0] if best else made
    found.facts = {"rounds": 0, **found.facts, "mrr-before": float(before), "mrr-after": float(max(after))}
    return found


def left_out(pairs: Paired, more: Clouds, again: Callable[[Paired], Map]) -> np.ndarray:
    """Reciprocal ranks [1 + stops, n] of pairs left out: of the map from the others, and of those that grew from it."""
    ranks, order = [], np.random.default_rng(SEED).permutation(len(pairs.x))
    crowd = more[1][np.linspace(0, len(more[1]) - 1, min(CROWD, len(more[1]))).astype(int)]
    for part in range(PARTS):
        out, rest = order[part::PARTS], np.sort(np.delete(order, np.s_[part::PARTS]))
        known = Paired.of(pairs.x[rest], pairs.y[rest])
        maps = [again(known), *grown(known, more, STOPS)]
        ranks.append([reciprocal_ranks(found, pairs.x[out], pairs.y[out], crowd) for found in maps])
    return np.concatenate(ranks, axis=1)


def reciprocal_ranks(found: Map, x: np.ndarray, y: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """1 / rank [n] of y among itself and the crowd, by cosine about the mean to where x lands."""
    mean = found.mean[1]
    made = unit(found.apply(x) - mean)
    own = np.einsum("ij,ij->i", made, unit(y - mean))
    return 1 / (1 + (made @ unit(crowd - mean).T > own[:, None]).sum(1))


def grown(pairs: Paired, more: Clouds, stops: tuple[int, ...]) -> list[Map]:
    """The maps after so many rounds of self-learning from the pairs, of one run of the last number of them."""
    a, b = (
        Cloud.of(
            np.concatenate([known, new]).astype(np.float64), np.concatenate([known, new]).mean(0, dtype=np.float64)
        )
        for known, new in zip((pairs.x, pairs.y), more)
    )
    known = a.place(pairs.x).T @ b.place(pairs.y) / len(pairs.x)
    first = min(FIRST, len(pairs.x), *known.shape)
    turn, made = Turn.fitted(known[:first, :first], a, b), []
    steps = rounds(a, b, turn, np.random.default_rng(SEED), WEIGHT * known)
    for at, (turn, mutual) in enumerate(islice(steps, stops[-1]), 1):
        if at in stops:
            made.append(mapped(a, b, turn, pairs))
            made[-1].facts = {"rounds": at, "mutual": mutual}
    return made


def mapped(a: Cloud, b: Cloud, turn: Turn, pairs: Paired) -> Map:
    """As a map between the spaces themselves; its scale each way is that of least squares on the pairs."""
    axes_a, axes_b = (side.axes[:, : len(turn.there)] for side in (a, b))
    there, back = axes_a @ turn.there @ axes_b.T, axes_b @ turn.back @ axes_a.T
    x, y = pairs.x - a.mean, pairs.y - b.mean
    return Map((a.mean, b.mean), there * _scale(x @ there, y), back * _scale(y @ back, x))


def _scale(made: np.ndarray, wanted: np.ndarray) -> float:
    return max(float(np.vdot(made, wanted) / max(np.vdot(made, made), np.finfo(float).tiny)), np.finfo(float).tiny)
