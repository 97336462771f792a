"""Two clouds of vectors without pairs: what is known of each side, and rounds of a dictionary between them.

A round takes the map as it is, finds which vectors of one side lie near to which of the other, and fits the map to that. No pair is
certain, so that a vector has many partners by weight: softmax over the others of sharpness times cosine, in both directions
(Smith et al. 2017), which does what CSLS does for a choice of one. The map begins with the few leading principal directions,
where neighbours can be trusted, and grows (Melzi et al. 2019); a direction counts as much as its correlation says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .maps import unit

NEAR = 10  # partners that a vector has on average, by 1 / sum of squared weights
FEWER = 0.85  # times that, a round, at last
SHARP = 20.0  # of the softmax, before it is found
WHITEN = 0.25  # variances to minus this power
POWER = 0.5  # correlations to this one
FLOOR = 0.1  # part of the mean variance, added to all
GROWING, SETTLED, ROUNDS = 35, 40, 50  # rounds: while directions are added, with as many partners, in all
DRAWN, LAST = 768, 2048  # vectors a side that a round looks at: while the map grows, and then


@dataclass
class Cloud:
    """Vectors of one space. mean [D]; axes [D, D], the principal ones of directions, the largest variance first, values [D];
    rows [n, D] float32: directions about the mean, in the axes."""

    mean: np.ndarray
    axes: np.ndarray
    values: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, mean: np.ndarray) -> Cloud:
        turned = unit(x - mean)
        values, axes = np.linalg.eigh(turned.T @ turned / len(turned))
        values, axes = np.maximum(values[::-1], 0), axes[:, ::-1]
        return cls(mean, axes, values, (turned @ axes).astype(np.float32))

    def place(self, x: np.ndarray) -> np.ndarray:
        """Directions [n, D] of vectors about the mean, in the axes; float64."""
        return unit(x - self.mean) @ self.axes

    def stretch(self, k: int) -> np.ndarray:
        """How the first k axes are weighted where sides meet: half-way to whitening, so that no few directions decide."""
        values = self.values[:k]
        return (values + FLOOR * values.mean()) ** -WHITEN


@dataclass
class Turn:
    """A map [k, k] between the first k axes of two clouds, and back. strength: the sum of its correlations."""

    there: np.ndarray
    back: np.ndarray
    strength: float

    @classmethod
    def fitted(cls, cross: np.ndarray, a: Cloud, b: Cloud) -> Turn:
        """Of the covariance [k, k] of partners in the axes."""
        stretch_a, stretch_b = (side.stretch(len(cross))[:, None] for side in (a, b))
        u, s, vt = np.linalg.svd(stretch_a * cross * stretch_b.T, full_matrices=False)
        middle = (u * s**POWER) @ vt
        return cls(stretch_a * middle / stretch_b.T, stretch_b * middle.T / stretch_a.T, float(s.sum()))


def rounds(
    a: Cloud, b: Cloud, turn: Turn, draw: np.random.Generator, known: np.ndarray | float = 0.0
) -> Iterator[tuple[Turn, float]]:
    """The map after each of 50 rounds from `turn`, with the share of the drawn vectors that were each other's nearest.

    known: [D, E], what is added to the dictionary's covariance in the axes. Directions, as many on both sides, grow geometrically to
    all of the narrower side in the first 35 rounds. The last ten have fewer and fewer partners. No more than 2048 x 2048 cosines are
    held, and float32 in them.
    """
    first, narrow, sharp = len(turn.there), min(len(a.mean), len(b.mean)), 0.0
    for at in range(ROUNDS):
        size = DRAWN if at < GROWING else LAST
        x, y = (side.rows[draw.permutation(len(side.rows))[:size]] for side in (a, b))
        wide = round(first * (narrow / first) ** min(1, (at + 1) / GROWING))
        cross, mutual, sharp = dictionary(x, y, turn, sharp, NEAR * FEWER ** max(0, at - SETTLED), wide)
        cross += known[:wide, :wide] if isinstance(known, np.ndarray) else known
        turn = Turn.fitted(cross, a, b)
        yield turn, mutual


def dictionary(
    x: np.ndarray, y: np.ndarray, turn: Turn, sharp: float, partners: float, wide: int
) -> tuple[np.ndarray, float, float]:
    """(covariance of partners in the first `wide` axes, the share of x that are each other's nearest with one of y, the next sharpness).

    x [n, D], y [m, E]: rows of clouds. sharp: of the softmax; 0: to be found. partners: how many a vector should have.
    """
    k = len(turn.there)
    near = unit(x[:, :k] @ turn.there.astype(np.float32)) @ unit(y[:, :k]).T
    tries = 1 if sharp else 5
    sharp = sharp or SHARP
    for _ in range(tries):
        rows, sharp = _partners(near, sharp, partners)
    columns, _ = _partners(near.T, sharp, partners)
    mutual = columns.argmax(1)[rows.argmax(1)] == np.arange(len(x))
    p, q = x[:, :wide], y[:, :wide]
    return (p.T @ (rows @ q) / len(x) + (columns @ p).T @ q / len(y)) / 2, float(mutual.mean()), sharp


def _partners(near: np.ndarray, sharp: float, wanted: float) -> tuple[np.ndarray, float]:
    """(the softmax over each row, the sharpness at which a row will have more nearly as many partners as wanted)."""
    weight = np.exp(np.float32(sharp) * (near - near.max(1, keepdims=True)))
    weight /= weight.sum(1, keepdims=True)
    partners = float(np.mean(1 / np.einsum("ij,ij->i", weight, weight)))
    return weight, float(sharp * np.clip(np.sqrt(partners / wanted), 0.5, 2))
