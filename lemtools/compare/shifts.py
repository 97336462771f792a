"""How far the classes of a labelled set lie from one of them, how wide they are, and whether two sides differ in that.

An estimate is a function of the weights of the speakers, [R, S] -> values [R], so that a bootstrap over speakers is one
call. All are of `Groups`. From squared distances of means the noise of the means is taken off, so that they are right on
average, and may be below 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np

from ..rng import generator
from .groups import Groups

Estimate = Callable[[np.ndarray], np.ndarray]
MOST_SPLITS = 20_000  # of the speakers into two sides; of more, as many are drawn


def within(groups: Groups) -> Estimate:
    """Variance of an item about the mean of its speaker and class, all D numbers together: the mean over cells.

    Every cell of two items or more counts alike, with its squares over n - 1: that is the mean over all choices of equally
    many items a cell.
    """
    _, _, spread = groups.cells()
    there = np.isfinite(spread)
    if not there.any():
        raise ValueError("no speaker has two items of one class")
    total, count = np.where(there, spread, 0).sum(1), there.sum(1)
    return lambda weights: _over(weights @ total, weights @ count)


def dispersion(groups: Groups) -> Estimate:
    """Share of the variance that lies within speaker and class: `within` over the total, about 1 where classes say nothing.

    The total is that of an item of a cell drawn at random among cells of two items or more, about the mean of all
    cells; of centred groups about that of the speaker's. ValueError where there is no such cell.
    """
    n, means, spread = groups.cells()
    inside, there = within(groups), np.isfinite(spread)
    noise = np.where(there, spread / np.maximum(n, 1), 0)  # of a cell's mean
    means = np.where(there[..., None], means, 0)
    count = there.sum(1)
    if groups.centred:
        share = there / np.maximum(count, 1)[:, None]
        middle = np.einsum("sk,skd->sd", share, means)
        between = (share * np.square(means).sum(2) - share * (1 - share) * noise).sum(1) - np.square(middle).sum(1)

        def of(weights: np.ndarray) -> np.ndarray:
            v = inside(weights)
            return _over(v, v + np.maximum(_over(weights @ np.where(count > 1, between, 0), weights @ (count > 1)), 0))

        return of
    products = means.sum(1) @ means.sum(1).T  # of the sums of the speakers' cell means
    square, noisy = np.square(means).sum((1, 2)), noise.sum(1)

    def about_all(weights: np.ndarray) -> np.ndarray:
        v, cells = inside(weights), weights @ count
        spread_of_means = _over(weights @ square, cells) - _over(((weights @ products) * weights).sum(1), cells**2)
        own = _over(weights @ noisy, cells) - _over(weights**2 @ noisy, cells**2)
        return _over(v, v + np.maximum(spread_of_means - own, 0))

    return about_all


def shift(groups: Groups, neutral: int, of: int | None = None) -> Estimate:
    """How far a class lies from another one, `neutral`: the mean square over speakers of the distance of their two means,
    in units of `within`. of None: over all classes.
    """
    n, means, spread = groups.cells()
    inside = within(groups)
    usual = float(inside(np.ones((1, len(n))))[0])
    noise = np.where(np.isfinite(spread), spread, usual) / np.maximum(n, 1)
    squares = np.square(means - means[:, neutral : neutral + 1]).sum(2) - noise - noise[:, neutral : neutral + 1]
    both = (n > 0) & (n[:, neutral : neutral + 1] > 0)
    both[:, neutral] = False
    chosen = [k for k in range(n.shape[1]) if k != neutral] if of is None else [of]
    if not both[:, chosen].any():
        raise ValueError(f"no speaker has both {groups.classes[chosen[0]]} and {groups.classes[neutral]}")
    total, count = np.where(both, squares, 0)[:, chosen].sum(1), both[:, chosen].sum(1)

    return lambda weights: _over(_over(weights @ total, weights @ count), inside(weights))


def signed(groups: Groups, neutral: int, of: int) -> Estimate:
    """Of groups of one number: the mean over speakers of the class mean less that of `neutral`, in its own unit."""
    n, means, _ = groups.cells()
    both = (n[:, of] > 0) & (n[:, neutral] > 0)
    apart = np.where(both, means[:, of, 0] - means[:, neutral, 0], 0)
    if not both.any():
        raise ValueError(f"no speaker has both {groups.classes[of]} and {groups.classes[neutral]}")
    unit = 1.0 if groups.scale is None else float(groups.scale[0])
    return lambda weights: unit * _over(weights @ apart, weights @ both)


class Interaction(NamedTuple):
    """Whether shifts differ between two sides. share: of the variance of the shifts of speakers, what lies between the
    sides; chance: its mean over all splits; p: share of the splits with as much or more; splits: how many. size: mean
    square over classes of the distance of the sides' mean shifts, in units of `within`, as an Estimate.
    """

    share: float
    chance: float
    p: float
    splits: int
    size: Estimate


def interaction(groups: Groups, neutral: int) -> Interaction:
    """Does the shift of the classes from `neutral` differ between the two sides of the speakers?

    The statistic is that of a permutational analysis of variance (Anderson 2001), summed over the classes; speakers
    change sides, all splits of as many where there are at most MOST_SPLITS, and so none has a p below one over their
    number (two splits that are each other's mirror are one). ValueError for sides of fewer than two speakers with
    `neutral` and another class.
    """
    n, means, _ = groups.cells()
    both = (n > 0) & (n[:, neutral : neutral + 1] > 0)
    both[:, neutral] = False
    able = both.any(1)
    side = np.where(able, groups.side, -1)
    few = [name for i, name in enumerate(groups.sides) if (side == i).sum() < 2]
    if few:
        raise ValueError(f"fewer than two speakers of {few[0]} with {groups.classes[neutral]} and another class")
    apart = np.where(both[..., None], means - means[:, neutral : neutral + 1], 0)
    grams = {k: (both[:, k].astype(float), apart[:, k] @ apart[:, k].T) for k in range(n.shape[1]) if both[:, k].any()}
    moved = splits(side[able])
    member = np.zeros((len(moved), len(n)))
    member[:, able] = moved
    total = sum(np.trace(gram) - gram.sum() / there.sum() for there, gram in grams.values())
    between = sum(_between(member, there, gram) for there, gram in grams.values())
    shares = np.asarray(between) / total if total > 0 else np.zeros(len(moved))
    p = float(np.mean(shares >= shares[0] - 1e-12))
    inside = within(groups)

    def size(weights: np.ndarray) -> np.ndarray:
        squares = np.array([_apart(weights, side, there, gram) for there, gram in grams.values()])
        known = np.isfinite(squares)
        return _over(_over(np.where(known, squares, 0).sum(0), known.sum(0)), inside(weights))

    return Interaction(float(shares[0]), float(shares.mean()), p, len(shares), size)


def splits(side: np.ndarray) -> np.ndarray:
    """float64 [P, S] of 0 and 1: all ways to put as many speakers on each side, the true one first; mirrors left out.

    More than MOST_SPLITS: the true one, and as many less one drawn from seed 0.
    """
    count, ones = len(side), int((side == 1).sum())
    mirrored = 2 * ones == count
    if math.comb(count, ones) // (1 + mirrored) > MOST_SPLITS:
        rng = generator(0, 0, 0, "splits")
        drawn = [rng.permutation(side == 1) for _ in range(MOST_SPLITS - 1)]
        return np.array([side == 1, *drawn], float)
    true = frozenset(np.flatnonzero(side == 1).tolist())
    mirror = frozenset(range(count)) - true
    found = [true, *(c for c in _choices(count, ones, mirrored) if c not in (true, mirror if mirrored else true))]
    out = np.zeros((len(found), count))
    for row, chosen in zip(out, found):
        row[list(chosen)] = 1
    return out


def _choices(count: int, ones: int, mirrored: bool) -> Iterator[frozenset[int]]:
    """Subsets of that size; where the others are as many, only those with the first."""
    if mirrored:
        return (frozenset((0, *rest)) for rest in combinations(range(1, count), ones - 1))
    return map(frozenset, combinations(range(count), ones))


def _between(member: np.ndarray, there: np.ndarray, gram: np.ndarray) -> np.ndarray:
    """[P]: sum of squares between the sides, of those that are there; 0 where a side has none."""
    one, two = member * there, (1 - member) * there
    n, m = one.sum(1), two.sum(1)
    u = one / np.maximum(n, 1)[:, None] - two / np.maximum(m, 1)[:, None]
    return ((u @ gram) * u).sum(1) * n * m / np.maximum(n + m, 1)


def _apart(weights: np.ndarray, side: np.ndarray, there: np.ndarray, gram: np.ndarray) -> np.ndarray:
    """[R]: squared distance of the sides' weighted means, less what the speakers' spread makes of it; nan where a side
    has fewer than two speakers."""
    u, noise = 0.0, np.zeros(len(weights))
    for i, sign in ((1, 1.0), (0, -1.0)):
        own = weights * there * (side == i)
        n = np.where(own.sum(1) > 1, own.sum(1), np.nan)
        share = own / n[:, None]
        noise = noise + (share @ np.diag(gram) - ((share @ gram) * share).sum(1)) / (n - 1)
        u = u + sign * share
    return ((u @ gram) * u).sum(1) - noise


def _over(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a / np.where(b > 0, b, np.nan)
