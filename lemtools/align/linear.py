"""Linear maps from pairs: whiten A, rotate, weight by the correlations, and undo B's whitening (Artetxe et al. 2018).

With C the covariances, W = (C_aa + k_a)^-1/2 U S^p V' (C_bb + k_b)^1/2, where U S V' = (C_aa + k_a)^-1/2 C_ab (C_bb + k_b)^-1/2.
Without whitening and with p = 0 that is the rotation of Procrustes; with p = 1 it is the regression of B on A, whatever k_b;
canonical correlations are S where no k is added.
"""

from __future__ import annotations

import numpy as np

from .maps import Map
from .pairs import Paired

GRID = np.logspace(-10, 4, 29)  # penalties, in units of the sample's largest squared singular value
LEFT_OUT = 2048  # pairs that are left out in turn, of more evenly spaced ones
POWER = 0.5  # of the correlations, in cca


def procrustes(pairs: Paired) -> Map:
    """The rotation (a partial one where widths differ or pairs are few) and the scale each way that bring A nearest to B.

    Schoenemann 1966: of C_ab = U S V' the map U V', in the directions that the pairs span. The scale is of least squares.
    """
    aa, ab, bb = pairs.parts
    u, s, vt = svd(ab)
    rotation = u @ vt
    there = s.sum() / max(np.vdot(u, aa @ u), np.finfo(float).tiny)
    back = s.sum() / max(np.vdot(vt.T, bb @ vt.T), np.finfo(float).tiny)
    return Map(pairs.mean, rotation * there, rotation.T * back, facts={"rank": len(s)})


def ridge(pairs: Paired) -> Map:
    """Least squares with a penalty on the squares of the coefficients, each way; the penalty by leave-one-out.

    (C_aa + k)^-1 C_ab (Hoerl and Kennard 1970).
    """
    aa, ab, bb = pairs.parts
    k_a, k_b = penalties(pairs)
    there, back = _solve(aa, k_a / pairs.count, ab), _solve(bb, k_b / pairs.count, ab.T)
    return Map(pairs.mean, there, back, facts={"penalty": k_a, "penalty-back": k_b})


def cca(pairs: Paired) -> Map:
    """Canonical correlations (Hotelling 1936): both sides whitened, rotated onto each other, weighted, whitening undone.

    The penalties are those of ridge, each way, by leave-one-out; p is 1/2, half-way between a rotation and a regression.
    """
    aa, ab, bb = pairs.parts
    k_a, k_b = penalties(pairs)
    (white_a, colour_a), (white_b, colour_b) = _roots(aa, k_a / pairs.count), _roots(bb, k_b / pairs.count)
    u, s, vt = svd(white_a @ ab @ white_b)
    middle = (u * s**POWER) @ vt
    facts = {"correlation-first": s[0], "correlations": s.sum(), "penalty": k_a, "penalty-back": k_b}
    return Map(pairs.mean, white_a @ middle @ colour_b, white_b @ middle.T @ colour_a, facts=facts)


def penalties(pairs: Paired) -> tuple[float, float]:
    """The `penalty` of B on A, and of A on B; found once for the same pairs."""
    if pairs.penalties is None:
        step = -(-len(pairs.x) // LEFT_OUT)
        x, y = pairs.x[::step], pairs.y[::step]
        pairs.penalties = penalty(x, y), penalty(y, x)
    return pairs.penalties


def penalty(x: np.ndarray, y: np.ndarray) -> float:
    """The penalty k of ridge regression of y [n, E] on x [n, D] with the least squared error of leave-one-out, of a grid.

    Exact, without a fit for each pair: the error of a pair left out is its residual over 1 - h, h its leverage with the mean's
    1/n in it (Allen 1974). k is added to the sum of squares, not to the mean.
    """
    x, y = x - x.mean(0), y - y.mean(0)
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    if not s[0] > 0:
        return 1.0
    grid = GRID * s[0] ** 2
    return float(grid[int(np.argmin([left_out(u, s, y, k) for k in grid]))])


def left_out(u: np.ndarray, s: np.ndarray, y: np.ndarray, k: float) -> float:
    """Mean squared error of leave-one-out at the penalty k: x = u s v' and y are centred."""
    shrink = s**2 / (s**2 + k)
    leverage = (u**2 @ shrink) + 1 / len(y)
    residual = y - (u * shrink) @ (u.T @ y)
    return float(np.mean((residual / np.maximum(1 - leverage, 1e-12)[:, None]) ** 2))


def svd(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The singular vectors whose values are more than rounding."""
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    rank = max(1, int((s > s[0] * max(x.shape) * np.finfo(float).eps).sum()))
    return u[:, :rank], s[:rank], vt[:rank]


def _solve(square: np.ndarray, k: float, right: np.ndarray) -> np.ndarray:
    return np.linalg.solve(square + k * np.eye(len(square)), right)


def _roots(square: np.ndarray, k: float) -> tuple[np.ndarray, np.ndarray]:
    """(square + k)^-1/2 and (square + k)^1/2, symmetric."""
    values, axes = np.linalg.eigh(square)
    root = np.sqrt(np.maximum(values, 0) + k)
    return (axes / root) @ axes.T, (axes * root) @ axes.T
