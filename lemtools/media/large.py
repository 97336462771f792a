"""Whole memories in one large safetensors document, read a batch at a time: memory does not grow with their number."""

import os
from collections.abc import Iterator
from typing import IO

import numpy as np

from .. import stream
from ..signal import LemError, Signal, from_tensors, unpack_texts
from .how import Reading

LEAST = 1 << 26  # bytes from which a document is read in pieces
Shape = tuple[int, ...]
_BESIDE = {"label", "index", "cost", "tokens", "names.utf8", "names.offsets"}


def pieces(path: str, how: Reading) -> Iterator[Signal] | None:
    """The batches of a file that is one large document, ours or foreign, of whole memories; None for any other file."""
    if not os.path.isfile(path) or os.path.getsize(path) < LEAST:
        return None
    with open(path, "rb", buffering=0) as file:
        source = stream.Source(file, path, how.max_bytes)
        if not stream.looks_like_safetensors(source.peek(9)):
            return None
        header = stream.read_header(source)
        if header is None or source.place + header.size != os.path.getsize(path):
            return None
        begin = source.place
    tensors, lem = header.tensors, header.lem
    if lem is None:
        try:
            name = stream.key_of(header, how.key)
        except LemError:
            return None  # an ordinary reading says what is wrong
        beside, lem = [], {"v": 1, "kind": "embedding", "n": (tensors[name][1] or (0,))[0]}
    else:
        name, beside = "data", [k for k in tensors if k != "data"]
        if name not in tensors or lem.get("ops") or not _BESIDE.issuperset(beside):
            return None
    shape = tensors[name][1]
    if len(shape) < 2 or 0 in shape:
        return None
    return _pieces(path, begin, {k: tensors[k] for k in beside}, tensors[name], lem, how)


def rows(
    file: IO[bytes], path: str, begin: int, entry: tuple[str, Shape, int, int], first: int = 0, count: int | None = None
) -> np.ndarray:
    """`count` rows from `first` on (None: all) of a tensor of the document whose tensors begin at byte `begin`. Raises
    LemError where the file was cut meanwhile."""
    dtype, shape, start, stop = entry
    count = shape[0] if count is None else count
    width = (stop - start) // max(shape[0], 1)
    file.seek(begin + start + first * width)
    raw = stream.Source(file, path).read(count * width)
    if len(raw) < count * width:
        raise LemError(f"{path}: cut short while it was read")
    return stream.as_array(raw, dtype, (count, *shape[1:]))


def _pieces(path, begin, beside, large, lem, how) -> Iterator[Signal]:
    _dtype, shape, start, stop = large
    row, done = (stop - start) // shape[0], 0
    with open(path, "rb", buffering=0) as file:
        small = {k: rows(file, path, begin, entry) for k, entry in beside.items()}
        ends = small.get("names.offsets")
        if ends is not None:  # the names of the whole are checked, those of the parts follow
            unpack_texts(small["names.utf8"], ends, shape[0])
        while done < shape[0]:
            count = min(how.items(row), shape[0] - done)
            part = {"data": rows(file, path, begin, large, done, count)}
            part |= {k: v[done : done + count] for k, v in small.items() if not k.startswith("names.")}
            if ends is not None:
                here = ends[done : done + count + 1]
                part |= {"names.utf8": small["names.utf8"][here[0] : here[-1]], "names.offsets": here - here[0]}
            first = lem.get("first", 0) + lem.get("step", 1) * done
            done += count
            meta = {**lem, "n": count, "first": first, "last": done == shape[0]}
            yield from_tensors(part, meta, how.max_bytes or stream.MAX_BYTES)
