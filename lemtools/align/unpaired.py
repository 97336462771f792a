"""No pairs at all: many starts, rounds of self-learning from the better ones, and whether what came of it is more than chance.

The leading principal axes of two models often are the same directions of meaning, in nearly the same order, with other signs and a few
that the other side lacks. So a start takes some of the first axes of each side, in order, and a sign for each; others pair vectors by
how their similarities to all others are distributed (Artetxe et al. 2018), which turns and signs leave as it is. What is best is
what has most vectors that are each other's nearest. Any search finds something, so that the same search is made with Gaussians of
B's mean and covariance in its place, which nothing could be aligned with.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product
from typing import NamedTuple

import numpy as np

from ..signal import LemError
from . import gromov
from .clouds import NEAR, Cloud, Turn, dictionary, rounds
from .gromov import SORTED, profiles
from .maps import Map

AXES, MATCHED = 5, 4  # leading axes of each side, and how many of them a start pairs
PROFILES = 8  # starts by similarities
GAUSSIANS = 19
SEED = 18


class Heat(NamedTuple):
    """A trial of starts: vectors a side, rounds, directions at the end, and how many starts stay: those whose correlations are strongest."""

    vectors: int
    rounds: int
    wide: int
    stay: int


HEATS = (Heat(400, 20, 24, 40), Heat(1024, 16, 24, 4))


class Found(NamedTuple):
    """The best map of a search, the share of vectors that are each other's nearest by it, and from how many starts it was found."""

    turn: Turn
    mutual: float
    starts: int = 0


def aligned(x: np.ndarray, y: np.ndarray) -> Map:
    """A map between two spaces from vectors of each, x [n, D], y [m, E], whose order says nothing.

    facts: `starts`; `mutual`, the share of vectors that are each other's nearest, by which the best start is chosen; and
    `mutual-gaussian`, the largest in as many searches with 19 Gaussians in B's place. LemError, "no alignment found", where it is not
    larger than that.
    """
    a, b = (Cloud.of(side.astype(np.float64), side.mean(0, dtype=np.float64)) for side in (x, y))
    found, chance = search(a, b), 0.0
    for number in range(GAUSSIANS):
        chance = max(chance, search(a, gaussian(y, number)).mutual)
        if chance >= found.mutual:
            raise LemError(
                f"no alignment found: {found.mutual:.3f} of the vectors are each other's nearest, of a Gaussian in B's place {chance:.3f}; "
                "some pairs are needed (--onto without --unpaired, and --more)"
            )
    facts = {"starts": found.starts, "mutual": found.mutual, "mutual-gaussian": chance}
    return mapped(a, b, found.turn, x, y, facts)


def mapped(a: Cloud, b: Cloud, turn: Turn, x: np.ndarray, y: np.ndarray, facts: dict[str, float]) -> Map:
    """As a map between the spaces themselves; its scale each way brings x and y to each other's root mean square length."""
    axes_a, axes_b = (side.axes[:, : len(turn.there)] for side in (a, b))
    there, back = axes_a @ turn.there @ axes_b.T, axes_b @ turn.back @ axes_a.T
    p, q = x - a.mean, y - b.mean
    return Map((a.mean, b.mean), there * _longer(p @ there, q), back * _longer(q @ back, p), facts=facts)


def search(a: Cloud, b: Cloud) -> Found:
    """The best of all starts: those that did best in heats of few rounds and directions, by all rounds from where they started. Starts
    of few axes and those of many have heats of their own: more axes are stronger at first, right or wrong."""
    count, finalists = 0, list[Turn]()
    for kinds in STARTS:
        draw, left = np.random.default_rng(SEED), [turn for kind in kinds for turn in kind(a, b)]
        count += len(left)
        for heat in HEATS:
            x, y = (side.rows[draw.permutation(len(side.rows))[: heat.vectors]] for side in (a, b))
            strength = [strengthened(x, y, turn, a, b, heat).strength for turn in left]
            left = [left[i] for i in np.argsort(strength, kind="stable")[::-1][: heat.stay]]
        finalists += left
    made = [list(rounds(a, b, turn, np.random.default_rng(SEED)))[-1] for turn in finalists]
    return Found(*max(made, key=lambda last: last[1]), count)


def strengthened(x: np.ndarray, y: np.ndarray, turn: Turn, a: Cloud, b: Cloud, heat: Heat) -> Turn:
    """The map after the rounds of a heat, between rows x of a and y of b."""
    first, wide, sharp = len(turn.there), min(heat.wide, len(a.mean), len(b.mean)), 0.0
    for at in range(heat.rounds):
        k = round(first * (wide / first) ** ((at + 1) / heat.rounds))
        cross, _, sharp = dictionary(x, y, turn, sharp, NEAR, k)
        turn = Turn.fitted(cross, a, b)
    return turn


def by_axes(a: Cloud, b: Cloud) -> Iterator[Turn]:
    """Some of either side's leading axes in order, with all signs."""
    axes = min(AXES, len(a.mean), len(b.mean))
    matched = min(MATCHED, axes)
    for p, q in product(combinations(range(axes), matched), repeat=2):
        for signs in product((1.0, -1.0), repeat=matched):
            there = np.zeros((axes, axes))
            there[p, q] = signs
            yield Turn(there, there.T, 0.0)


def by_profiles(a: Cloud, b: Cloud) -> Iterator[Turn]:
    """Vectors paired by their sorted similarities to all others."""
    draw, axes = np.random.default_rng(SEED), min(AXES, len(a.mean), len(b.mean))
    for _ in range(PROFILES):
        x, y = (side.rows[draw.permutation(len(side.rows))[:512]].astype(np.float64) for side in (a, b))
        one, other = profiles(x), profiles(y)
        apart = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
        weight = np.exp(-(apart - apart.min(1, keepdims=True)) / SORTED)
        yield Turn.fitted((x.T @ (weight / weight.sum(1, keepdims=True) @ y) / len(x))[:axes, :axes], a, b)


STARTS = ((by_axes, by_profiles), (gromov.starts,))  # kinds of starts that compete


def gaussian(y: np.ndarray, number: int) -> Cloud:
    """As many Gaussian vectors with the mean and the covariance of y."""
    middle = y.mean(0, dtype=np.float64)
    apart = y - middle
    values, axes = np.linalg.eigh(apart.T @ apart / len(y))
    drawn = np.random.default_rng([SEED, number]).standard_normal(y.shape) * np.sqrt(np.maximum(values, 0)) @ axes.T
    return Cloud.of(middle + drawn, (middle + drawn).mean(0))


def _longer(made: np.ndarray, wanted: np.ndarray) -> float:
    """What brings vectors to the root mean square length of others."""
    return float(np.sqrt(np.square(wanted).mean(0).sum() / max(np.square(made).mean(0).sum(), np.finfo(float).tiny)))
