"""The coordinates in which a residual quantiser codes: principal directions.

Shapes: N vectors of D numbers; R coordinates, the groups' one after the other; G groups.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..denoise.moments import Moments
from ..signal import LemError
from .bound import allocate, cosine_of, water_fill

ROWS = 4096  # vectors in memory at a time
SMALLEST, LARGEST = 1e-18, 1e18  # of numbers that have a square in float32, and sums of squares
ROUNDING = 1e-6  # of the largest variance: directions with less are what float32 makes of none
Vectors = np.ndarray | torch.Tensor | Callable[[], Iterable[np.ndarray]]


def row_blocks(vectors: Vectors) -> Iterator[tuple[int, np.ndarray]]:
    """(number of the first row, at most ROWS rows [n, D]) of an array, or of what a callable yields afresh."""
    first = 0
    for batch in vectors() if callable(vectors) else [vectors]:
        if batch.ndim != 2:
            raise LemError(f"vectors have shape [N, D], not {list(batch.shape)}")
        for at in range(0, len(batch), ROWS):
            yield first + at, batch[at : at + ROWS]
        first += len(batch)


def checked_rows(
    block: np.ndarray | torch.Tensor, device: str, first: int = 0, dims: int | None = None
) -> torch.Tensor:
    """A block as float32 [n, D] on the device. LemError, by number of the vector, for another width, and for NaN, infinity
    and what has no square in float32."""
    if block.ndim != 2:
        raise LemError(f"vectors have shape [N, D], not {list(block.shape)}")
    if dims not in (None, block.shape[1]):
        raise LemError(f"vectors of {block.shape[1]} dimensions, where {dims} were fitted; fit a codebook to these")
    if not isinstance(block, torch.Tensor):
        with np.errstate(over="ignore"):
            block = torch.from_numpy(np.array(block, np.float32))
    x = block.to(device, torch.float32)
    most = x.abs().amax(1)
    fine = (most == 0) | (most >= SMALLEST) & (most <= LARGEST)
    if not bool(fine.all()):
        at = int((~fine).int().argmax())
        if not math.isfinite(float(most[at])):
            raise LemError(f"vector {first + at} holds NaN or infinity, or is beyond float32; leave it out or mend it")
        raise LemError(
            f"vector {first + at}: its largest number is {float(most[at]):.0e}, of which float32 has no square; "
            "scale the vectors"
        )
    return x


@dataclass
class Frame:
    """z = (x - mean) basis^T / scale. mean [D]; basis [R, D], orthonormal rows; scale [R], all 1 unless whitened;
    variance [R] of each coordinate; widths: coordinates of each group; energy: sum of the variances of *all* D
    coordinates (with whitening, of the R); shrink: length of the best recall over that of its original."""

    mean: torch.Tensor
    basis: torch.Tensor
    scale: torch.Tensor
    variance: torch.Tensor
    widths: list[int]
    energy: float
    shrink: float
    whiten: bool

    @classmethod
    def of(cls, moments: Moments, bits: float, groups: int, whiten: bool) -> Frame:
        """All directions that the data extend in, dealt to the groups."""
        values, axes = np.linalg.eigh(moments.covariance.cpu().numpy())
        values, axes = np.maximum(values[::-1], 0), axes[:, ::-1]
        floor = ROUNDING * max(values[0], np.finfo(np.float32).tiny)
        there = (values > floor) & (np.arange(len(values)) < max(1, moments.count - 1))
        spectrum = there.astype(np.float64) if whiten else np.where(there, values, 0.0)
        dealt = [d[: max(1, np.count_nonzero(spectrum[d]))] for d in allocate(spectrum, bits, groups)]
        chosen = np.concatenate(dealt)
        scale = np.sqrt(np.maximum(values, floor))[chosen] if whiten else np.ones(len(chosen))
        made = {
            "mean": moments.mean.cpu().numpy(),
            "basis": axes.T[chosen],
            "scale": scale,
            "variance": spectrum[chosen],
        }
        return cls(
            **{k: torch.from_numpy(np.ascontiguousarray(v, np.float32)) for k, v in made.items()},
            widths=[len(d) for d in dealt],
            energy=float(spectrum.sum()),
            shrink=cosine_of(water_fill(spectrum, bits).nmse),
            whiten=whiten,
        )

    def to(self, device: str) -> Frame:
        for name in ("mean", "basis", "scale", "variance"):
            setattr(self, name, getattr(self, name).to(device))
        return self

    def narrow(self, kept: list[torch.Tensor]) -> Frame:
        """The frame with only some coordinates of each group, by their numbers in it."""
        starts = np.cumsum([0, *self.widths])
        every = torch.cat([start + k.to(self.mean.device) for start, k in zip(starts.tolist(), kept)])
        return replace(
            self,
            basis=self.basis[every].contiguous(),
            scale=self.scale[every],
            variance=self.variance[every],
            widths=[len(k) for k in kept],
        )

    def coordinates(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(z [N, R], |x - mean|^2 [N], with whitening |z|^2)."""
        x = x - self.mean
        z = x @ self.basis.mT / self.scale
        return z, (z if self.whiten else x).square().sum(1)

    def back(self, z: torch.Tensor) -> torch.Tensor:
        return (z * self.scale) @ self.basis + self.mean

    def split(self, z: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The coordinates of each group."""
        return z.split(self.widths, 1)

    def targets(self, energy: torch.Tensor, cosine: float) -> tuple[torch.Tensor, torch.Tensor]:
        """(weight, factor) [N]: the loss of a vector is about weight |y - factor z|^2 for its recall y.

        The loss is |y - z|^2 / E + w (1 - cos(y, z)), with E the mean energy and w the weight of the cosine. 1 - cos is
        half the squared distance of unit vectors; with |y| put at its expected r |z| (r: `shrink`) that is
        |y - r z|^2 / (2 r^2 |z|^2), and the two squares make one, of weight 1 + b and centre z (1 + b r) / (1 + b)
        with b = w E / (2 r^2 |z|^2), up to a constant and the factor 1 / E. |z|^2 counts as at least E / 1000.
        """
        r = max(self.shrink, 1e-3)
        b = cosine * self.energy / (2 * r * r * energy.clamp_min(max(self.energy / 1000, 1e-30)))
        return 1 + b, (1 + b * r) / (1 + b)
