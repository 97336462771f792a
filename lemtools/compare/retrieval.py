"""Whether the originals are found by their recalled items, by cosine: reciprocal ranks, and recall where hubs are held down.

Sets are [N, D] or [N, L, D] (an item is then one vector of L D numbers); float64, in tiles.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .geometry import TILE, Vectors, checked_sets

NEAR = 10  # neighbours that say how crowded a place is, in CSLS
_SAME = 1e-12  # cosines this close are equal: only rounding parts them


def reciprocal_rank(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """1 / rank [N] of each recalled item's original among all originals, by cosine. `mrr[cosine]`.

    Of t originals that tie, the true one among them, it is the mean over the t places that they share. Chance is about
    (ln N + .58) / N. ValueError: fewer than 2 items, a value that is not finite, or a zero vector.
    """
    nearer, tied = _places(*checked_sets(a, b, 1, "cosine"))
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, len(a) + 1))])
    return (harmonic[nearer + tied] - harmonic[nearer]) / tied


def recall_csls(a: np.ndarray, b: np.ndarray, *, k: int = 1) -> np.ndarray:
    """Whether [N] the original of each recalled item is among the k that are nearest by CSLS. `recall@1[csls10]`.

    Cross-domain similarity local scaling (Conneau et al. 2018): twice the cosine, less the mean cosine of either one with its 10
    nearest of the other set (all, of fewer), so that an original that is near to everything is nobody's. Ties as in `recall`.
    ValueError: k not in 1 .. N-1, a value that is not finite, or a zero vector.
    """
    original, recalled = checked_sets(a, b, k, "cosine")
    near = min(NEAR, len(a))
    crowd = [np.partition(tile, -near, axis=1)[:, -near:].mean(1) for _, tile in _cosines(original, recalled)]
    nearer, tied = _places(
        original, recalled, np.concatenate(crowd) / 2
    )  # (how crowded the recalled is parts no originals)
    return np.clip((k - nearer) / tied, 0, 1)


def _cosines(queries: Vectors, keys: Vectors) -> Iterator[tuple[slice, np.ndarray]]:
    """Tiles (queries' slice, cosines [n, N] with all keys)."""
    n = len(keys.x)
    for top in range(0, n, step := max(1, TILE // n)):
        x = queries.rows(part := slice(top, min(top + step, n)))
        yield part, np.hstack([x @ keys.rows(slice(i, i + keys.step)).T for i in range(0, n, keys.step)])


def _places(original: Vectors, recalled: Vectors, crowd: np.ndarray | float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Of each recalled item, how many originals are nearer by cosine less `crowd` [N] than its own, and how many as near, its
    own among them: int [N], [N]."""
    found = []
    for part, tile in _cosines(recalled, original):
        tile -= crowd
        own = tile[np.arange(len(tile)), np.arange(part.start, part.stop)][:, None]
        found.append([(tile > own + _SAME).sum(1), (np.abs(tile - own) <= _SAME).sum(1)])
    nearer, tied = np.hstack(found)
    return nearer, tied
