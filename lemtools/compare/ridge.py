"""Ridge regression over folds: predictions of rows that it has not seen, the penalty by folds inside."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

FOLDS = 5  # outer and inner
PENALTIES = np.logspace(-6, 4, 21)  # of the mean eigenvalue


def apart(order: np.ndarray, which: np.ndarray | None = None) -> list[tuple[np.ndarray, np.ndarray]]:
    """(a fold, all the others) of items in some order, each fold in turn. which: int [N], the fold of each item; None: by turns."""
    found = np.arange(len(order)) % FOLDS if which is None else which[order]
    return [(order[found == k], order[found != k]) for k in range(FOLDS)]


def penalties(x: np.ndarray, y: np.ndarray, joint: bool = False) -> np.ndarray:
    """Place in PENALTIES [D] of the one that predicts each dimension best, each fold by the others. joint: the one that is best for all together."""
    errors = np.zeros((len(PENALTIES), y.shape[1]))
    for out, rest in apart(np.arange(len(x))):
        errors += [((y[out] - made) ** 2).sum(0) for made in every(x[rest], y[rest], x[out])]
    if joint:
        errors = np.broadcast_to(errors.sum(1, keepdims=True), errors.shape)
    return errors.argmin(0)


def predicted(x: np.ndarray, y: np.ndarray, new: np.ndarray, which: np.ndarray) -> np.ndarray:
    """[M, D] of new rows, each dimension by its own penalty."""
    made = np.stack(list(every(x, y, new)))  # [P, M, D]
    return np.take_along_axis(made, which[None, None], 0)[0]


def every(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> Iterator[np.ndarray]:
    """Predictions [M, D] of new rows by each of PENALTIES, by the eigenvectors of the smaller Gram matrix."""
    mean, level = x.mean(0), y.mean(0)
    x, new, y = x - mean, new - mean, y - level
    wide = x.shape[1] > len(x)
    values, axes = np.linalg.eigh(x @ x.T if wide else x.T @ x)
    left, right = (new @ x.T @ axes, axes.T @ y) if wide else (new @ axes, axes.T @ (x.T @ y))
    values = np.maximum(values, 0)
    unit = max(values.mean(), np.finfo(float).tiny)
    for penalty in PENALTIES:
        yield level + (left / (values + penalty * unit)) @ right
