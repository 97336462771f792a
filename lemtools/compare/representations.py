"""Whether two sets of representations tell the same of the same items: similarity of their dissimilarities, and how well a linear map
predicts one from the other. Sets are [N, D] or [N, L, D] (an item is then one vector of L D numbers), and may differ in width."""

from __future__ import annotations

import numpy as np

from ..rng import generator
from ..signal import LemError
from .correlation import ROUNDING, pearson, ranks
from .distortion import items_paired
from .ridge import FOLDS, apart, penalties, predicted
from .subjects import Subjects
from .summary import Over, Whole

MOST = 10_000  # items whose dissimilarities are compared: as many pairs as their square


def rsa(a: np.ndarray, b: np.ndarray, *, rdm: Subjects | None = None) -> Whole | list[float | Over | None]:
    """Representational similarity: Spearman's correlation of the dissimilarities of all pairs of items. `rsa[correlation]`.

    Kriegeskorte et al. 2008. A dissimilarity is 1 - Pearson's r between the two items' numbers; beside it, by `rsa[cosine]`, 1 - cosine, which a rotation does
    not change. 0 on average for independent sets. rdm: of the same items by S subjects; then follow the correlation of either set's 1 - r with each
    subject's, the paired difference of the two, and the noise ceiling, lower and upper, which one subject alone does not have. nan where all pairs of a set are alike.
    ValueError: fewer than 3 items or more than 10,000, subjects that saw another number of them, a value that is not finite, or an item that is constant (or zero), which has no such dissimilarity.
    """
    a, b = (moderate(rows(x, of))[0] for x, of in zip(items_paired(a, b), ("original", "recalled")))
    if not 3 <= len(a) <= MOST:
        raise ValueError(f"needs 3 to {MOST:,} items, not {len(a):,}: it compares all pairs of them")
    if rdm is not None and rdm.items != len(a):
        raise LemError(
            f"{rdm.called}: dissimilarities of {rdm.items} items, and here are {len(a)}; they are of the same, in their order"
        )
    found = []
    for centred in True, False:
        sides = [ranks(dissimilarities(x, centred, of), ROUNDING) for x, of in ((a, "original"), (b, "recalled"))]
        found.append((sides, float(pearson(sides[0][:, None], sides[1][:, None])[0])))
    (sides, value), (_, beside) = found
    if rdm is None:
        return Whole(value, beside)
    original, recalled = (rdm.beside(each) for each in sides)
    beside_them = [recalled, original, recalled - original, *(rdm.ceiling or ())]
    return [value, beside, *(Over(each, rdm.names) for each in beside_them)]


def dissimilarities(x: np.ndarray, centred: bool, of: str) -> np.ndarray:
    """1 - r (centred) or 1 - cosine of all pairs of rows [N (N - 1) / 2]."""
    x = x - x.mean(1, keepdims=True) if centred else x
    length = np.linalg.norm(x, axis=1)
    least = 1e-12 * np.abs(x).max(initial=0)
    if (length <= least).any():
        at = int(np.argmax(length <= least))
        raise ValueError(f"{of} item {at} is {'constant' if centred else 'zero'}: it is at no angle to others")
    unit = x / length[:, None]
    upper = np.triu_indices(len(x), 1)
    return 1 - (unit @ unit.T)[upper]


def linear_predictivity(a: np.ndarray, b: np.ndarray) -> Whole:
    """How well a linear map of the recalled items predicts originals it has not seen: the median r over dimensions. `linear-predictivity[r]`.

    Ridge regression with an intercept, as brain scores are computed (Schrimpf et al. 2018): items in 5 folds (shuffled, the same every time), each fold predicted
    by a map fitted to the other four; the penalty of each dimension is that which is best over 5 folds inside these. r and R^2 are taken inside each fold, where chance is 0 and below, and averaged over the folds in which the dimension varies;
    beside it the median R^2. ValueError: fewer than 25 items, a dimension of the originals that is constant, an item that stands there twice (the same in both sets: in two folds it would be known),
    or a value that is not finite.
    """
    y, x = (moderate(rows(each, of))[0] for each, of in zip(items_paired(a, b), ("original", "recalled")))
    if len(x) < FOLDS**2:
        raise ValueError(f"needs {FOLDS**2} items at least, {FOLDS} folds of {FOLDS}, not {len(x)}")
    _check(x, y)
    order = generator(0, 0, 0, "linear predictivity").permutation(len(x))
    right, explained = list[np.ndarray](), list[np.ndarray]()
    for out, rest in apart(order):
        made = predicted(x[rest], y[rest], x[out], penalties(x[rest], y[rest]))
        for scores, each in zip((right, explained), _scores(y[out], made)):
            scores.append(each)
    if len(still := np.flatnonzero(np.isnan(right).all(0))):
        raise ValueError(f"dimension {still[0]} of the originals is constant in every fold: nothing is to be predicted")
    return Whole(*(float(np.median(np.nanmean(each, axis=0))) for each in (right, explained)))


def _scores(y: np.ndarray, made: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(r, R^2) of each dimension of y [M, D] as predicted; r is 0 where a prediction is constant, and both are nan where y is."""
    spread = ((y - y.mean(0)) ** 2).sum(0)
    varies = (np.ptp(y, axis=0) > 0) & (spread > 0)
    tells = np.ptp(made, axis=0) > ROUNDING * np.abs(made).max(0)  # (r of a constant's rounding may be anything)
    r = np.where(tells, np.nan_to_num(pearson(made, y)), 0)
    error = np.divide(((y - made) ** 2).sum(0), spread, out=np.full(len(spread), np.nan), where=varies)
    return np.where(varies, r, np.nan), 1 - error


def _check(x: np.ndarray, y: np.ndarray) -> None:
    flat = np.ptp(y, axis=0) == 0
    if flat.any():
        raise ValueError(f"dimension {int(np.argmax(flat))} of the originals is constant: nothing predicts it")
    _, first, place = np.unique(np.hstack([x, y]), axis=0, return_index=True, return_inverse=True)
    twice = np.flatnonzero(first[place.reshape(-1)] != np.arange(len(x)))
    if len(twice):
        at = int(twice[0])
        raise ValueError(
            f"items {int(first[place.reshape(-1)[at]])} and {at} are the same in both sets, so that one tells the other; leave one out"
        )


def rows(x: np.ndarray, of: str) -> np.ndarray:
    """x [N, ...] as vectors [N, D], float64. ValueError where a value is not finite."""
    x = x.reshape(len(x), -1).astype(np.float64)
    if not np.isfinite(x).all():
        raise ValueError(f"{of} items have values that are not finite")
    return x


def moderate(*sets: np.ndarray) -> list[np.ndarray]:
    """Sets over one power of two, so that the largest number of all lies in [.5, 1): squares stay in range, and no digit changes."""
    size = max(np.abs(x).max(initial=0) for x in sets)
    return [np.ldexp(x, -np.frexp(size)[1]) for x in sets]
