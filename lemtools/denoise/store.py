"""Stored patterns of any size, read in tiles: a million images on disk need one tile of memory."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch

from .contract import Array, Scale, wide

SAMPLE = 1024  # memories that tell about where all of them lie
TILE_ELEMENTS = 1 << 20  # 4 MiB in float32: a tile stays in the cache, and its memory is not taken anew each time
DEVICE_ELEMENTS = 1 << 22  # the same elsewhere than on a CPU, where a call costs more than what it does


class Store:
    """N memories in a denoiser's coordinates.

    array: [N, ...item], numpy, ``np.memmap`` or torch; uint8 (v / 255) or float. Anything with ``shape``, ``dtype``
    and indexing by slices and by integer arrays will do. scale: coordinates of the rows. tile: rows read at a time.
    Raises ValueError for an empty store.
    """

    def __init__(
        self, array: Array, scale: Scale | None = None, tile: int | None = None, device: str | torch.device = "cpu"
    ):
        if len(array.shape) < 2 or 0 in array.shape:
            raise ValueError(f"a store needs memories [N, ...] with N >= 1, not shape {tuple(array.shape)}")
        self.array, self.scale, self.device = array, scale or Scale(), torch.device(device)
        self.item = tuple(self.rows([0]).shape[1:]) if self.scale.basis is not None else tuple(array.shape[1:])
        self.dim = int(np.prod(self.item))
        most = TILE_ELEMENTS if self.device.type == "cpu" else DEVICE_ELEMENTS
        self.tile = tile or max(1, most // self.dim)

    def __len__(self) -> int:
        return int(self.array.shape[0])

    def _encode(self, raw: Array, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        t = from_rows(raw)
        byte = t.dtype == torch.uint8
        t = t.to(device).to(dtype)
        return self.scale.encode(t.div_(255) if byte else t)

    def rows(self, index: Array | list[int]) -> torch.Tensor:
        """Memories by number: [K, ...item] float64 on the CPU."""
        index = np.asarray(index)
        index = torch.from_numpy(index) if isinstance(self.array, torch.Tensor) else index
        rows = self._encode(self.array[index], torch.float64, torch.device("cpu"))
        _release(self.array)
        return rows

    def tiles(self, dtype: torch.dtype = torch.float32) -> Iterator[tuple[int, torch.Tensor]]:
        """(number of the first row, [T, D] of ``dtype`` on the device) over the whole store, in order."""
        for start in range(0, len(self), self.tile):
            t = self._encode(self.array[start : start + self.tile], dtype, self.device)
            yield start, t.reshape(t.shape[0], self.dim)
            _release(self.array)

    @cached_property
    def centre(self) -> torch.Tensor:
        """A point amid the memories, [D] float64 on the CPU: their mean, or where rows cost more than a read (`costly`) that
        of SAMPLE of them, evenly spaced."""
        if not getattr(self.array, "costly", False) or len(self) <= SAMPLE:
            return self.mean
        return self.rows(np.arange(SAMPLE) * len(self) // SAMPLE).reshape(SAMPLE, self.dim).mean(0)

    @cached_property
    def mean(self) -> torch.Tensor:
        """Mean memory, [D] float64 on the CPU (summed in float64, tile by tile)."""
        total = torch.zeros(self.dim, dtype=torch.float64)
        for _, t in self.tiles():
            total += t.sum(0, dtype=wide(self.device)).cpu()
        return total / len(self)


def from_rows(raw: Array) -> torch.Tensor:
    """What an array gave for a slice or an index, as a tensor whose memory is not the array's own."""
    if not isinstance(raw, np.ndarray):
        return torch.as_tensor(raw)
    return torch.from_numpy(raw if raw.flags.owndata and raw.flags.writeable else np.array(raw))


def _release(array: Array) -> None:
    """Unmap what was read of a memory-mapped file; else resident memory grows to the size of the file.

    The pages stay in the page cache. Not for mode "c": its private changes would be lost.
    """
    mapped = getattr(array, "_mmap", None)
    if mapped is not None and getattr(array, "mode", "c") in ("r", "r+") and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
