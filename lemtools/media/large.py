"""One large safetensors document, read a batch at a time: memory does not grow with the number of memories in it."""

import math
import os
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

import numpy as np

from .. import stream
from ..codes import MAX_BITS
from ..signal import DTYPES, LemError, Signal, from_tensors, unpack_texts
from .how import Reading

LEAST = 1 << 26  # bytes, once unpacked, from which a document is read in pieces
PACKED = 32  # times that values may be larger than their codes
Shape = tuple[int, ...]
Entries = dict[str, tuple[str, Shape, int, int]]
_BESIDE = {"label", "index", "cost", "tokens", "names.utf8", "names.offsets"}


class Held(NamedTuple):
    """The tensor of a document that its memories lie in: its name, entry of the header, how many they are, bits a memory, and
    bytes of a memory once it is unpacked."""

    name: str
    entry: tuple[str, Shape, int, int]
    count: int
    bits: int
    size: int


def pieces(path: str, how: Reading) -> Iterator[Signal] | None:
    """The batches of a file that is one large document, ours or foreign, of whole memories or of codes that are equally
    long; None for any other file."""
    if not os.path.isfile(path) or os.path.getsize(path) < LEAST // PACKED:
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
        held = _values("data", tensors[name])
    else:
        held = next((found for find in (_whole, _codes, _tokens) if (found := find(tensors, lem))), None)
        beside = [k for k in tensors if held is None or k != held.name]
        if not all(k in _BESIDE or k.startswith("ops.") for k in beside):
            return None
    if held is None or held.count * held.size < LEAST:
        return None
    return _pieces(path, begin, {k: tensors[k] for k in beside}, held, lem, how)


def _values(name: str, entry: tuple[str, Shape, int, int]) -> Held | None:
    _dtype, shape, start, stop = entry
    if len(shape) < 2 or 0 in shape:
        return None
    return Held(name, entry, shape[0], 8 * (size := (stop - start) // shape[0]), size)


def _whole(tensors: Entries, lem: dict[str, Any]) -> Held | None:
    return _values("data", tensors["data"]) if "data" in tensors and not lem.get("ops") else None


def _codes(tensors: Entries, lem: dict[str, Any]) -> Held | None:
    """Codes of one depth, of which nothing is lost: each memory begins on a byte."""
    ops = [op for op in lem.get("ops") or [] if op.get("op") == "bits"] if "codes" in tensors else []
    return _packed("codes", tensors, lem, ops[-1].get("bits") if ops else None, whole_bytes=True)


def _tokens(tensors: Entries, lem: dict[str, Any]) -> Held | None:
    return _packed("packed", tensors, lem, lem.get("depth")) if "packed" in tensors else None


def _packed(name: str, tensors: Entries, lem: dict[str, Any], depth: Any, whole_bytes: bool = False) -> Held | None:
    if "mask" in lem or not {"shape", "dtype"} <= lem.keys() or type(depth) is not int or not 1 <= depth <= MAX_BITS:
        return None
    count, elements = lem["n"], math.prod(lem["shape"])
    bits = elements * depth
    bits = 8 * ((bits + 7) // 8) if whole_bytes else bits
    if not count or tensors[name][:2] != ("U8", ((count * bits + 7) // 8,)):
        return None
    return Held(name, tensors[name], count, bits, elements * np.dtype(DTYPES[lem["dtype"]]).itemsize)


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


def _pieces(path, begin, beside, held, lem, how) -> Iterator[Signal]:
    done, total = 0, held.count
    step = how.items(held.size)
    if held.bits % 8:  # eight memories end on a whole byte
        step += -step % 8
    with open(path, "rb", buffering=0) as file:
        small = {k: rows(file, path, begin, entry) for k, entry in beside.items()}
        ends = small.get("names.offsets")
        if ends is not None:  # the names of the whole are checked, those of the parts follow
            unpack_texts(small["names.utf8"], ends, total)
        while done < total:
            count = min(step, total - done)
            part = {held.name: _read(file, path, begin, held, done, count)}
            part |= {k: v[done : done + count] for k, v in small.items() if not k.startswith("names.")}
            if ends is not None:
                here = ends[done : done + count + 1]
                part |= {"names.utf8": small["names.utf8"][here[0] : here[-1]], "names.offsets": here - here[0]}
            first = lem.get("first", 0) + lem.get("step", 1) * done
            done += count
            meta = {**lem, "n": count, "first": first, "last": done == total}
            yield from_tensors(part, meta, how.max_bytes or stream.MAX_BYTES)


def _read(file: IO[bytes], path: str, begin: int, held: Held, first: int, count: int) -> np.ndarray:
    """The part of the large tensor that some memories lie in."""
    dtype, shape, start, stop = held.entry
    if len(shape) > 1:
        return rows(file, path, begin, held.entry, first, count)
    at, end = first * held.bits // 8, ((first + count) * held.bits + 7) // 8
    return rows(file, path, begin, (dtype, (stop - start,), start, stop), at, end - at)
