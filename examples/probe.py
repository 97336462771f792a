"""A linear probe: what ridge regression to one-hot classes reads of vectors that it was not fitted to."""

from collections.abc import Callable

import numpy as np

RIDGES = [10.0**k for k in range(-4, 4)]  # of the mean of squares
Read = Callable[[np.ndarray], np.ndarray]


def fit(vectors: np.ndarray, classes: np.ndarray, count: int) -> Read:
    """What reads classes [...] of vectors [..., D], from those of items, [N, L, D] and [N, L]: ridge regression to one-hot
    classes, of which the weight is the one that reads the last fifth of the items best when it is fitted to the others."""
    kept = len(vectors) * 4 // 5
    found = ridge(vectors[:kept], classes[:kept], count)
    right = [float((read(vectors[kept:]) == classes[kept:]).mean()) for read in found]
    return ridge(vectors, classes, count)[int(np.argmax(right))]


def ridge(vectors: np.ndarray, classes: np.ndarray, count: int) -> list[Read]:
    """What reads `count` classes with each of the weights RIDGES, by the eigenvectors of the vectors' covariance."""
    x, wanted = vectors.reshape(-1, vectors.shape[-1]).astype(np.float64), np.eye(count)[classes.ravel()]
    middle, mean = x.mean(0), wanted.mean(0)
    x = x - middle
    size = max(float(np.square(x).mean()), 1e-30)
    values, axes = np.linalg.eigh(x.T @ x / len(x))
    right = axes.T @ (x.T @ (wanted - mean)) / len(x)

    def read(weight: float) -> Read:
        map_ = axes @ (right / (np.maximum(values, 0) + weight * size)[:, None])
        return lambda given: ((given - middle) @ map_ + mean).argmax(-1)

    return [read(weight) for weight in RIDGES]
