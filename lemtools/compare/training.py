"""Recall or dream: is what was recalled a copy of a training item, a collage of several, or neither?

Each metric looks for the training items, or the patches of them, nearest to what was recalled, and does the same for
the originals, which the training never saw: that is the floor printed beside it. One float64 value an item.

Neighbours are exact. Float32 matrix products screen a tile of training items at a time; whatever rounding leaves
undecided is measured again in float64 from the values themselves. Memory: the queries and one tile.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..signal import LemError
from .distortion import paired

_TILE = 1 << 22  # elements of training items read at a time
_BLOCK = 1 << 20  # distances at a time: 4 MiB, of the cache's size
_SAME = 1e-12  # squared distances this close, relatively, are equal: only float64 rounding parts them


class Training:
    """The training items [N, ...item] (an array, in memory or on disk; uint8 or float) in the unit of the items they are compared
    with.

    like: those items. Images of 8 bits and of floats share their full scale. LemError for another shape or for tokens.
    """

    def __init__(self, array: np.ndarray, like: np.ndarray):
        if array.shape[1:] != like.shape[1:]:
            raise LemError(f"--train: items of {list(array.shape[1:])} beside items of {list(like.shape[1:])}")
        byte = [x.dtype == np.uint8 for x in (array, like)]
        if array.dtype.kind != "f" and not byte[0]:
            raise LemError(f"--train: {array.dtype} values are tokens, which have no distance")
        self.array, self.unit = array, np.float32({(True, False): 255, (False, True): 1 / 255}.get(tuple(byte), 1))
        self._found: dict[tuple[int, int, int], tuple] = {}

    def __len__(self) -> int:
        return len(self.array)

    def tiles(self) -> Iterator[tuple[int, np.ndarray]]:
        """(number of the first one, items [n, ...]), in the unit of what they are compared with."""
        step = max(1, _TILE // max(self.array[0].size, 1))
        for i in range(0, len(self), step):
            part = np.ascontiguousarray(self.array[i : i + step])
            yield i, part if self.unit == 1 else part.astype(np.float32) / self.unit

    def few(self, most: int) -> Iterator[np.ndarray]:
        """At most `most` of the items, evenly spaced, in tiles [n, ...]."""
        step = -(-len(self) // most)
        for start, items in self.tiles():
            yield items[-start % step :: step]

    def neighbours(self, a: np.ndarray, b: np.ndarray, side: int = 0) -> tuple[Nearest, list[Nearest]]:
        """The nearest to whole items, and at each place to their patches of side x side; queries: b's items, then a's.

        Of equal training items only the first counts. Kept for the next metric that asks for the same.
        """
        key = id(a), id(b), side
        if key not in self._found:
            self._found[key] = a, b, *self._search(np.concatenate((b, a)), side)
        return self._found[key][2:]

    def _search(self, queries: np.ndarray, side: int) -> tuple[Nearest, list[Nearest]]:
        places = patch_places(queries.shape[1:], side, side) if side else []
        shift = next(self.tiles())[1].mean(0, dtype=np.float64)
        whole = Nearest(queries, shift)
        patches = [Nearest(queries[:, :, i, j], shift[:, i, j]) for i, j in places]
        seen: dict[int, int] = {}
        for start, items in self.tiles():
            fresh = _first(items, seen)
            items, numbers = items[fresh], start + fresh
            whole.add(items, numbers)
            for (i, j), nearest in zip(places, patches):
                rows = np.ascontiguousarray(items[:, :, i, j])
                # of equal patches two are enough to know that the nearest is not in one image only
                some = _first(rows, {}, most=2)
                nearest.add(rows[some], numbers[some])
        if len(seen) < 2:
            raise ValueError("the training set needs at least two different items")
        return whole, patches


def patch_places(item: tuple[int, ...], k: int, step: int) -> list[tuple[slice, slice]]:
    """Where k x k patches of an image [C, H, W] stand: every `step` pixels, the last ones flush with the far edges."""
    if len(item) != 3 or not 1 <= k <= min(item[1:]):
        raise ValueError(f"patches of {k} x {k} need images [C, H, W] at least as large, not {list(item)}")
    rows, columns = ([*range(0, n - k, step), n - k] for n in item[1:])
    return [(slice(i, i + k), slice(j, j + k)) for i in rows for j in columns]


def _first(rows: np.ndarray, seen: dict[int, int], most: int = 1) -> np.ndarray:
    """Numbers of the rows that are among the first `most` with their values; `seen` counts them from call to call."""
    kept = []
    for i, row in enumerate(rows):
        key = hash(row.tobytes())
        seen[key] = count = seen.get(key, 0) + 1
        if count <= most:
            kept.append(i)
    return np.array(kept, np.int64)


class Nearest:
    """The two nearest of all rows added so far to each query: `square` [Q, 2] their squared distances in float64,
    ascending (inf where there are fewer), `index` [Q, 2] their numbers; of equally near ones the lower number first.

    queries: [Q, ...]. shift: [...], removed before the matrix products so that no digits are spent on an offset.
    """

    def __init__(self, queries: np.ndarray, shift: np.ndarray):
        self.queries, self.shift = queries.reshape(len(queries), -1), shift.reshape(-1).astype(np.float32)
        count, self.dim = self.queries.shape
        self.square, self.index = np.full((count, 2), np.inf), np.full((count, 2), -1)
        x = (self.queries - self.shift).astype(np.float32)
        self.energy = np.einsum("ij,ij->i", x, x, dtype=np.float64)
        self.left = np.concatenate((-2 * x, np.ones((count, 1), np.float32)), axis=1)
        # Six standard deviations of the rounding of a product of that many terms, of (|x| + |y|)^2, and some more.
        self.rounding = (2 * np.sqrt(self.dim) + 8) * 2.0**-24

    def add(self, rows: np.ndarray, numbers: np.ndarray) -> None:
        """Take in rows [n, ...] called `numbers` [n] (ascending, and above all earlier ones)."""
        rows = rows.reshape(len(rows), -1)
        y = (rows - self.shift).astype(np.float32, copy=False)
        right = np.concatenate((y, np.einsum("ij,ij->i", y, y)[:, None]), axis=1)
        step = max(1, _BLOCK // len(self.queries))
        for i in range(0, len(rows), step):
            part = slice(i, i + step)
            self._block(rows[part], right[part], numbers[part])

    def _block(self, rows: np.ndarray, right: np.ndarray, numbers: np.ndarray) -> None:
        d = self.left @ right.T  # squared distances less |x|^2
        edge = self.square[:, 1]
        if np.isinf(edge).any() and d.shape[1] > 1:
            edge = np.minimum(edge, np.partition(d, 1, axis=1)[:, 1] + self.energy)
        # a row at the edge is no longer than |x| + its distance
        reach = 2 * np.sqrt(self.energy) + np.sqrt(np.maximum(edge, 0))
        edge = (edge - self.energy + 2 * self.rounding * reach**2).astype(np.float32)
        near = np.flatnonzero(d.min(axis=1) <= edge)
        if not len(near):
            return
        q, r = np.nonzero(d[near] <= edge[near, None])
        q = near[q]
        exact = np.empty(len(q))
        for i in range(0, len(q), step := max(1, _BLOCK // self.dim)):
            e = self.queries[q[i : i + step]].astype(np.float64) - rows[r[i : i + step]]
            exact[i : i + step] = np.einsum("ij,ij->i", e, e)
        asked = np.unique(q)
        q = np.concatenate((q, asked.repeat(2)))
        exact = np.concatenate((exact, self.square[asked].ravel()))
        index = np.concatenate((numbers[r], self.index[asked].ravel()))
        order = np.lexsort((index, exact, q))
        first = order[np.searchsorted(q[order], asked)[:, None] + np.arange(2)]
        self.square[asked], self.index[asked] = exact[first], index[first]


def _two(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the recalled, of the originals."""
    b, a = np.split(values, 2)
    return b, a


def nearest(a: np.ndarray, b: np.ndarray, *, train: Training) -> tuple[np.ndarray, np.ndarray]:
    """Rms distance [N] of each recalled item to the nearest training item, in the values' unit; floor: the originals'.

    Far below the floor: copies. Far above it: what no training item resembles. `nearest`.
    """
    whole, _ = train.neighbours(*paired(a, b))
    return _two(np.sqrt(whole.square[:, 0] / whole.dim))


def memorised(a: np.ndarray, b: np.ndarray, *, train: Training) -> tuple[np.ndarray, np.ndarray]:
    """Whether [N] d1 / d2 < 1/3: distances to the nearest and the second nearest training item that differs from it.

    The criterion of Yoon et al. 2023 and of Gu et al. 2023; its mean is the share memorised. `memorised`.
    """
    whole, _ = train.neighbours(*paired(a, b))
    return _two((9 * whole.square[:, 0] < whole.square[:, 1]).astype(np.float64))


def nearest_patch(a: np.ndarray, b: np.ndarray, *, train: Training, k: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Rms over the patches of each item [N] of the distance, an element, to the nearest training patch there.

    Patches of k x k pixels side by side (the last ones flush with the far edges), compared with the training patches at
    the same place. `nearest[patch8]`.
    """
    _, patches = train.neighbours(*paired(a, b), k)
    return _two(np.sqrt(np.mean([p.square[:, 0] for p in patches], axis=0) / patches[0].dim))


def mosaic(a: np.ndarray, b: np.ndarray, *, train: Training, k: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Share [N] of an item's patches whose nearest training patch comes from another image than the item's nearest.

    Patches as in `nearest_patch`. A patch counts only if one training image alone has the nearest patch at that place (a
    black corner does not); an item without such a patch gets 0. A copied training image gets 0, a collage of
    m of them about 1 - 1/m. An image that is neither is near 1, too, as its parts resemble many: a collage also has
    a nearest[patch8] far below its floor. `mosaic[patch8]`.
    """
    whole, patches = train.neighbours(*paired(a, b), k)
    counts = np.stack([p.square[:, 0] < p.square[:, 1] * (1 - _SAME) for p in patches])
    other = np.stack([p.index[:, 0] != whole.index[:, 0] for p in patches]) & counts
    return _two(other.sum(0) / np.maximum(counts.sum(0), 1))
