"""How well the classes of a labelled set can be told apart by other speakers' items: neighbours, a classifier, distances.

Each function answers with one float64 value an item, of `Groups`.
"""

from __future__ import annotations

import numpy as np

from .groups import Groups, sums
from .shrinkage import ledoit_wolf

_SAME = 1e-12  # squared distances as near as that, relatively, are equal


def distances(x: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances [N, N], exactly 0 between equal rows."""
    x = x - x.mean(0)
    square = np.einsum("ij,ij->i", x, x)
    out = square[:, None] + square - 2 * (x @ x.T)
    doubt = out < 1e-6 * (square[:, None] + square)  # where cancellation leaves few digits
    for i in np.flatnonzero(doubt.any(1)):
        near = np.flatnonzero(doubt[i])
        out[i, near] = np.square(x[near] - x[i]).sum(1)
    return out


def neighbours(groups: Groups, k: int = 5) -> np.ndarray:
    """float32 [N, N]: the chance that an item is among the k nearest of another speaker's to each; rows sum to k.

    Those that tie for the last places share them. ValueError where k items of other speakers are not there.
    """
    apart = distances(groups.x)
    apart[groups.who[:, None] == groups.who] = np.inf
    if np.isfinite(apart).sum(1).min() < k:
        raise ValueError(f"fewer than {k} items of others than one speaker")
    edge = np.partition(apart, k - 1, axis=1)[:, k - 1 : k]
    sure = apart < edge * (1 - _SAME)
    tied = (apart <= edge * (1 + _SAME)) & ~sure
    share = (k - sure.sum(1)) / tied.sum(1)
    return (sure + tied * share[:, None]).astype(np.float32)


def purity(groups: Groups, *, k: int = 5) -> np.ndarray:
    """Share [N] of an item's k nearest neighbours, among those of other speakers, that are of its class.

    Chance is about the sum of squares of the classes' shares. ValueError as of `neighbours`.
    """
    if f"near{k}" not in groups.kept:
        groups.kept[f"near{k}"] = neighbours(groups, k)
    near = groups.kept[f"near{k}"]
    return (near @ one_hot(groups))[np.arange(len(groups)), groups.by] / k


def accuracy(groups: Groups) -> np.ndarray:
    """1 or 0 [N]: whether a linear discriminant, fitted to the other speakers, finds an item's class.

    Classes are Gaussians of one covariance, that of the items about their class means shrunk as `ledoit_wolf` says, in
    units of the fitted items' standard deviation; all classes are as likely beforehand. A class that no other speaker
    has is not found.
    """
    out = np.empty(len(groups))
    for s in range(len(groups.speakers)):
        test = groups.who == s
        x, by = groups.x[~test], groups.by[~test]
        count = np.bincount(by, minlength=len(groups.classes))
        mean, scale, product = _scaled(groups, s)
        x, y = (x - mean) / scale, (groups.x[test] - mean) / scale
        means = sums(x, by, len(count)) / np.maximum(count, 1)[:, None]
        covariance, _ = ledoit_wolf(x - means[by], product - (means.T * count) @ means)
        floor = 1e-12 * max(float(np.trace(covariance)) / len(covariance), 1e-300)
        weights = np.linalg.solve(covariance + floor * np.eye(len(covariance)), means.T)  # [D, K]
        score = y @ weights - 0.5 * np.sum(means.T * weights, axis=0)
        out[test] = np.where(count > 0, score, -np.inf).argmax(1) == groups.by[test]
    return out


def _scaled(groups: Groups, speaker: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(mean [D], standard deviation [D], product x^T x [D, D] in these units) of all items but one speaker's."""
    if (key := f"without {speaker}") not in groups.kept:
        x = groups.x[groups.who != speaker]
        mean, scale = x.mean(0), x.std(0)
        scale = np.where(scale > 1e-9 * np.abs(x).max(initial=1e-300), scale, 1)
        x = (x - mean) / scale
        groups.kept[key] = mean, scale, x.T @ x
    found: tuple[np.ndarray, np.ndarray, np.ndarray] = groups.kept[key]
    return found


def silhouette(groups: Groups, *, speaker: bool = False) -> np.ndarray:
    """Silhouettes [N] in [-1, 1] (Rousseeuw 1987): (b - a) / max(a, b), a the mean distance to the other items of the
    own class, b the least mean distance to those of another; 0 for an item that is alone in its class.

    Distances are Euclidean. speaker: classes are the speakers.
    """
    if "apart" not in groups.kept:
        groups.kept["apart"] = np.sqrt(np.maximum(distances(groups.x), 0))
    apart = groups.kept["apart"]
    labels, count = (groups.who, len(groups.speakers)) if speaker else (groups.by, len(groups.classes))
    n = np.bincount(labels, minlength=count)
    total = apart @ np.eye(count)[labels]
    rows = np.arange(len(labels))
    own = total[rows, labels] / np.maximum(n[labels] - 1, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        others = np.where(n > 0, total / n, np.inf)
    others[rows, labels] = np.inf
    nearest, largest = others.min(1), np.maximum(own, others.min(1))
    alone = (n[labels] == 1) | (largest == 0)
    return np.where(alone, 0.0, (nearest - own) / np.where(largest == 0, 1, largest))


def one_hot(groups: Groups) -> np.ndarray:
    """[N, K], 1 at the class of each item."""
    return np.eye(len(groups.classes))[groups.by]
