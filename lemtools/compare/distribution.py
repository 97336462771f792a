"""Whether what was recalled is distributed as the originals are: Frechet distances between the two sets.

The Frechet distance (2-Wasserstein distance squared) between Gaussians with the moments of two sets of features,
|m - m'|^2 + tr(S + S' - 2 (S S')^(1/2)) (Dowson & Landau 1982), on features that need no network: principal axes, and
pixels of patches. It is biased upwards by about 1/n for n items: a number is of use only beside another of the same n.

Both numbers here come from halves of the same size: the items are split at random, the recalled of one half are
compared with the originals of the other (both ways round, several splits, the mean), and the floor is the distance
between the two halves of the originals. Recalled items that are distributed as the originals get the floor, whether
they are copies or new; no item is compared with its own original, which would hide the bias.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from ..denoise.moments import Moments
from .distortion import paired
from .summary import Whole
from .training import Training, patch_places

SPLITS = 16  # from one random halving to the next the floor of 1,000 images varies by 3-10 % (pca64), 30-40 % (patch8)
REFERENCE = 10_000  # training items whose principal axes are taken
_TILE = 1 << 20  # elements of items turned into features at a time


def frechet_distance(m: np.ndarray, s: np.ndarray, n: np.ndarray, t: np.ndarray) -> float:
    """Frechet distance between Gaussians of means m, n [F] and covariances s, t [F, F], in the square of their unit.

    float64. The trace of the root of the product is the sum of singular values of s^(1/2) t^(1/2): unlike the roots of
    the eigenvalues of s^(1/2) t s^(1/2) it keeps its digits where a covariance is singular.
    """
    cross = np.linalg.svd(_root(s) @ _root(t), compute_uv=False).sum()
    shift = np.asarray(m, np.float64) - n
    return max(float(shift @ shift + np.trace(s) + np.trace(t) - 2 * cross), 0.0)


def _root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(np.asarray(covariance, np.float64))
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


Features = Callable[[np.ndarray], np.ndarray]  # items [n, ...] -> rows of features [m, F], float64


def moments(x: np.ndarray, features: Features) -> tuple[np.ndarray, np.ndarray]:
    """Mean [F] and covariance [F, F] (divided by the number of rows) of the features of x [N, ...], tile by tile."""
    step = max(1, _TILE // x[0].size)
    seen = Moments()
    for i in range(0, len(x), step):
        seen.add(features(x[i : i + step]))
    return seen.mean, seen.covariance


def halves(a: np.ndarray, b: np.ndarray, features: Features, seed: int = 0) -> tuple[float, float]:
    """(distance of the recalled b from the originals a, floor) by halves, as the head of this file defines them.

    a, b: [N, ...], N >= 4 (of an odd N one item a split is left out). seed: of the splits.
    """
    if len(a) < 4:
        raise ValueError(f"a Frechet distance needs at least 4 items, better some hundreds; got {len(a)}")
    rng, found = np.random.default_rng(seed), []
    for _ in range(SPLITS):
        order = rng.permutation(len(a))
        one, other = np.sort(order[: len(a) // 2]), np.sort(order[len(a) // 2 : len(a) // 2 * 2])
        a1, a2, b1, b2 = (moments(x[part], features) for x in (a, b) for part in (one, other))
        across = frechet_distance(*a1, *b2), frechet_distance(*a2, *b1)
        found.append((sum(across) / 2, frechet_distance(*a1, *a2)))
    value, floor = np.mean(found, axis=0)
    return float(value), float(floor)


def frechet_pca(a: np.ndarray, b: np.ndarray, *, k: int = 64, train: Training | None = None) -> Whole:
    """Frechet distance on projections to the first k principal axes. `frechet[pca64]`, floor beside it.

    Axes of the training items (of more than 10,000 an even choice), or of the originals where there are none. At most
    as many as items have elements, and as one eighth of N: with fewer items the bias is larger than what is to be seen,
    and, being smaller for a set of less spread, favours posterior means. In the square of the values' unit, summed over
    axes.
    """
    a, b = paired(a, b)
    mean, axes = principal_axes([a] if train is None else train.few(REFERENCE), min(k, max(1, len(a) // 8)))
    value, floor = halves(a, b, lambda x: (x.reshape(len(x), -1) - mean) @ axes)
    return Whole(value, floor, axes.shape[1])


def principal_axes(tiles: Iterable[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean [D] and the first k principal axes [D, K] of tiles [n, ...] of items; float32 is enough for axes."""
    seen = Moments(single=True)
    for items in tiles:
        seen.add(items.reshape(len(items), -1).astype(np.float64))
    scale = float(np.trace(seen.covariance)) or 1.0
    _, vectors = np.linalg.eigh((seen.covariance / scale).astype(np.float32))
    return seen.mean, vectors[:, ::-1][:, : min(k, seen.count - 1)].astype(np.float64)


def frechet_patch(a: np.ndarray, b: np.ndarray, *, k: int = 8) -> Whole:
    """Frechet distance between the patches of k x k pixels, all channels as one vector. `frechet[patch8]`, floor
    beside.

    Patches stand at steps of k // 2 pixels, the last ones flush with the far edges. It sees the texture that a
    posterior mean loses, and not where in the image something is.
    """
    a, b = paired(a, b)
    places = patch_places(a.shape[1:], k, max(1, k // 2))

    def features(x: np.ndarray) -> np.ndarray:
        return np.concatenate([x[:, :, i, j].reshape(len(x), -1) for i, j in places]).astype(np.float64)

    return Whole(*halves(a, b, features), k)
