"""One safetensors document: its header, which is not to be trusted, and its tensors.

Source: the safetensors format description (8 bytes of header length, little-endian; a JSON header; the tensors, packed
without holes). Written here because a pipe cannot be mapped.
"""

import json
import math
from typing import Any

import numpy as np

from ..signal import DTYPES, LemError, check_document
from ..signal.types import SMALL, bits_of, widened, width
from .source import Source

MAX_HEADER = 100_000_000  # bytes, as the safetensors library has it


def looks_like_safetensors(head: bytes) -> bool:
    """True for the first 9 bytes of a safetensors document: a small length, then a brace."""
    return len(head) >= 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 56


class Header:
    """A checked safetensors header: `tensors` {name: (dtype, shape, begin, end)} in order, `meta`, `lem`, `size`."""

    def __init__(self, text: bytes, name: str, own: bool = True):
        try:
            raw = parsed(text.decode("utf-8"))
        except ValueError as error:
            raise LemError(f"{name}: damaged header ({str(error)[:80]})") from error
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
                if (bits := bits_of(dtype)) is None:
                    raise ValueError(f"tensor {key}: unknown type {str(dtype)[:20]}")
                if math.prod(shape) * bits != 8 * (stop - begin):
                    raise ValueError(f"tensor {key}: {stop - begin} bytes for {dtype} {shape}")
                self.tensors[key], end = (dtype, tuple(shape), begin, stop), stop
        except (KeyError, TypeError, ValueError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)[:120]
            raise LemError(f"{name}: damaged header ({reason})") from error
        self.size = end
        self.lem: dict[str, Any] | None = None
        if own and "lem" in meta:
            try:
                self.lem = parsed(meta["lem"])
                if "n" not in self.lem and ("net" in self.lem or "settings" in self.lem):
                    self.lem = None  # the record of a model, or of a run: to a reader of streams, a foreign file
                else:
                    check_document(self.lem, self.found)
            except LemError as error:
                raise LemError(f"{name}: {error}") from error
            except ValueError as error:
                raise LemError(f"{name}: damaged header (lem: {str(error)[:80]})") from error

    @property
    def found(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """(type, shape) of the tensors by name."""
        return {name: (dtype, shape) for name, (dtype, shape, _, _) in self.tensors.items()}


def parsed(text: str) -> dict[str, Any]:
    """A JSON object of a file. ValueError for anything else, for keys that stand twice and for what is nested too deep."""
    try:
        value = json.loads(text, object_pairs_hook=_no_twins)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a key stands twice")
    return out


def read_header(source: Source, own: bool = True) -> Header | None:
    """The next document's header, or None at the end of the input. Raises LemError where it is cut or damaged.

    own: a record under `lem` is that of a document of a stream, and checked as such."""
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
    header = Header(text[8:].tobytes(), source.name, own)
    if header.size > source.max_bytes:
        raise LemError(f"{source.name}: a document of {header.size} bytes; raise --max-bytes to read it")
    return header


def read_body(source: Source, header: Header) -> np.ndarray:
    """The bytes, uint8, of all tensors of the document whose header was just read."""
    body = source.body(header.size)
    if len(body) < header.size:
        have = f"{len(body)} of {header.size} bytes of a document (byte {source.place})"
        raise LemError(f"{source.name}: cut short, {have}")
    return body


def read_tensors(source: Source, header: Header, names: list[str] | None = None) -> dict[str, np.ndarray]:
    """The tensors (of these names; None: all) of the document whose header was just read; they share one buffer. Floats
    that numpy lacks become float32."""
    return arrays_of(read_body(source, header), header, source.name, names)


def arrays_of(body: np.ndarray, header: Header, called: str, names: list[str] | None = None) -> dict[str, np.ndarray]:
    """The tensors in a body. called: the file, for errors."""
    out = {}
    for name in header.tensors if names is None else names:
        dtype, shape, begin, stop = header.tensors[name]
        try:
            out[name] = as_array(body[begin:stop], dtype, shape)
        except LemError as error:
            raise LemError(f"{called}: tensor {name}: {error}") from error
        except ValueError as error:  # beyond what numpy holds: many dimensions, or huge ones beside a zero
            raise LemError(f"{called}: damaged header (tensor {name}: shape)") from error
    return out


def as_array(raw: np.ndarray, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Bytes uint8 as numbers of a safetensors type; a view where they lie well. Floats that numpy lacks become float32.

    Raises LemError for the types that are known by name alone, ValueError for a shape that numpy does not hold.
    """
    if dtype not in DTYPES and dtype not in SMALL:
        raise LemError(unread(dtype))
    if raw.ctypes.data % width(dtype):
        raw = np.frombuffer(raw.tobytes(), np.uint8)
    return (widened(raw, dtype) if dtype in SMALL else raw.view(DTYPES[dtype])).reshape(shape)


def unread(dtype: str) -> str:
    """Why values of a type that is known by name alone are not read, and the way out."""
    way = "save the real and the imaginary part" if dtype == "C64" else "save them as float32"
    return f"values of type {dtype} are not read; {way}"


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
