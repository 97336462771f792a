"""Whole memories at once, mapped where that is possible."""

import math
import os
from dataclasses import replace

import numpy as np

from .. import stream
from ..signal import DTYPES, LemError, Signal, from_tensors
from . import arrays
from .find import sniff
from .how import BATCH_BYTES, Reading, check_finite
from .large import rows
from .load import load


def store(paths: list[str], key: str | None = None, how: Reading | None = None, **options) -> np.ndarray:
    """All memories of the inputs as one array [N, ...item], uint8 or float, for those who look up.

    A lone .npy or one-document safetensors file is mapped, not read: a store of a million memories then stays on
    disk. Raises LemError for memories of several shapes or kinds, and for a fragment.
    """
    how = replace(how or Reading(), key=key, **options)
    if len(paths) == 1 and (signal := mapped(paths[0], key, how)) is not None:
        return signal.data
    batches, kinds = [], set()
    for signal in load(paths, how):
        if signal.ops:
            raise LemError(f"{paths[0]}: fragments; a store holds whole memories")
        batches.append(signal.data)
        kinds.add((signal.kind, signal.data.dtype.kind, *signal.data.shape[1:]))
        if len(kinds) > 1:
            raise LemError(
                f"{', '.join(paths)}: memories of several shapes or kinds; a store holds one (--resize, --grey and "
                "--rgb make images alike)"
            )
    if not batches:
        raise LemError(f"{', '.join(paths)}: no memories")
    return np.concatenate(batches) if len(batches) > 1 else batches[0]


def mapped(path: str, key: str | None = None, how: Reading | None = None) -> Signal | None:
    """The whole memories of a lone .npy or one-document safetensors file, `data` mapped; None for any other file, and
    for images that are to be changed.

    Raises LemError for values that are NaN or infinite.
    """
    how = replace(how or Reading(), key=key)
    signal = _mapped(path, key, how) if os.path.isfile(path) else None
    if signal is None or (how.changes and not _as_asked(signal, how)):
        return None
    rows = max(1, BATCH_BYTES // max(signal.data[:1].nbytes, 1))
    for start in range(0, len(signal), rows):
        check_finite(signal.data[start : start + rows], path, start)
    return signal


def _as_asked(signal: Signal, how: Reading) -> bool:
    """Whether reading changes nothing."""
    if signal.kind != "image" or how.lost:
        return False
    channels, height, width = signal.data.shape[1:]
    return how.size in (None, (width, height)) and how.colour in (None, "grey" if channels == 1 else "rgb")


def _mapped(path: str, key: str | None, how: Reading) -> Signal | None:
    with open(path, "rb", buffering=0) as file:
        source = stream.Source(file, path, how.max_bytes)
        _form, family = sniff(source.peek(16))
        if family == "npy":
            shape, fortran, dtype = arrays.npy_header(source)
            begin, numbers = source.place, dtype.kind in "fiu" and dtype.isnative
            whole = numbers and len(shape) > 1 and not fortran and min(shape) > 0
            size = math.prod(shape) * dtype.itemsize
            if not whole or begin + size != os.path.getsize(path):
                return None  # an ordinary reading says what is wrong
            if size > source.max_bytes:
                raise LemError(f"{path}: {size} bytes; raise --max-bytes to map it")
            shape = arrays.items_shape(shape, dtype, path, how)
            return arrays.as_signal(np.memmap(path, dtype, "r", begin, shape), path, how)
        if family != "stream" or how.kind:
            return None
        header = stream.read_header(source)
        if header is None or source.place + header.size != os.path.getsize(path):
            return None
        lem = header.lem
        try:
            name = stream.key_of(header, key) if lem is None else "data"
        except LemError:
            return None
        if name not in header.tensors or (lem or {}).get("ops"):
            return None
        dtype, shape, begin, stop = header.tensors[name]
        if dtype not in DTYPES or len(shape) < 2 or stop == begin:
            return None
        data = np.memmap(path, DTYPES[dtype], "r", source.place + begin, shape)
        if lem is None:
            return Signal("embedding", data)
        beside = {k: rows(file, path, source.place, header.tensors[k]) for k in header.tensors if k != name}
        return from_tensors({name: data, **beside}, lem, source.max_bytes)
