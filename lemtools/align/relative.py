"""Relative representations (Moschella et al. 2023): a vector is its cosines to anchors, which both spaces share."""

from __future__ import annotations

import numpy as np

from .maps import Map, softmax, unit
from .pairs import Paired

SHARPNESS = 2.0 ** np.arange(-1, 8)
ASKED = 512  # pairs that are left out in turn, of more evenly spaced ones


def relative(pairs: Paired) -> Map:
    """The pairs (of many, a sample of them) are the anchors: cosines to A's, and the weighted mean of B's.

    Weights are the softmax of sharpness times cosine; the sharpness, each way, is the one at which the other anchors rank a pair
    left out best.
    """
    a, b = pairs.centred
    facts = {"anchors": len(a), "sharpness": sharpness(a, b), "sharpness-back": sharpness(b, a)}
    return Map(pairs.mean, anchors=(a, b), sharp=(facts["sharpness"], facts["sharpness-back"]), facts=facts)


def sharpness(a: np.ndarray, b: np.ndarray) -> float:
    """Of SHARPNESS the one with the highest mean reciprocal rank of b_i among all b_j, by cosine to what the anchors other than
    i and j make of a_i: an anchor would be near to what it had a part in. a [K, D], b [K, E], centred."""
    a, length = unit(a), np.linalg.norm(b, axis=1)
    rows = np.arange(0, len(a), -(-len(a) // ASKED))
    cosines = a[rows] @ a.T
    own = np.arange(len(rows)), rows
    cosines[own] = -np.inf
    found = []
    for sharp in SHARPNESS:
        weight = softmax(cosines, sharp)
        whole = weight @ b
        inner = whole @ b.T - weight * length**2
        norm = np.einsum("ij,ij->i", whole, whole)[:, None] - 2 * weight * inner - (weight * length) ** 2
        with np.errstate(divide="ignore", invalid="ignore"):
            near = np.nan_to_num(inner / np.sqrt(np.maximum(norm, 0)) / length, posinf=0, neginf=0)
        found.append(ranked(near, rows).mean())
    return float(SHARPNESS[int(np.argmax(found))])


def ranked(near: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """1 / rank [n] of column rows[i] in the i-th row of near [n, N], the largest first; ties count half."""
    own = near[np.arange(len(rows)), rows][:, None]
    return 1 / (1 + (near > own).sum(1) + ((near == own).sum(1) - 1) / 2)
