"""A hub: one space of a set width into which several spaces are turned at once, from items that all of them have.

Generalised Procrustes analysis (Gower 1975) of covariances alone. Every space is centred and evened, (C + k)^-1/4 with
k = tr C^2 / tr C, the eigenvalue that the variance has on average: half-way between its own lengths and none; scaled to a total variance of 1; and turned by Q_k so that the turned
spaces differ as little as they can: Q_k = polar(sum_j C_kj Q_j), in turns, from the first eigenvectors of them all together.
The hub's axes are the principal ones of the mean of the turned spaces, the first `width` of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from ..catalogue import listed
from ..catalogue.maps import MAPS
from ..signal import LemError
from . import choose
from .linear import svd
from .maps import Map
from .pairs import WIDEST, Paired, check_varied, check_vectors, gathered

POWER = 0.25  # of C + k, taken out of a space
SWEEPS, RISE = 50, 1e-7  # at most so many turns of all; fewer once one raises the objective by less
ALL = 2 * WIDEST  # numbers of all spaces together


@dataclass
class Joined:
    """The maps of several spaces into a hub [., W] and out of it, by name, and how many items they were fitted to. facts: axes
    that vary, and of each space the share of the turned vectors' squares that is not the mean of all (0: the spaces agree)."""

    maps: dict[str, Map]
    count: int
    facts: dict[str, float] = field(default_factory=dict)


def fitted(
    names: list[str],
    blocks: Iterable[tuple[np.ndarray, ...]],
    width: int,
    *,
    pairs: int | None = None,
    seed: int = 0,
) -> Joined:
    """Spaces of these names in one pass over blocks of the same items in each of them ([n, D], [n, E], ...).

    width: of the hub. pairs: how many items to take, drawn by the seed; None: all. LemError for fewer than 2 spaces or items, for
    a hub wider than all spaces together, and for vectors as pairs.Paired.read refuses them.
    """
    if len(names) < 2:
        raise LemError(f"a hub of {len(names)} space; name 2 files at least, one a space")
    widths: list[int] = []
    moments, _ = gathered(_beside(names, blocks, widths), pairs=pairs, seed=seed, of="items")
    if not 1 <= width <= sum(widths):
        raise LemError(f"a hub of {width} numbers; its spaces have {sum(widths)} together")
    ends = np.cumsum([0, *widths])
    parts = dict(zip(names, (slice(a, b) for a, b in pairwise(ends)), strict=True))
    for name, part in parts.items():
        check_varied(moments.mean[part], moments.variance[part], name)
    turned, facts = turns(moments.covariance, parts, width)
    means = {name: (moments.mean[part], np.zeros(width)) for name, part in parts.items()}
    maps = {name: Map(means[name], *both) for name, both in turned.items()}
    return Joined(maps, int(moments.count), facts)


def turns(
    covariance: np.ndarray, parts: Mapping[str, slice], width: int
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], dict[str, float]]:
    """({space: (in [D, W], out [W, D])}, facts as of Joined) of the covariance [T, T] of the spaces beside one another."""
    even = {name: evened(covariance[part, part]) for name, part in parts.items()}
    c = np.empty_like(covariance)
    for a, one in parts.items():
        for b, other in parts.items():
            c[one, other] = even[a][0] @ covariance[one, other] @ even[b][0]
    turn = _rotations(c, list(parts.values()), width)
    mean = turn.T @ c @ turn / len(parts) ** 2
    values, axes = np.linalg.eigh(mean)
    values, axes = values[::-1][:width], axes[:, ::-1][:, :width]
    lead = (turn @ axes)[next(iter(parts.values()))]
    axes = axes * np.where(lead[np.abs(lead).argmax(0), np.arange(width)] < 0, -1, 1)  # (signs are of no meaning)
    there = turn @ axes
    made = {name: (even[name][0] @ there[part], there[part].T @ even[name][1]) for name, part in parts.items()}
    facts = {"axes": float((values > values[0] * len(c) * np.finfo(float).eps).sum())}
    together = c @ there / len(parts)
    for name, part in parts.items():
        own = np.vdot(there[part], c[part, part] @ there[part])
        apart = own - 2 * np.vdot(there[part], together[part]) + values.sum()
        facts[f"apart-{name}"] = float(max(apart, 0) / own)
    return made, facts


def evened(c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(s (c + k)^-1/4, its inverse), symmetric [D, D]; s makes the total variance 1."""
    values, axes = np.linalg.eigh(c)
    values = np.maximum(values, 0)
    total = max(values.sum(), np.finfo(float).tiny)
    root = (values + max((values**2).sum() / total, np.finfo(float).tiny)) ** POWER
    root *= np.sqrt(max((values / root**2).sum(), np.finfo(float).tiny))
    return (axes / root) @ axes.T, (axes * root) @ axes.T


def joined(pairs: Paired, how: str) -> Map:
    """The map of one more space, from pairs of its vectors with vectors of the hub; how: 'auto' or another map of the catalogue
    that is a matrix. LemError for one that is not.
    """
    rows = [row.name for row in MAPS.rows if row.tried and row.linear]
    if how == "auto":
        return choose.auto(pairs, rows)
    if how not in rows:
        raise LemError(f"--map {how}: a space joins a hub by a matrix, of {listed(['auto', *rows])}")
    return MAPS.load(how)(pairs)


def _rotations(c: np.ndarray, parts: list[slice], width: int) -> np.ndarray:
    """The turns Q [T, F] one above the other, F the width of the hub or that of the widest space: what is cut, is cut last."""
    wide = min(max(width, *(part.stop - part.start for part in parts)), len(c))
    values, vectors = np.linalg.eigh(c)
    together = (vectors * np.maximum(values, 0))[:, ::-1][:, :wide]
    turn, reached = np.empty((len(c), wide)), 0.0
    for _ in range(SWEEPS):
        for part in parts:
            u, _, vt = svd(together[part])
            turn[part] = u @ vt
        together = c @ turn
        before, reached = reached, float(np.vdot(turn, together))
        if reached - before <= RISE * reached:
            break
    return turn


def _beside(names: list[str], blocks: Iterable[tuple[np.ndarray, ...]], widths: list[int]) -> Iterable[np.ndarray]:
    """Blocks [n, T] of the vectors of all spaces, checked; widths: is filled in."""
    seen = 0
    for block in blocks:
        widths[:] = widths or [side.shape[1] for side in block]
        for side, width, name in zip(block, widths, names, strict=True):
            if side.shape[1] != width:
                raise LemError(f"vectors of {side.shape[1]} numbers among such of {width} in {name}")
            check_vectors(side, seen, f" of {name}")
        if max(widths) > WIDEST or sum(widths) > ALL:
            raise LemError(
                f"vectors of {' + '.join(map(str, widths))} numbers; a hub takes {WIDEST} a space and {ALL} in all"
            )
        seen += len(block[0])
        yield np.hstack(block)
