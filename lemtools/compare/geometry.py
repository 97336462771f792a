"""Whether a set of embeddings kept its geometry: mutual k-NN and recall@k. One float64 value an item.

Embeddings are [N,D] or [N,L,D] (an item is then one vector of L D numbers). Both metrics ask who is near whom, and both
treat ties as chance would: an item that ties for the last places is kept with the probability that a random order of
the tied ones keeps it. Coarse codes make many exact ties; any fixed order would bias the result.

Distances are screened by float32 matrix products over tiles. Whatever lies so near the boundary that rounding could
decide is computed again from the original values in float64, so the result is that of the definition. Memory: one
float32 copy of each set and some tiles.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .distortion import items_paired, paired

TILE = 1 << 21  # numbers held at once in a tile
_SAME = 1e-12  # squared distances this close, relatively, are equal: only float64 rounding parts them


class Vectors:
    """A set of vectors [N,D], checked: the original values, read as float64 rows (scaled to length 1 for cosines).

    of: what the set is called in errors.
    """

    def __init__(self, x: np.ndarray, unit: bool, of: str):
        self.x, self.unit = x.reshape(len(x), -1), unit
        self.step = max(1, TILE // self.x.shape[1])
        energy = np.concatenate([np.einsum("ij,ij->i", y, y) for y in self._blocks(unit=False)])
        zero = (energy == 0) & unit
        for bad, what in (~np.isfinite(energy), "is not finite"), (zero, "is zero: it has no direction"):
            if bad.any():
                raise ValueError(f"{of} embedding {int(np.argmax(bad))} {what}")
        self.norm = np.sqrt(energy)

    def _blocks(self, unit: bool) -> Iterator[np.ndarray]:
        for i in range(0, len(self.x), self.step):
            part = slice(i, i + self.step)
            yield self.rows(part) if unit else self.x[part].astype(np.float64)

    def rows(self, which: slice | np.ndarray) -> np.ndarray:
        x = self.x[which].astype(np.float64)
        return x / self.norm[which][:, None] if self.unit else x

    def mean(self) -> np.ndarray:
        return sum(x.sum(0) for x in self._blocks(self.unit)) / len(self.x)

    def screened(self, mean: np.ndarray, scale: float) -> np.ndarray:
        """(x - mean) / scale in float32: the same neighbours, no digits spent on an offset, no overflow."""
        out = np.empty(self.x.shape, np.float32)
        for i, x in enumerate(self._blocks(self.unit)):
            out[i * self.step : i * self.step + len(x)] = (x - mean) / scale
        return out

    def first_equal(self) -> np.ndarray:
        """[N] index of the first item with the same values: one distance then serves all duplicates."""
        first: dict[int, int] = {}
        same = np.arange(len(self.x))
        for i, row in enumerate(self.x):
            j = first.setdefault(hash(row.tobytes()), i)
            if np.array_equal(row, self.x[j]):
                same[i] = j
        return same


def _distances(queries: Vectors, keys: Vectors, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Exact squared distances [P] of the pairs (query i, key j)."""
    out = np.empty(len(i))
    step = max(1, keys.step // 4)
    for p in range(0, len(i), step):
        d = queries.rows(i[p : p + step]) - keys.rows(j[p : p + step])
        out[p : p + step] = np.einsum("ij,ij->i", d, d)
    return out


def _kept(queries: Vectors, keys: Vectors, k: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Tiles (queries' slice, [n,N] probability that each key is among the query's k nearest); one set: never itself."""
    alone = queries is keys
    mean, scale = keys.mean(), 1.0 if keys.unit else max(keys.norm.max(), queries.norm.max()) or 1.0
    y = keys.screened(mean, scale)
    x = y if alone else queries.screened(mean, scale)
    xx, yy = np.einsum("ij,ij->i", x, x), np.einsum("ij,ij->i", y, y)
    same = keys.first_equal()
    n, dims = y.shape
    # Six standard deviations of the rounding of a dims-term product, and a few single roundings, of (|x| + |y|)^2.
    rounding = (2 * np.sqrt(dims) + 8) * 2.0**-24
    step = max(1, TILE // n)
    for top in range(0, n, step):
        part = slice(top, min(top + step, n))
        d = x[part] @ y.T
        d *= -2
        d += yy
        d += xx[part, None]
        if alone:
            d[np.arange(len(d)), np.arange(part.start, part.stop)] = np.inf
        edge = np.partition(d, k - 1, axis=1)[:, k - 1]
        # a key at the edge is no longer than |x| + its distance
        doubt = 2 * rounding * (2 * np.sqrt(xx[part]) + np.sqrt(np.maximum(edge, 0))) ** 2
        maybe = d <= (edge + doubt)[:, None]
        sure = d < (edge - doubt)[:, None]
        maybe ^= sure
        left = k - sure.sum(1)  # places for the undecided ones
        weight = sure.astype(np.float32)
        settled = maybe.sum(1) == left
        weight[settled] += maybe[settled]
        maybe[settled] = False
        row, key = np.nonzero(maybe)
        pairs, where = np.unique(row * n + same[key], return_inverse=True)
        exact = _distances(queries, keys, pairs // n + top, pairs % n)[where]
        starts = np.flatnonzero(np.diff(row, prepend=-1))
        for start, stop in zip(starts, np.append(starts[1:], len(row))):
            e, r = exact[start:stop], row[start]
            edge_exact = np.partition(e, left[r] - 1)[left[r] - 1]
            inside = e < edge_exact * (1 - _SAME)
            tied = ~inside & (e <= edge_exact * (1 + _SAME))
            share = (left[r] - inside.sum()) / tied.sum()
            weight[r, key[start:stop]] = np.where(inside, 1.0, np.where(tied, share, 0.0))
        yield part, weight


def checked_sets(a: np.ndarray, b: np.ndarray, k: int, metric: str, alike: bool = True) -> tuple[Vectors, Vectors]:
    """The two sets, of one shape where `alike`. ValueError for an unknown metric and a k that is not in 1 .. N-1."""
    a, b = (paired if alike else items_paired)(a, b)
    if metric not in ("euclidean", "cosine"):
        raise ValueError(f"unknown metric {metric!r}: euclidean or cosine")
    if not 1 <= k < len(a):
        raise ValueError(f"k must be at least 1 and less than the number of items, got k {k} and {len(a)} items")
    return Vectors(a, metric == "cosine", "original"), Vectors(b, metric == "cosine", "recalled")


def mutual_knn(a: np.ndarray, b: np.ndarray, *, k: int = 10, metric: str = "euclidean") -> np.ndarray:
    """Share [N] of each item's k nearest neighbours in set a that are also its k nearest in set b. `mutual_knn[k10]`.

    Huh et al. 2024 (mutual k-NN alignment): |N_k(a_i) & N_k(b_i)| / k, neighbours by Euclidean distance or cosine
    within each set (theirs are by cosine), whose widths may differ, the item itself excluded; in [0, 1], chance is k/(N-1). Ties are broken at
    random, independently in the two sets, and the value is the expectation; so a set compared with itself gets 1 only
    where no tie falls on the boundary, and a set collapsed to one point gets chance.
    ValueError: k not in 1 .. N-1, a value that is not finite, a zero vector with metric='cosine'.
    """
    original, recalled = checked_sets(a, b, k, metric, alike=False)
    result = np.empty(len(a))
    for (rows, kept_a), (_, kept_b) in zip(_kept(original, original, k), _kept(recalled, recalled, k)):
        result[rows] = np.einsum("ij,ij->i", kept_a, kept_b, dtype=np.float64) / k
    return result


def mutual_knn_cosine(a: np.ndarray, b: np.ndarray, *, k: int = 10) -> np.ndarray:
    """`mutual_knn` [N] with neighbours by cosine. `mutual_knn[cosine,k10]`."""
    return mutual_knn(a, b, k=k, metric="cosine")


def recall_at_k(a: np.ndarray, b: np.ndarray, *, k: int = 1, metric: str = "euclidean") -> np.ndarray:
    """Whether [N] the original of each recalled item is among the k originals nearest to it. `recall@1`.

    1 or 0, or the probability in between where the true original ties with others for the last places (s nearer, t
    tied with it itself included: (k - s) / t); chance is k/N. Distances are Euclidean or cosine.
    ValueError: k not in 1 .. N-1, a value that is not finite, a zero vector with metric='cosine'.
    """
    original, recalled = checked_sets(a, b, k, metric)
    result = np.empty(len(a))
    for rows, kept in _kept(recalled, original, k):
        result[rows] = kept[np.arange(len(kept)), np.arange(rows.start, rows.stop)]
    return result


def recall_cosine(a: np.ndarray, b: np.ndarray, *, k: int = 1) -> np.ndarray:
    """`recall_at_k` [N] with neighbours by cosine. `recall@1[cosine]`."""
    return recall_at_k(a, b, k=k, metric="cosine")
