"""Whole memories in one large safetensors document, read a batch at a time: memory does not grow with their number."""

import os
from collections.abc import Iterator

from .. import stream
from ..signal import Signal, from_tensors
from .how import Reading

LEAST = 1 << 26  # bytes from which a document is read in pieces
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
        if source.place + header.size != os.path.getsize(path):
            return None
        begin = source.place
    tensors, lem = header.tensors, header.lem
    if lem is None:
        floats = [k for k, (d, s, *_) in tensors.items() if d in ("BF16", "F16", "F32", "F64") and 1 <= len(s) <= 3]
        name = how.key if how.key in floats else floats[0] if how.key is None and len(floats) == 1 else None
        if name is None:
            return None  # an ordinary reading says what is wrong
        beside, lem = [], {"v": 1, "kind": "embedding", "n": tensors[name][1][0]}
    else:
        name, beside = "data", [k for k in tensors if k != "data"]
        if name not in tensors or lem.get("ops") or not _BESIDE.issuperset(beside):
            return None
    shape = tensors[name][1]
    if len(shape) < 2 or 0 in shape or lem.get("n") != shape[0]:
        return None
    rows = {k: (tensors[k][1] + (0,))[0] - (k == "names.offsets") for k in beside if k != "names.utf8"}
    if set(rows.values()) - {shape[0]} or any(type(lem.get(k, 0)) is not int for k in ("first", "step")):
        return None
    return _pieces(path, begin, {k: tensors[k] for k in beside}, tensors[name], lem, how)


def _pieces(path, begin, beside, large, lem, how) -> Iterator[Signal]:
    _dtype, shape, start, stop = large
    row, rows = (stop - start) // shape[0], 0
    with open(path, "rb", buffering=0) as file:

        def tensor(entry, first=0, count=None):
            dtype, shape, start, stop = entry
            count = shape[0] - first if count is None else count
            width = (stop - start) // max(shape[0], 1)
            file.seek(begin + start + first * width)
            raw = stream.Source(file, path, how.max_bytes).read(count * width)
            return stream.as_array(raw, dtype, (count, *shape[1:]))

        small = {k: tensor(entry) for k, entry in beside.items()}
        while rows < shape[0]:
            count = min(how.items(row), shape[0] - rows)
            part = {"data": tensor(large, rows, count)}
            part |= {k: v[rows : rows + count] for k, v in small.items() if not k.startswith("names.")}
            if "names.offsets" in small:
                ends = small["names.offsets"][rows : rows + count + 1]
                part |= {"names.utf8": small["names.utf8"][ends[0] : ends[-1]], "names.offsets": ends - ends[0]}
            first = lem.get("first", 0) + lem.get("step", 1) * rows
            rows += count
            meta = {**lem, "n": count, "first": first, "last": rows == shape[0]}
            yield from_tensors(part, meta, how.max_bytes or stream.MAX_BYTES)
