"""Whole memories at once, mapped where that is possible."""

import math
import os
from dataclasses import replace

import numpy as np

from .. import stream
from ..signal import DTYPES, LemError, Signal, unpack_names
from . import arrays
from .find import sniff
from .how import BATCH_BYTES, Reading, check_finite
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
        source = stream.Source(file, path)
        _form, family = sniff(source.peek(16))
        if family == "npy":
            shape, fortran, dtype = arrays.npy_header(source)
            begin, numbers = source.place, dtype.kind in "fiu" and dtype.isnative
            whole = numbers and len(shape) > 1 and not fortran and min(shape) > 0
            if not whole or begin + math.prod(shape) * dtype.itemsize != os.path.getsize(path):
                return None  # an ordinary reading says what is wrong
            shape = arrays.items_shape(shape, dtype, path, how)
            return arrays.as_signal(np.memmap(path, dtype, "r", begin, shape), path, how)
        if family != "stream" or how.kind:
            return None
        header = stream.read_header(source)
        names = ["data"] if header.lem is not None else [k for k in header.tensors if key in (None, k)]
        if source.place + header.size != os.path.getsize(path) or len(names) != 1 or names[0] not in header.tensors:
            return None

        def array(name):
            dtype, shape, begin, _stop = header.tensors[name]
            return np.memmap(path, DTYPES[dtype], "r", source.place + begin, shape)

        dtype, shape, begin, stop = header.tensors[names[0]]
        if dtype not in DTYPES or len(shape) < 2 or stop == begin or (header.lem or {}).get("ops"):
            return None
        beside = [k for k in ("label", "names.utf8", "names.offsets") if header.lem and k in header.tensors]
        small = {k: np.array(array(k)) for k in beside}
        signal = Signal((header.lem or {}).get("kind", "embedding"), array(names[0]), label=small.get("label"))
        if "names.offsets" in small:
            signal.names = unpack_names(small["names.utf8"], small["names.offsets"], len(signal))
        return signal
