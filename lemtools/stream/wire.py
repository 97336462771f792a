"""One safetensors document: its header, which is not to be trusted, and its tensors.

Source: the safetensors format description (8 bytes of header length, little-endian; a JSON header; the tensors, packed
without holes). Written here because a pipe cannot be mapped.
"""

import json
import math
from typing import Any

import numpy as np

from ..signal import DTYPES, LemError
from .source import Source

MAX_HEADER = 1 << 20


def looks_like_safetensors(head: bytes) -> bool:
    """True for the first 9 bytes of a safetensors document: a small length, then a brace."""
    return len(head) >= 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 56


class Header:
    """A checked safetensors header: `tensors` {name: (dtype, shape, begin, end)} in order, `meta`, `lem`, `size`."""

    def __init__(self, text: bytes, name: str):
        try:
            raw = json.loads(text.decode("utf-8"), object_pairs_hook=_no_twins)
        except (UnicodeDecodeError, ValueError, RecursionError) as error:
            raise LemError(f"{name}: damaged header ({str(error)[:80]})") from error
        if not isinstance(raw, dict):
            raise LemError(f"{name}: damaged header (not a JSON object)")
        meta = raw.pop("__metadata__", {})
        if not isinstance(meta, dict) or not all(isinstance(v, str) for v in meta.values()):
            raise LemError(f"{name}: damaged header (__metadata__ must map text to text)")
        self.meta, self.tensors, end = meta, {}, 0
        try:
            entries = sorted(raw.items(), key=lambda item: (item[1]["data_offsets"], item[0]))
            for key, entry in entries:
                dtype, shape, (begin, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
                numbers = [begin, stop, *shape]
                if not all(isinstance(v, int) and not isinstance(v, bool) and v >= 0 for v in numbers):
                    raise ValueError(f"tensor {key}: not a size")
                if begin != end:
                    raise ValueError(f"tensor {key}: {'overlaps' if begin < end else 'leaves a hole'}")
                if dtype not in DTYPES and dtype != "BF16":
                    raise ValueError(f"tensor {key}: unknown type {str(dtype)[:20]}")
                width = 2 if dtype == "BF16" else np.dtype(DTYPES[dtype]).itemsize
                if math.prod(shape) * width != stop - begin:
                    raise ValueError(f"tensor {key}: {stop - begin} bytes for {dtype} {shape}")
                self.tensors[key], end = (dtype, tuple(shape), begin, stop), stop
        except (KeyError, TypeError, ValueError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)[:120]
            raise LemError(f"{name}: damaged header ({reason})") from error
        self.size = end
        self.lem = None
        if "lem" in meta:
            try:
                self.lem = json.loads(meta["lem"])
            except (ValueError, RecursionError) as error:
                raise LemError(f"{name}: damaged header (lem: {str(error)[:80]})") from error
            if not isinstance(self.lem, dict):
                raise LemError(f"{name}: damaged header (lem is not an object)")
            if "n" not in self.lem and ("net" in self.lem or "settings" in self.lem):
                self.lem = None  # the record of a model, or of a run: to a reader of streams, a foreign file


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a key stands twice")
    return out


def read_header(source: Source) -> Header | None:
    """The next document's header, or None at the end of the input. Raises LemError where it is cut or damaged."""
    head = source.peek(9)
    if not head:
        return None
    if len(head) < 8:
        raise LemError(f"{source.name}: cut short in a header (byte {source.place + len(head)})")
    length = int.from_bytes(head[:8], "little")
    if length > MAX_HEADER:
        raise LemError(f"{source.name}: header of {length} bytes, {MAX_HEADER} at most; not safetensors, or damaged")
    text = source.read(8 + length)
    if len(text) < 8 + length:
        raise LemError(f"{source.name}: cut short in a header (byte {source.place})")
    header = Header(text[8:].tobytes(), source.name)
    if header.size > source.max_bytes:
        raise LemError(f"{source.name}: a document of {header.size} bytes; raise --max-bytes to read it")
    return header


def read_tensors(source: Source, header: Header) -> dict[str, np.ndarray]:
    """The tensors of the document whose header was just read; they share one buffer. BF16 becomes float32."""
    body = source.body(header.size)
    if len(body) < header.size:
        have = f"{len(body)} of {header.size} bytes of a document (byte {source.place})"
        raise LemError(f"{source.name}: cut short, {have}")
    out = {}
    for name, (dtype, shape, begin, stop) in header.tensors.items():
        try:
            out[name] = as_array(body[begin:stop], dtype, shape)
        except ValueError as error:  # beyond what numpy holds: many dimensions, or huge ones beside a zero
            raise LemError(f"{source.name}: damaged header (tensor {name}: shape)") from error
    return out


def as_array(raw: np.ndarray, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Bytes uint8 as numbers of a safetensors type; a view where they lie well. BF16 becomes float32."""
    if dtype == "BF16":
        return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
    if raw.ctypes.data % np.dtype(DTYPES[dtype]).itemsize:
        raw = np.frombuffer(raw.tobytes(), np.uint8)
    return raw.view(DTYPES[dtype]).reshape(shape)


def assemble(tensors: dict[str, tuple[str, np.ndarray]], records: dict[str, str]) -> list[Any]:
    """The buffers of one document: tensors, each with its type's name, and texts by their key of the metadata."""
    # widest types first: every tensor then begins at a multiple of its own width
    order = sorted(tensors.items(), key=lambda item: (-item[1][1].dtype.itemsize, item[0]))
    shapes = [(name, dtype, array.shape, array.nbytes) for name, (dtype, array) in order]
    bodies = (array.reshape(-1).view(np.uint8).data for _, (_, array) in order if array.size)
    return [header_bytes(shapes, records), *bodies]


def lem_record(meta: dict[str, Any]) -> dict[str, str]:
    """What a document of a stream says of itself, as the text of its metadata."""
    return {"lem": json.dumps(meta, separators=(",", ":"))}


def header_bytes(shapes: list[tuple[str, str, tuple[int, ...], int]], records: dict[str, str]) -> bytes:
    header: dict[str, Any] = {"__metadata__": records}
    begin = 0
    for name, dtype, shape, size in shapes:
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, begin + size]}
        begin += size
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-(8 + len(raw)) % 64)  # the tensors then begin at a multiple of 64
    if len(raw) > MAX_HEADER:
        raise LemError(f"a header of {len(raw)} bytes, {MAX_HEADER} at most: too many operations")
    return len(raw).to_bytes(8, "little") + raw
