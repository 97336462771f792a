"""A sound that is too long to be held: what stands in the place of its samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


class Long:
    """In place of audio [1, C, T], float32, for what takes it from its beginning to its end; no more than a piece is held.

    blocks: () -> its pieces float32 [C, t], one after another, from the beginning at every call. Of an array it has what a
    batch asks for: shape, type, size, and its items.
    """

    dtype = np.dtype(np.float32)
    ndim = 3

    def __init__(self, channels: int, samples: int, blocks: Callable[[], Iterator[np.ndarray]]):
        self.shape, self.blocks = (1, channels, samples), blocks
        self.size = channels * samples
        self.nbytes = self.dtype.itemsize * self.size

    def __len__(self) -> int:
        return 1

    def __getitem__(self, items: Any) -> Long | np.ndarray:
        """Itself, or no item."""
        return self if np.arange(1)[items].size else np.empty((0, *self.shape[1:]), self.dtype)
