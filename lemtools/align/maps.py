"""What a map is once it is fitted: applied to vectors, and kept in a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..signal import LemError

_TILE = 1 << 22  # numbers of a tile of cosines
_ROWS = 1 << 17  # numbers of vectors that are centred at a time, and stay near the processor


@dataclass
class Map:
    """A map from A [., D] to B [., E] and one back; float32 where it is applied.

    mean: of each side. Either `there` [D, E] and `back` [E, D], y = (x - mean_a) there + mean_b; or `anchors` [K, D] and [K, E]
    less the means, with `sharp`, the sharpness s each way: y = mean_b + sum_k w_k b_k, w = softmax(s cos(x - mean_a, a_k)).
    facts: numbers that the fit found, by name.
    """

    mean: tuple[np.ndarray, np.ndarray]
    there: np.ndarray | None = None
    back: np.ndarray | None = None
    anchors: tuple[np.ndarray, np.ndarray] | None = None
    sharp: tuple[float, float] = (0.0, 0.0)
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ready: dict[bool, tuple[np.ndarray, ...]] = {}

    @property
    def widths(self) -> tuple[int, int]:
        return len(self.mean[0]), len(self.mean[1])

    def apply(self, x: np.ndarray, back: bool = False) -> np.ndarray:
        """float32 [n, E] of vectors of A [n, D]; with `back` of vectors of B, [n, D]. LemError for more than float32 holds."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self._linear(x, back) if self.anchors is None else self._relative(x, back)

    def _linear(self, x: np.ndarray, back: bool) -> np.ndarray:
        """(x - mean) there + mean: the mean first, as float32 has few digits left of a spread that is small beside it."""
        if back not in self._ready:
            matrix = np.asarray(self.back if back else self.there, np.float64)
            a, b = self.mean[::-1] if back else self.mean
            near = a.astype(np.float32)
            self._ready[back] = near, matrix.astype(np.float32), (b - (a - near) @ matrix).astype(np.float32)
        near, matrix, offset = self._ready[back]
        out = np.empty((len(x), matrix.shape[1]), np.float32)
        step = max(1, _ROWS // len(near))
        for i in range(0, len(x), step):
            part = out[i : i + step]
            np.matmul((x[i : i + step] - near).astype(np.float32, copy=False), matrix, out=part)
            part += offset
            check_finite(part)
        return out

    def _relative(self, x: np.ndarray, back: bool) -> np.ndarray:
        assert self.anchors is not None
        (a, b), (mean_a, mean_b) = (side[:: -1 if back else 1] for side in (self.anchors, self.mean))
        if back not in self._ready:
            self._ready[back] = unit(a).T.astype(np.float32), b.astype(np.float32)
        near, far = self._ready[back]
        out = np.empty((len(x), far.shape[1]), np.float32)
        step = max(1, _TILE // len(far))
        for i in range(0, len(x), step):
            cosines = unit(x[i : i + step] - mean_a).astype(np.float32) @ near
            out[i : i + step] = softmax(cosines, self.sharp[back]) @ far + mean_b
            check_finite(out[i : i + step])
        return out


def check_finite(made: np.ndarray) -> None:
    """LemError for a translation that float32 could not hold."""
    if not np.isfinite(made).all():
        raise LemError("what they translate to is more than float32 holds: vectors of another scale, or a damaged file")


def unit(x: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; a row of zeros stays."""
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(norm > 0, norm, 1)


def softmax(x: np.ndarray, sharp: float) -> np.ndarray:
    """exp(sharp x) over its sum, row by row."""
    w = np.exp(sharp * (x - x.max(1, keepdims=True)))
    return w / w.sum(1, keepdims=True)
