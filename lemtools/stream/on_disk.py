"""Arrays that stay in their file. They are read and not mapped: where a mapped file is cut, the process is killed."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from ..signal import LemError


class OnDisk:
    """An array [N, ...] in a file, in C order, of which rows are read when they are asked for: by a number, a slice or an
    integer array, as of a numpy array; numpy.asarray reads all of it.

    begin: the byte of the file where it begins. shape: as it lies there. moved: the last axis comes second, as
    [N, H, W, C] becomes [N, C, H, W]. Raises LemError where the file turns out to be cut short.
    """

    def __init__(self, path: str, begin: int, dtype: np.dtype, shape: tuple[int, ...], moved: bool = False):
        self.path, self.begin, self.dtype, self.lying, self.moved = path, begin, np.dtype(dtype), tuple(shape), moved
        self.shape = (shape[0], shape[-1], *shape[1:-1]) if moved else self.lying
        self.width = math.prod(self.lying[1:]) * self.dtype.itemsize  # bytes of a row
        self.file = open(path, "rb", buffering=0)  # noqa: SIM115  closed with the array
        self.descriptor = self.file.fileno()

    def __reduce__(self) -> tuple[Any, ...]:
        return OnDisk, (self.path, self.begin, self.dtype, self.lying, self.moved)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def reshape(self, *shape: int) -> OnDisk:
        """The same numbers as an array of another shape, of which one side may be -1."""
        known = math.prod(n for n in shape if n != -1)
        shape = tuple(self.size // known if n == -1 else n for n in shape)
        if self.moved or math.prod(shape) != self.size:
            raise ValueError(f"an array {list(self.shape)} on disk cannot be read as {list(shape)}")
        return OnDisk(self.path, self.begin, self.dtype, shape)

    def cut(self, start: int, stop: int) -> OnDisk:
        """Rows start ... stop - 1, maybe none, not read yet."""
        shape = (stop - start, *self.lying[1:])
        return OnDisk(self.path, self.begin + start * self.width, self.dtype, shape, self.moved)

    def __getitem__(self, rows: Any) -> np.ndarray:
        if isinstance(rows, (int, np.integer)):
            at = int(rows) + (len(self) if rows < 0 else 0)
            if not 0 <= at < len(self):
                raise IndexError(f"row {rows} of {len(self)}")
            item = np.empty(self.lying[1:], self.dtype)
            self._fill(item, at)
            return np.moveaxis(item, -1, 0) if self.moved else item
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step == 1:
                return self._read([start], [max(stop - start, 0)])
            rows = np.arange(start, stop, step)
        index = np.asarray(rows)
        index = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64)
        flat = np.where(index < 0, index + len(self), index).reshape(-1)
        if len(flat) and not 0 <= flat.min() <= flat.max() < len(self):
            raise IndexError(f"rows {flat.min()} to {flat.max()} of {len(self)}")
        begins = np.flatnonzero(np.diff(flat, prepend=-2) != 1)  # neighbours are read together
        out = self._read(flat[begins].tolist(), np.diff(begins, append=len(flat)).tolist())
        return out if index.ndim == 1 else out.reshape(*index.shape, *self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:] if dtype is None else self[:].astype(dtype, copy=False)

    def _read(self, firsts: list[int], counts: list[int]) -> np.ndarray:
        """The rows of some runs, one behind the other."""
        out = np.empty((sum(counts), *self.lying[1:]), self.dtype)
        done = 0
        for first, count in zip(firsts, counts):
            self._fill(out[done : done + count], first)
            done += count
        return np.moveaxis(out, -1, 1) if self.moved else out

    def _fill(self, out: np.ndarray, first: int) -> None:
        """Read rows from `first` on; one call reads 2 GiB at most."""
        at, left, size = self.begin + first * self.width, out, out.nbytes
        while size:
            try:
                got = os.preadv(self.descriptor, [left.data], at)
            except OSError as error:
                error.filename = self.path
                raise
            if got == size:
                return
            if not got:
                raise LemError(f"{os.fsdecode(self.path)}: cut short while it was read")
            at, size = at + got, size - got
            left = out.reshape(-1).view(np.uint8)[out.nbytes - size :]
