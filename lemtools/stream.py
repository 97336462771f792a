"""Streams of signals through pipes: complete safetensors documents back to back, one a batch.

Source: the safetensors format description (8 bytes of header length, little-endian; a JSON header; the tensors, packed
without holes). Written here because a pipe cannot be mapped, and because a header is not to be trusted.
"""

import fcntl
import json
import math
import os
import weakref
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from .signal import DTYPES, LemError, Signal, from_tensors, narrow, to_tensors

MAX_HEADER = 1 << 20
MAX_BYTES = 1 << 34  # of one document's body, or of one media file
_STEP = 1 << 26  # how far memory is taken ahead of what has arrived
_BIG = ("data", "codes", "values", "packed", "mask")  # tensors that wait outside memory
_LARGE = 1 << 22  # smaller memory the allocator itself hands out again
_F_SETPIPE_SZ = 1031  # Linux; a larger pipe halves the number of switches between two stages


class Source:
    """Bytes of a file or pipe, to be peeked at, read exactly, or skipped; `name` is what errors call it."""

    def __init__(self, file, name: str, max_bytes: int = MAX_BYTES):
        self.file, self.name, self.max_bytes = file, name, max_bytes
        self.ahead = b""
        self.place = 0
        self.bodies: list[tuple[np.ndarray, weakref.ref]] = []  # memory of the last bodies, and who looks at it
        widen_pipe(file)

    def peek(self, n: int) -> bytes:
        """The next n bytes, fewer at the end, without taking them."""
        while len(self.ahead) < n:
            more = self.file.read(n - len(self.ahead))
            if not more:
                break
            self.ahead += more
        return self.ahead[:n]

    def readinto(self, view: memoryview) -> int:
        """Fill `view` (bytes) as far as the input goes; returns how far."""
        done = min(len(view), len(self.ahead))
        view[:done] = self.ahead[:done]
        self.ahead = self.ahead[done:]
        while done < len(view):
            got = self.file.readinto(view[done:])
            if not got:
                break
            done += got
        self.place += done
        return done

    def read(self, n: int, into: np.ndarray | None = None) -> np.ndarray:
        """n bytes as uint8 [n], or as many as there are, put `into` memory of at least n bytes where that is given.

        Else memory is taken as the bytes come, not as they are announced.
        """
        out = _room(min(n, _STEP)) if into is None else into[:n]
        have = self.readinto(memoryview(out))
        while have == len(out) < n:
            grown = _room(min(n, 2 * len(out)))
            grown[:have] = out
            out = grown
            have += self.readinto(memoryview(out)[have:])
        return out[:have]

    def body(self, n: int) -> np.ndarray:
        """As `read`; large bodies take the place of earlier ones that nobody looks at now: fresh pages cost time."""
        if n < _LARGE:
            return self.read(n)
        free = next((memory for memory, user in self.bodies if user() is None and len(memory) >= n), None)
        out = self.read(n, free)
        memory = out if free is None else free
        if len(out) < n:
            return out
        # an array on a memoryview: every view of it keeps the array itself alive, so a weak reference tells of them all
        user = np.frombuffer(memoryview(out), np.uint8)
        self.bodies = [(m, u) for m, u in self.bodies if m is not memory][-1:] + [(memory, weakref.ref(user))]
        return user

    def rest(self) -> np.ndarray:
        """Everything that is left; a LemError beyond `max_bytes`."""
        out = self.read(self.max_bytes + 1)
        if len(out) > self.max_bytes:
            raise LemError(f"{self.name}: larger than {self.max_bytes} bytes; raise --max-bytes to read it")
        return out

    def skip(self, n: int) -> int:
        """Pass over n bytes, by seeking where that is possible; returns how many there were."""
        here = min(n, len(self.ahead))
        self.ahead, n = self.ahead[here:], n - here
        try:
            at, end = self.file.tell(), os.fstat(self.file.fileno()).st_size
            gone = max(min(n, end - at), 0)
            self.file.seek(at + gone)
        except (OSError, ValueError, AttributeError):
            gone, scratch = 0, memoryview(bytearray(1 << 20))
            while gone < n:
                got = self.file.readinto(scratch[: n - gone])
                if not got:
                    break
                gone += got
        self.place += here + gone
        return here + gone


def _room(n: int) -> np.ndarray:
    """n bytes that begin at a multiple of 64: the kernel copies from a pipe to any other place 3 times slower."""
    room = np.empty(n + 63, np.uint8)
    return room[-room.ctypes.data % 64 :][:n]


def widen_pipe(file) -> None:
    try:
        fcntl.fcntl(file.fileno(), _F_SETPIPE_SZ, 1 << 20)
    except (OSError, ValueError, AttributeError):
        pass


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


def _no_twins(pairs):
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


def read(source: Source, key: str | None = None, images: Callable | None = None) -> Iterator[Signal]:
    """Yield the batches of a stream as they arrive.

    A foreign safetensors file with one float tensor [D], [N, D] or [N, L, D] is an embedding; of several, `key` picks.
    images: makes a signal of a foreign tensor of 4 dimensions, which is else not read.
    Raises LemError on an empty, cut or damaged stream, also one that ends between documents before its last one.
    """
    ours = ended = False
    if not source.peek(1):
        raise LemError(f"{source.name}: empty")
    while source.peek(1):
        if ended:
            raise LemError(f"{source.name}: goes on after its last document")
        header = read_header(source)
        if header.lem is not None:
            ours, ended = True, header.lem.get("last") is True
        signal = _signal(source, header, key, images)
        if signal is not None:
            yield signal
        del signal  # its memory is free for the next
    if ours and not ended:
        raise LemError(f"{source.name}: the stream ends without its last document; an earlier stage was cut off")


def _signal(source: Source, header: Header, key: str | None, images) -> Signal | None:
    tensors, lem = read_tensors(source, header), header.lem
    if lem is not None and lem.get("n") == 0:
        return None
    try:
        return _foreign(tensors, key, images) if lem is None else from_tensors(tensors, lem, source.max_bytes)
    except LemError as error:
        raise LemError(str(error) if str(error).startswith(source.name) else f"{source.name}: {error}") from error


def _foreign(tensors: dict[str, np.ndarray], key: str | None, images) -> Signal:
    most = 3 if images is None else 4
    floats = [k for k, v in tensors.items() if v.dtype.kind == "f" and 1 <= v.ndim <= most]
    listed = ", ".join(floats[:8]) + (", …" if len(floats) > 8 else "")
    if not floats:
        raise LemError(f"no float tensor of 1 to {most} dimensions to read")
    if key is None and len(floats) > 1:
        raise LemError(f"several float tensors ({listed}); pick one with --key")
    if key is not None and key not in floats:
        raise LemError(f"no float tensor {key!r} of 1 to {most} dimensions; there is {listed}")
    array = tensors[key or floats[0]]
    return images(array) if array.ndim == 4 else Signal("embedding", np.atleast_2d(array))


def document(signal: Signal) -> list:
    """The bytes of one document, as a list of buffers (no copy of the data is made)."""
    return _assemble(*to_tensors(signal))


def _assemble(tensors: dict[str, tuple[str, np.ndarray]], meta: dict) -> list:
    # widest types first: every tensor then begins at a multiple of its own width
    order = sorted(tensors.items(), key=lambda item: (-item[1][1].dtype.itemsize, item[0]))
    shapes = [(name, dtype, array.shape, array.nbytes) for name, (dtype, array) in order]
    return [_header(shapes, meta), *(memoryview(a.reshape(-1).view(np.uint8)) for _, (_, a) in order if a.size)]


def _header(shapes: list[tuple], meta: dict) -> bytes:
    text = json.dumps(meta, separators=(",", ":"))
    header, begin = {"__metadata__": {"lem": text}}, 0
    for name, dtype, shape, size in shapes:
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, begin + size]}
        begin += size
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-(8 + len(raw)) % 64)  # the tensors then begin at a multiple of 64
    if len(raw) > MAX_HEADER:
        raise LemError(f"a header of {len(raw)} bytes, {MAX_HEADER} at most: too many operations")
    return len(raw).to_bytes(8, "little") + raw


def write_all(file, buffers: Iterable) -> None:
    """Write every buffer whole: a pipe or terminal may take less than it is given."""
    for buffer in buffers:
        view = memoryview(buffer)
        while len(view):
            view = view[file.write(view) :]


def write(signals: Iterable[Signal], file) -> None:
    """Write a stream to an unbuffered binary file, every batch at once as it comes.

    A zero-item document closes it unless the last batch says that it is the last. Nothing is written for no batch.
    """
    widen_pipe(file)
    signal = None
    for signal in signals:
        write_all(file, document(signal))
    if signal is not None and not signal.last:
        write_all(file, _end(signal))


def _end(signal: Signal) -> list[bytes]:
    """The zero-item document that closes a stream."""
    return [_header([], {"v": 1, "kind": signal.kind, "n": 0, "last": True})]


def write_one(signals: Iterable[Signal], file, folder: str | None = None) -> None:
    """Write all batches as one plain safetensors document; raises LemError where they do not fit together.

    The large tensors wait in unnamed temporary files in `folder` until their sizes are known, so memory stays bounded.
    """
    signals = iter(signals)
    first = next(signals, None)
    if first is None:
        return
    if first.last:
        write_all(file, document(first))
        return
    import tempfile

    common, spools, small, tail = None, {}, {}, (0, 0)
    try:
        for signal in _chain(first, signals):
            if not len(signal):
                continue
            tensors, meta = to_tensors(signal)
            n = meta.pop("n")
            for key in ("first", "step", "last"):
                meta.pop(key, None)
            tensors["index"] = ("I64", signal.index)
            kind = (meta, {k: (d, a.shape[1:]) for k, (d, a) in tensors.items() if k in _BIG}, set(tensors))
            if common is None:
                common = kind
            elif kind != common:
                raise LemError(
                    "items of different shapes or kinds do not fit one file; write to a folder (-o DIR/) or stdout"
                )
            for key, (dtype, array) in tensors.items():
                if key in _BIG:
                    if key not in spools:
                        spools[key] = [dtype, array.shape[1:], 0, tempfile.TemporaryFile(dir=folder)]
                    spool = spools[key]
                    if key == "packed":
                        array, tail = _joined(tail, array, signal.data.size * signal.depth)
                    spool[2] += len(array)
                    write_all(spool[3], [memoryview(array.reshape(-1).view(np.uint8))] if array.size else [])
                elif key == "names.offsets":
                    shift = small[key][-1][-1] if key in small else 0
                    small.setdefault(key, [np.zeros(1, np.int64)]).append(array[1:] + shift)
                else:
                    small.setdefault(key, []).append(array)
        if common is None:
            write_all(file, _end(first))
            return
        if tail[1]:
            spools["packed"][2] += 1
            write_all(spools["packed"][3], [bytes([tail[0]])])
        together = {k: np.concatenate(v) for k, v in small.items()}
        n = len(together["index"])
        template = Signal("tokens", np.zeros((n, 1), np.uint8), index=together.pop("index"), last=True)
        placed, position = to_tensors(template)
        meta = common[0] | {k: position[k] for k in ("n", "first", "step", "last") if k in position}
        tensors = {k: _named(narrow(v) if k.startswith("ops.") else v) for k, v in together.items()}
        tensors |= {k: v for k, v in placed.items() if k == "index"}
        entries = [(k, d, a.shape, a.nbytes, a) for k, (d, a) in tensors.items()]
        for key, (dtype, shape, rows, spool) in spools.items():
            spool.flush()
            entries.append((key, dtype, (rows, *shape), spool.tell(), spool))
        # BF16, which numpy lacks, is in no table
        entries.sort(key=lambda e: (-np.dtype(DTYPES.get(e[1], "<u2")).itemsize, e[0]))
        write_all(file, [_header([e[:4] for e in entries], meta)])
        for *_, body in entries:
            if isinstance(body, np.ndarray):
                body = np.ascontiguousarray(body).reshape(-1)
                write_all(file, [memoryview(body.view(np.uint8))] if body.size else [])
            else:
                body.seek(0)
                while block := body.read(1 << 22):
                    write_all(file, [block])
    finally:
        for *_, spool in spools.values():
            spool.close()


def _joined(tail: tuple[int, int], packed: np.ndarray, bits: int) -> tuple[np.ndarray, tuple[int, int]]:
    """(whole bytes, new tail) of the bits left before, (their byte, how many), and the first `bits` of packed uint8."""
    last, had = tail
    if had:
        ahead = np.append(packed, 0).astype(np.uint8)
        packed = ahead >> had
        packed[1:] |= ahead[:-1] << (8 - had)
        packed[0] |= last
    whole, left = divmod(had + bits, 8)
    return packed[:whole], (int(packed[whole]) if left else 0, left)


def _named(array: np.ndarray) -> tuple[str, np.ndarray]:
    return next(k for k, v in DTYPES.items() if np.dtype(v) == array.dtype), array


def _chain(first, rest):
    yield first
    yield from rest
