"""Starts without pairs by Gromov-Wasserstein: what makes the cosines among one side's centres like those among the other's.

Centres of clusters stand for a side. A coupling of two sets of centres, with masses p and q, has the distortion

    sum_ijkl (C_ik - D_jl)^2 T_ij T_kl

(Memoli 2011), where C and D hold how like the centres of one side are to one another, as normal quantiles of their ranks, since two
models spread their cosines unlike. It is made small by proximal steps (Peyre et al. 2016; Xu et al. 2019): the gradient's entropic
transport with the coupling of before as its prior. They begin where sorted similarities say (Memoli's third lower bound). One run
often ends with some directions the wrong way round; those of other centres seldom err alike, so that the mean of several couplings,
in the principal axes, is one start more.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from statistics import NormalDist

import numpy as np

from .clouds import Cloud, Turn
from .maps import unit

CENTRES, ROUNDS = 100, 10  # of clusters, and of the search for them
RUNS = 16  # with other centres
STEPS, SCALINGS = 40, 30  # proximal ones, and of rows and columns in each
SHARP = 0.2  # of a proximal step, in units of the mean square of the similarities
FIRST = 0.3  # of the first coupling, in units of the mean squared difference of two profiles
AXES = 16  # of the map that comes of a coupling
SORTED = 64  # how many of the sorted similarities are compared
SEED = 18


def starts(a: Cloud, b: Cloud) -> Iterator[Turn]:
    """Maps of the first 16 axes by the couplings of 16 sets of centres of a and b; the last one is by their mean."""
    crosses = []
    for run in range(RUNS):
        draw = np.random.default_rng([SEED, run])
        (x, p), (y, q) = (centres(side.rows.astype(np.float64), CENTRES, draw) for side in (a, b))
        axes = min(AXES, x.shape[1], y.shape[1])
        crosses.append((x.T @ coupled(x, y, p, q) @ y)[:axes, :axes])
        yield Turn.fitted(crosses[-1], a, b)
    yield Turn.fitted(np.mean(crosses, axis=0), a, b)


def coupled(x: np.ndarray, y: np.ndarray, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """The coupling [k, m] of centres x [k, D] and y [m, E] with masses p [k] and q [m]; its sums are these."""
    apart = [profiles(side) for side in (x, y)]
    near = apart[0] @ apart[1].T * 2 - (apart[0] ** 2).sum(1)[:, None] - (apart[1] ** 2).sum(1)
    coupling = scaled(_exp(near / (SORTED * FIRST)), p, q)
    one, other = (ranked(unit(side) @ unit(side).T) for side in (x, y))
    sharp = 1 / max(SHARP * (one.var() + other.var()) / 2, np.finfo(float).tiny)  # (two centres are as like as any two)
    for _ in range(STEPS):
        coupling = scaled(coupling * _exp(-sharp * gradient(one, other, p, q, coupling)), p, q)
    return coupling


def gradient(one: np.ndarray, other: np.ndarray, p: np.ndarray, q: np.ndarray, coupling: np.ndarray) -> np.ndarray:
    """What a pair of centres costs beside a coupling, [k, m]: sum_kl (C_ik - D_jl)^2 T_kl, by three products (Peyre et al. 2016, Proposition 1)."""
    return (one**2 @ p)[:, None] + other**2 @ q - 2 * one @ coupling @ other.T


def distortion(one: np.ndarray, other: np.ndarray, p: np.ndarray, q: np.ndarray, coupling: np.ndarray) -> float:
    return float(np.vdot(gradient(one, other, p, q, coupling), coupling))


def scaled(kernel: np.ndarray, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """A positive kernel whose rows and columns are scaled to sum to p and q (Sinkhorn 1967), the columns to rounding."""
    tiny = np.finfo(float).tiny
    u = p
    for _ in range(SCALINGS):
        v = q / np.maximum(kernel.T @ u, tiny)
        u = p / np.maximum(kernel @ v, tiny)
    v = q / np.maximum(kernel.T @ u, tiny)
    return u[:, None] * kernel * v


def ranked(near: np.ndarray) -> np.ndarray:
    """Normal quantiles of the ranks of what is off the diagonal of a symmetric [k, k]; the diagonal has the largest of them."""
    upper = np.triu_indices(len(near), 1)
    quantiles = _quantiles(len(upper[0]))
    out = np.full(near.shape, quantiles[-1])
    out[upper] = quantiles[np.argsort(np.argsort(near[upper], kind="stable"))]
    out.T[upper] = out[upper]
    return out


@cache
def _quantiles(count: int) -> np.ndarray:
    """Of the standard normal distribution at (i + 1/2) / count."""
    return np.array([NormalDist().inv_cdf((i + 0.5) / count) for i in range(count)])


def profiles(x: np.ndarray) -> np.ndarray:
    """Of each of n vectors its cosines to all others, sorted, 64 evenly spaced of them, each scaled over the vectors: [n, 64]."""
    near = unit(x) @ unit(x).T
    np.fill_diagonal(near, -np.inf)
    near = np.sort(near, 1)[:, 1:]
    near = near[:, np.linspace(0, near.shape[1] - 1, SORTED).astype(int)]
    spread = near.std(0)
    return (near - near.mean(0)) / np.where(spread > 0, spread, 1)


def centres(x: np.ndarray, count: int, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(means of clusters by cosine [k, D], the share of vectors in each [k]) of rows [n, D] of length 1, no more than a fifth of them.

    First centres far from one another (Arthur and Vassilvitskii 2007), then ten rounds of means.
    """
    count = min(count, len(x) // 5)
    chosen, apart = [int(draw.integers(len(x)))], np.full(len(x), np.inf)
    for _ in range(count - 1):
        apart = np.minimum(apart, np.maximum(1 - x @ x[chosen[-1]], 0))
        chosen.append(int(draw.choice(len(x), p=apart / apart.sum()) if apart.sum() > 0 else draw.integers(len(x))))
    middle = x[chosen]
    for _ in range(ROUNDS):
        middle, sizes = _means(x, middle)
    return middle[sizes > 0], sizes[sizes > 0] / len(x)


def _means(x: np.ndarray, middle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the mean of the vectors nearest to each centre, which stays where there are none, and how many they are)."""
    mine = (x @ unit(middle).T).argmax(1)
    sizes = np.bincount(mine, minlength=len(middle))
    order = np.argsort(mine, kind="stable")
    filled = np.flatnonzero(sizes)
    sums = np.add.reduceat(x[order], np.concatenate([[0], np.cumsum(sizes[filled])[:-1]]))
    out = middle.copy()
    out[filled] = sums / sizes[filled, None]
    return out, sizes


def _exp(x: np.ndarray) -> np.ndarray:
    """exp, of each row less its largest, which `scaled` undoes."""
    return np.exp(x - x.max(1, keepdims=True))
