"""Dissimilarities of items, as studies of brains keep them: a npy file of square matrices."""

from __future__ import annotations

import math
import os

import numpy as np

from ..signal import LemError
from ..stream import Source
from .arrays import npy_header
from .find import sniff

SHAPES = "[S, N, N] or [S, sessions, N, N], S subjects and N items, or [N, N] of one"


def dissimilarities(path: str) -> np.ndarray:
    """The numbers [N, N], [S, N, N] or [S, sessions, N, N], float64, of a npy file. What they are is not looked at.

    LemError for another file, another shape, numbers that are not real, and a file that is cut short.
    """
    name = os.fsdecode(path)
    with open(path, "rb", buffering=0) as file:
        source = Source(file, name)
        if sniff(source.peek(16))[1] != "npy":
            raise LemError(f"{name}: no npy file; save dissimilarities {SHAPES} with numpy.save")
        shape, fortran, dtype = npy_header(source)
        if not 2 <= len(shape) <= 4 or dtype.kind not in "fiu" or 0 in shape:
            raise LemError(f"{name}: {dtype} {list(shape)}; dissimilarities are real numbers {SHAPES}")
        size = math.prod(shape) * dtype.itemsize
        if size > source.max_bytes:
            raise LemError(f"{name}: {size} bytes of dissimilarities, of {source.max_bytes} at most; keep fewer items")
        raw = source.read(size + 1)
    if len(raw) != size:
        raise LemError(f"{name}: {'cut short' if len(raw) < size else 'goes on after its array'}; save it again")
    return raw.view(dtype).reshape(shape, order="F" if fortran else "C").astype(np.float64)
