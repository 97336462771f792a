"""Whether classes can still be told apart in what came back: by a linear probe, by the spread within them, by clusters.

Sets are [N, ...], an item is one vector. classes: int64 [N], of the originals; words: what they are called in errors. Where a control stands beside, labels are shuffled among the items.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..rng import generator
from .clusters import adjusted_mutual_information, k_means
from .distortion import items_paired
from .groups import sums
from .representations import moderate, rows
from .ridge import FOLDS, apart, penalties, predicted

SEEDS = 10  # of k-means, and of shuffled labels


def probe(
    a: np.ndarray, b: np.ndarray, *, classes: np.ndarray, words: list[str] | None = None
) -> tuple[np.ndarray, ...]:
    """1 or 0 [N]: whether a linear classifier that has not seen an item finds its class. `probe[fitted]`.

    Ridge regression on one number a class, 1 for it and else 0; the largest wins. Five folds with all classes in each, equal originals in one, the same
    every time; a fold is judged by a classifier of the other four, whose one penalty is the best of 21 over folds inside these. fitted: on originals, judged on recalled items; refitted: on
    recalled items; beside them the originals themselves, and the answer that is always the most frequent class. ValueError: fewer than five different items
    of a class, one class, widths that differ, a value that is not finite.
    """
    x, z = _sets(a, b)
    if x.shape[1] != z.shape[1]:
        raise ValueError(f"a classifier of {x.shape[1]} numbers cannot judge {z.shape[1]}")
    truth, names = _truth(classes, len(x), words)
    order = generator(0, 0, 0, "probe").permutation(len(x))
    right = np.zeros((4, len(x)))
    for out, rest in apart(order, _folds(x, truth, names, order)):
        y = np.eye(truth.max() + 1)[truth[rest]]
        by = {name: penalties(side[rest], y, joint=True) for name, side in (("x", x), ("z", z))}
        both = predicted(x[rest], y, np.concatenate([z[out], x[out]]), by["x"])
        again = predicted(z[rest], y, z[out], by["z"])
        usual = np.bincount(truth[rest]).argmax()
        said = [both[: len(out)].argmax(1), again.argmax(1), both[len(out) :].argmax(1), np.full(len(out), usual)]
        right[:, out] = [each == truth[out] for each in said]
    return tuple(right)


def nc1(
    a: np.ndarray, b: np.ndarray, *, classes: np.ndarray, words: list[str] | None = None
) -> tuple[float, float, float]:
    """Neural collapse: tr(S_within pinv(S_between)) / C, 0 where each class is one point. `nc1[recalled]`.

    NC1 of Papyan, Han and Donoho 2020. S_within: the mean over items of (x - m_c)(x - m_c)'; S_between: the mean over the C classes
    of (m_c - m)(m_c - m)', m_c the mean of a class and m that of all items. Beside it the originals, and the recalled with shuffled labels.
    nan where all class means are one. ValueError: one class, a class of one item, a value that is not finite.
    """

    def ratio(x: np.ndarray, truth: np.ndarray) -> float:
        means = _means(x, truth)
        _, size, axes = np.linalg.svd(means - x.mean(0), full_matrices=False)
        kept = size > 1e-9 * max(size.max(initial=0), np.abs(x).max(initial=0))
        within = (x - means[truth]) @ axes[kept].T / size[kept]
        return float((within**2).sum() / len(x)) if kept.any() else np.nan

    x, z = _sets(a, b)
    truth, names = _truth(classes, len(x), words)
    if (alone := np.bincount(truth) < 2).any():
        raise ValueError(f"class {names[int(np.argmax(alone))]} has one item, and so no spread")
    return ratio(z, truth), ratio(x, truth), _shuffled(ratio, z, truth)


def mmcr(a: np.ndarray, b: np.ndarray, *, classes: np.ndarray) -> tuple[float, float, float]:
    """Nuclear norm of the matrix [C, D] of class means of items brought to length 1. `mmcr[recalled]`.

    What Yerxa et al. 2023 maximise (maximum manifold capacity representations): large where items of a class agree and classes do not; at most
    sqrt(C min(C, D)). Beside it the originals, and the recalled with shuffled labels. ValueError: one class, a zero vector, a value that is not finite.
    """

    def norm(x: np.ndarray, truth: np.ndarray) -> float:
        return float(np.linalg.norm(_means(x, truth), "nuc"))

    sides = []
    for x, of in zip(_sets(a, b), ("original", "recalled")):
        length = np.linalg.norm(x, axis=1, keepdims=True)
        if not length.all():
            raise ValueError(f"{of} {int(np.argmin(length))} is zero: it has no direction")
        sides.append(x / length)
    truth, _ = _truth(classes, len(a))
    return norm(sides[1], truth), norm(sides[0], truth), _shuffled(norm, sides[1], truth)


def ami(a: np.ndarray, b: np.ndarray, *, classes: np.ndarray, k: int = 10) -> tuple[float, float]:
    """Adjusted mutual information of k clusters and the classes: the mean over ten starts of k-means. `ami[k10,recalled]`.

    1 where clusters are classes, 0 on average where they know nothing of them. Beside it the originals'. ValueError: one class,
    fewer than k items that differ, a value that is not finite.
    """
    sides = _sets(a, b)
    truth, _ = _truth(classes, len(a))
    original, recalled = (
        float(np.mean([adjusted_mutual_information(truth, k_means(x, k, _seed(seed))) for seed in range(SEEDS)]))
        for x in sides
    )
    return recalled, original


def _seed(seed: int) -> np.random.Generator:
    return generator(seed, 0, 0, "classes")


def _sets(a: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
    """Both sets [N, D], on one scale: a classifier of the one judges the other."""
    a, b = items_paired(a, b)
    return moderate(rows(a, "original"), rows(b, "recalled"))


def _truth(classes: np.ndarray, count: int, words: list[str] | None = None) -> tuple[np.ndarray, list[int] | list[str]]:
    """Classes int64 [N] from 0 on, without gaps, and what each was before: its number, or its word."""
    if len(classes) != count:
        raise ValueError(f"{len(classes)} labels for {count} items")
    found, truth = np.unique(classes, return_inverse=True)
    if len(found) < 2:
        raise ValueError("all items are of one class: there is nothing to tell apart")
    return truth, found.tolist() if words is None else [words[c] for c in found.tolist()]


def _folds(x: np.ndarray, truth: np.ndarray, names: list[int] | list[str], order: np.ndarray) -> np.ndarray:
    """Fold [N] of each item: items of a class are dealt one by one, those that are equal together."""
    _, first, same = np.unique(x, axis=0, return_index=True, return_inverse=True)
    leader = first[same.reshape(-1)]
    fold, dealt = np.full(len(x), -1), 0
    for c, name in enumerate(names):
        own = order[(truth[order] == c) & (leader[order] == order)]
        if len(own) < FOLDS:
            found = f"{len(own)} item{'s' * (len(own) != 1)}"
            raise ValueError(f"class {name} has {found} that no other equals; it needs {FOLDS}, one for each fold")
        fold[own] = (dealt + np.arange(len(own))) % FOLDS
        dealt += len(own)
    return fold[leader]


def _means(x: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Mean [C, D] of each class."""
    count = np.bincount(truth)
    return sums(x, truth, len(count)) / count[:, None]


def _shuffled(measure: Callable[[np.ndarray, np.ndarray], float], x: np.ndarray, truth: np.ndarray) -> float:
    """The mean over shuffled labels."""
    return float(np.mean([measure(x, _seed(seed).permutation(truth)) for seed in range(SEEDS)]))
