"""Clusters that know no labels, and how much they say of them: k-means, and adjusted mutual information."""

from __future__ import annotations

import math

import numpy as np

ROUNDS = 300  # at most; it is over when no item changes its cluster


def k_means(x: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Cluster int64 [N] of each row of x [N, D]: Lloyd's rounds from one start of k-means++ (Arthur and Vassilvitskii 2007).

    A cluster that is left by all takes the row that is farthest from its centre. ValueError unless 1 <= k <= the number of rows that differ.
    """
    if not 1 <= k <= (most := len(np.unique(x, axis=0))):
        raise ValueError(f"{k} clusters of {most} items that differ; ask for at most {most}, as in ami@{most}")
    x = x - x.mean(0)
    square = np.einsum("ij,ij->i", x, x)
    centres, found = _starts(x, square, k, rng), np.full(len(x), -1)
    for _ in range(ROUNDS):
        apart = square[:, None] - 2 * (x @ centres.T) + np.einsum("ij,ij->i", centres, centres)
        now = apart.argmin(1)
        far = apart[np.arange(len(x)), now]
        for empty in np.setdiff1d(np.arange(k), now):
            at = int(np.argmax(np.where(np.bincount(now, minlength=k)[now] > 1, far, -np.inf)))
            now[at], far[at] = empty, -np.inf
        if (now == found).all():
            break
        found, count = now, np.bincount(now, minlength=k)
        centres = (np.eye(k)[now].T @ x) / count[:, None]
    return found


def _starts(x: np.ndarray, square: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """k rows [k, D], each drawn by its squared distance to the nearest of those before."""
    chosen = [int(rng.integers(len(x)))]
    near = np.full(len(x), np.inf)
    for _ in range(k - 1):
        at = chosen[-1]
        near = np.minimum(near, np.maximum(square - 2 * (x @ x[at]) + square[at], 0))
        near[chosen] = 0
        total = near.sum()
        chosen.append(int(rng.choice(len(x), p=near / total)) if total > 0 else int(rng.integers(len(x))))
    return x[chosen]


def adjusted_mutual_information(one: np.ndarray, other: np.ndarray) -> float:
    """(I - E[I]) / (mean of the two entropies - E[I]) of two partitions int [N] (Vinh et al. 2010, arithmetic mean).

    1 where they are the same, 0 on average where one is dealt at random with its sizes kept; it may be below.
    """
    table = _counts(one, other)
    n, (a, b) = int(table.sum()), (table.sum(1), table.sum(0))
    p, independent = table / n, np.outer(a, b) / n**2
    there = table > 0
    mutual = float((p[there] * np.log(p[there] / independent[there])).sum())
    entropies = [float(-(s / n * np.log(s / n)).sum()) for s in (a, b)]
    expected = _expected(a, b, n)
    most = sum(entropies) / 2
    return 1.0 if most - expected < 1e-12 else (mutual - expected) / (most - expected)


def _counts(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    _, i = np.unique(one, return_inverse=True)
    _, j = np.unique(other, return_inverse=True)
    out = np.zeros((i.max() + 1, j.max() + 1), np.int64)
    np.add.at(out, (i, j), 1)
    return out


def _expected(a: np.ndarray, b: np.ndarray, n: int) -> float:
    """E[I] of partitions of those sizes, dealt at random: hypergeometric counts (equation 24a of Vinh et al. 2010)."""
    log = np.array([math.lgamma(i + 1) for i in range(n + 1)])  # of factorials
    total = 0.0
    for u, times in zip(*np.unique(a, return_counts=True)):
        for v, twice in zip(*np.unique(b, return_counts=True)):
            m = np.arange(max(1, u + v - n), min(u, v) + 1)
            weight = (
                log[u]
                + log[v]
                + log[n - u]
                + log[n - v]
                - log[n]
                - log[m]
                - log[u - m]
                - log[v - m]
                - log[n - u - v + m]
            )
            total += float((m / n * np.log(n * m / (u * v)) * np.exp(weight)).sum()) * int(times) * int(twice)
    return total
