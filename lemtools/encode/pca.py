"""Principal components (Pearson 1901; Hotelling 1933), fitted in one pass over data of any size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from ..catalogue.encoders import ENCODERS
from ..denoise.moments import Moments
from ..signal import Layout, LemError, Signal, Tensor, Value
from .contract import Fitted, as_image, as_vectors

WIDEST = 8192  # numbers a vector: its covariance is square
_ROWS = 1 << 22  # numbers that are float64 at a time


class PCA(Fitted):
    """x -> (x - mean) components^T, over the square root of the variance where `whiten`.

    mean [D], components [K, D] with orthonormal rows, variance [K] descending, spectrum float64 [D] of all variances.
    kind, item, dtype: of the memories it was fitted to; images are decoded to images.
    Embeddings [N, L, D] are encoded position by position.
    """

    name = "pca"
    layout = Layout(
        {
            "kind": Value(("image", "embedding")),
            "item": Value("sizes", 1, WIDEST),
            "dtype": Value(("uint8", "float16", "float32", "float64")),
            "whiten": Value("flag"),
            "count": Value("whole", 2),
        },
        {
            "mean": Tensor("F32", "D"),
            "components": Tensor("F32", "K D"),
            "spectrum": Tensor("F64", "D", 0),
        },
    )

    def __init__(self, mean, components, spectrum, *, kind: str, item: list[int], dtype: str, whiten: bool, count: int):
        self.mean, self.components, self.spectrum = mean, components, spectrum
        self.kind, self.item, self.dtype, self.whiten, self.count = kind, item, dtype, whiten, count
        self.variance = spectrum[: len(components)]

    @classmethod
    def fit(cls, signals: Callable[[], Iterable[Signal]], *, dims: int | None = None, whiten: bool = False):
        """dims: K; None keeps every direction in which the data vary. Returns (PCA, report)."""
        moments, (kind, item, dtype) = cls._read(signals)
        if moments.count < 2:
            raise LemError("pca needs at least 2 vectors")
        values, axes = np.linalg.eigh(moments.covariance)
        values, axes = np.maximum(values[::-1], 0), axes[:, ::-1].T
        rank = int((values > values[0] * len(values) * np.finfo(float).eps).sum()) if values[0] > 0 else 0
        rank = min(rank, moments.count - 1)
        dims = dims or max(rank, 1)
        if dims > len(values) or (whiten and dims > rank):
            why = f"{moments.count} vectors of {len(values)} numbers vary in {rank} directions"
            raise LemError(f"--dims {dims}: {why}{', and a direction without variance cannot be whitened' * whiten}")
        # the sign of an eigenvector is the solver's: let the largest entry be positive
        axes = axes[:dims] * np.sign(axes[np.arange(dims), np.abs(axes[:dims]).argmax(1)])[:, None]
        mean, axes = moments.mean.astype(np.float32), axes.astype(np.float32)
        made = cls(mean, axes, values, kind=kind, item=item, dtype=dtype, whiten=whiten, count=moments.count)
        total = values.sum()
        report = {
            "vectors": moments.count,
            "width": len(values),
            "dims": dims,
            "rank": rank,
            "variance-kept": float(values[:dims].sum() / total) if total > 0 else 1.0,
        }
        return made, report

    @staticmethod
    def _read(signals: Callable[[], Iterable[Signal]]) -> tuple[Moments, tuple[str, list[int], str]]:
        """Moments of all vectors, and what they are: (kind, shape of an item or of a position, dtype)."""
        moments, first = Moments(), None
        for signal in signals():
            item = list(signal.data.shape[1 if signal.kind == "image" else -1 :])
            found = (signal.kind, item, signal.data.dtype.name)
            first = first or found
            if found != first:
                said = ["{0} of {2} {1}".format(*what) for what in (found, first)]
                raise LemError(f"{' among '.join(said)}; pca takes one kind, shape and type")
            if not ENCODERS["pca"].suits(signal.kind) or signal.ops:
                fragments = " fragments" if signal.ops else ""
                raise LemError(f"pca is fitted to whole images or embeddings, not {signal.kind}{fragments}")
            x = as_vectors(signal)
            x = x.reshape(-1, x.shape[-1])
            if x.shape[1] > WIDEST:
                raise LemError(f"vectors of {x.shape[1]} numbers; pca takes {WIDEST} at most: cut them (patches) first")
            step = max(1, _ROWS // x.shape[1])
            for i in range(0, len(x), step):
                moments.add(x[i : i + step].astype(np.float64))
        return moments, first

    def tensors(self) -> dict[str, np.ndarray]:
        return {"mean": self.mean, "components": self.components, "spectrum": self.spectrum}

    def card(self) -> dict:
        return {"kind": self.kind, "item": self.item, "dtype": self.dtype, "whiten": self.whiten, "count": self.count}

    @classmethod
    def restore(cls, record: dict, tensors: dict[str, np.ndarray]) -> PCA:
        mean, components, spectrum = (tensors[k] for k in ("mean", "components", "spectrum"))
        dims, width = components.shape
        if math.prod(record["item"]) != width or (len(record["item"]) == 3) != (record["kind"] == "image"):
            raise ValueError(f"items of {record['item']}, vectors of {width}")
        if not 1 <= dims <= width or (record["whiten"] and not spectrum[:dims].min() > 0):
            raise ValueError(f"{dims} components of {width}")
        return cls(mean, components, spectrum, **{k: record[k] for k in ("kind", "item", "dtype", "whiten", "count")})

    def record(self, signal: Signal) -> dict:
        return {"fitted": True, "fit": self.fingerprint, "dims": len(self.components), "whiten": self.whiten}

    @property
    def _gain(self) -> np.ndarray:
        return np.sqrt(self.variance).astype(np.float32) if self.whiten else np.float32(1)

    def encode(self, signal: Signal) -> list[Signal]:
        x = as_vectors(signal)
        if x.shape[-1] != len(self.mean):
            raise LemError(f"vectors of {x.shape[-1]} numbers; this pca was fitted to such of {len(self.mean)}")
        out = (x - self.mean) @ self.components.T / self._gain
        return [replace(signal, kind="embedding", data=out.astype(np.float32), depth=None)]

    def decode(self, signal: Signal, record: dict) -> list[Signal]:
        if signal.data.shape[-1] != len(self.components):
            raise LemError(f"vectors of {signal.data.shape[-1]} numbers; this pca makes {len(self.components)}")
        x = (signal.data * self._gain if self.whiten else signal.data) @ self.components
        x += self.mean
        if self.kind == "image":
            if x.ndim != 2:
                raise LemError("this pca was fitted to images: a vector an image")
            return [replace(signal, kind="image", data=as_image(x.reshape(len(x), *self.item), self.dtype), depth=None)]
        return [replace(signal, data=x.astype(np.float32), depth=None)]
