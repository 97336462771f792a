"""The covariance of many numbers from few items."""

from __future__ import annotations

import numpy as np


def ledoit_wolf(x: np.ndarray, product: np.ndarray | None = None) -> tuple[np.ndarray, float]:
    """(covariance [D, D], shrinkage in [0, 1]) of rows x [N, D] whose mean is 0 already. product: x^T x, where it is known.

    (1 - r) S + r m I, S = x^T x / N, m the mean of its diagonal, and r the least expected squared error as estimated by
    Ledoit and Wolf 2004, A well-conditioned estimator for large-dimensional covariance matrices, lemma 3.4: b^2 / d^2,
    d^2 = |S - m I|^2 and b^2 the mean over items of |x x^T - S|^2, over N, at most d^2.
    """
    n, dims = x.shape
    covariance = (x.T @ x if product is None else product) / n
    size = float(np.trace(covariance)) / dims
    square = float(np.sum(covariance**2))
    away = square - dims * size**2  # |S - m I|^2
    error = (float(np.mean(np.sum(x**2, axis=1) ** 2)) - square) / n  # |x x^T|^2 = |x|^4
    shrinkage = min(max(error, 0.0), away) / away if away > 1e-15 * square else 1.0
    return (1 - shrinkage) * covariance + shrinkage * size * np.eye(dims), shrinkage
