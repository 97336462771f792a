"""Signals out: a stream, or one plain document."""

import io
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import IO, Any

import numpy as np

from ..signal import LemError, Signal, form_of, narrow, to_tensors
from ..signal.tensors import LARGE, OFFSETS, Meta, named_tensor, pack_index
from ..signal.types import width
from .source import widen_pipe, write_all
from .wire import assemble, header_bytes, lem_record

_BLOCK = 1 << 22  # bytes copied at a time


def document(signal: Signal) -> list[Any]:
    """The bytes of one document, as a list of buffers (no copy of the data is made)."""
    tensors, meta = to_tensors(signal)
    return assemble(tensors, lem_record(meta))


def write(signals: Iterable[Signal], file: IO[bytes]) -> None:
    """Write a stream to an unbuffered binary file, every batch at once as it comes.

    A zero-item document closes it unless the last batch says that it is the last, which no other one does (see
    `_ending`). Nothing is written for no batch.
    """
    widen_pipe(file)
    signal = None
    for signal in _ending(signals, file):
        write_all(file, document(signal))
    if signal is not None and not signal.last:
        write_all(file, end(signal.kind))


def _ending(signals: Iterable[Signal], file: IO[bytes]) -> Iterator[Signal]:
    """The batches, of which only the final one says that it is the last.

    A batch that says so waits until it is known whether another one follows; but not on its way into a pipe, whose reader
    may be what the next one comes from. Raises LemError where one follows there.
    """
    waits, held = isinstance(signals, Sequence) or not _is_pipe(file), None
    for signal in signals:
        if held is not None and not waits:
            raise LemError("a batch follows one that says it is the last; set `last` of all but the final one to None")
        if held is not None:
            yield replace(held, last=None)
        held = signal if signal.last else None
        if not (held and waits):
            yield signal
    if held is not None and waits:
        yield held


def _is_pipe(file: IO[bytes]) -> bool:
    """Whether somebody may read what is written before all of it is there."""
    try:
        return not stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except (AttributeError, io.UnsupportedOperation):  # in memory
        return False


def end(kind: str) -> list[bytes]:
    """The zero-item document that closes a stream."""
    return [header_bytes([], lem_record({"v": 1, "kind": kind, "n": 0, "last": True}))]


def write_one(signals: Iterable[Signal], file: IO[bytes], folder: str | None = None, several: bool = False) -> int:
    """Write all batches as one plain safetensors document; returns the number of documents.

    Where a batch does not fit to those before it (another shape, kind or loss): a LemError; if `several`, the next
    document of a stream begins. The large tensors wait in unnamed temporary files in `folder` until their sizes are
    known, so memory stays bounded.
    """
    count, waiting, first = 0, _Waiting(folder), None
    try:
        for signal in _ending(signals, file):
            if first is None and signal.last:
                write_all(file, document(signal))
                count = 1
                continue
            first = first or signal
            if not len(signal):
                continue
            tensors, meta = to_tensors(signal)
            if not waiting.takes(tensors, meta):
                if not several:
                    raise LemError(
                        "items of different shapes or kinds do not fit one file; write to a folder (-o DIR/) or stdout"
                    )
                count += waiting.send(file, last=False)
            waiting.add(signal, tensors, meta)
        if waiting.alike is not None:
            return count + waiting.send(file, last=True)
        if first is not None:
            write_all(file, end(first.kind))
        return count or int(first is not None)
    finally:
        waiting.close()


class _Waiting:
    """Batches that become one document."""

    def __init__(self, folder: str | None):
        self.folder = folder
        self.clear()

    def clear(self) -> None:
        self.alike: tuple[Any, ...] | None = None
        self.large: dict[str, _Spool] = {}
        self.small: dict[str, list[np.ndarray]] = {}

    def takes(self, tensors: dict[str, tuple[str, np.ndarray]], meta: Meta) -> bool:
        """Whether a batch fits to those that wait; the first one does."""
        return self.alike in (None, _alike(tensors, meta))

    def add(self, signal: Signal, tensors: dict[str, tuple[str, np.ndarray]], meta: Meta) -> None:
        self.alike, form = _alike(tensors, meta), form_of(signal)
        for name, (dtype, array) in (tensors | {"index": ("I64", signal.index)}).items():
            if name in LARGE:
                if name not in self.large:
                    self.large[name] = _Spool(dtype, array.shape[1:], self.folder)
                self.large[name].add(array, form.bits(signal) if form.bits and name == form.tensor else None)
            elif name in OFFSETS:
                shift = self.small[name][-1][-1] if name in self.small else 0
                self.small.setdefault(name, [np.zeros(1, np.int64)]).append(array[1:] + shift)
            else:
                self.small.setdefault(name, []).append(array)

    def send(self, file: IO[bytes], last: bool) -> int:
        """Write the document and forget its batches; returns the number of documents, 1."""
        assert self.alike is not None
        together = {name: np.concatenate(parts) for name, parts in self.small.items()}
        index = together.pop("index")
        apart, place = pack_index(index)
        meta = self.alike[0] | {"n": len(index)} | place | ({"last": True} if last else {})
        together = {k: narrow(v) if k.startswith("ops.") else v for k, v in together.items()} | apart
        bodies: dict[str, _Spool | np.ndarray] = {}
        shapes = []
        for name, (dtype, array) in ((k, named_tensor(v)) for k, v in together.items()):
            bodies[name] = array
            shapes.append((name, dtype, array.shape, array.nbytes))
        for name, spool in self.large.items():
            bodies[name] = spool
            shapes.append((name, spool.dtype, *spool.end()))
        shapes.sort(key=lambda entry: (-width(entry[1]), entry[0]))
        write_all(file, [header_bytes(shapes, lem_record(meta))])
        for name, *_ in shapes:
            body = bodies[name]
            write_all(file, body.blocks() if isinstance(body, _Spool) else [_bytes(body)])
        self.close()
        self.clear()
        return 1

    def close(self) -> None:
        for spool in self.large.values():
            spool.file.close()


def _alike(tensors: dict[str, tuple[str, np.ndarray]], meta: Meta) -> tuple[Any, ...]:
    """What batches of one document have in common: the types of their tensors, too, and the shapes of their items."""
    meta = {key: value for key, value in meta.items() if key not in ("n", "first", "step", "last")}
    shapes = {
        name: (_kept(name, dtype), array.shape[1:]) for name, (dtype, array) in tensors.items() if name != "index"
    }
    return meta, shapes


def _kept(name: str, dtype: str) -> str:
    """The type that a tensor keeps beside others: floats of operations are narrowed once all are together."""
    return "F16" if name.startswith("ops.") and dtype == "F32" else dtype


class _Spool:
    """A large tensor that waits in a file: rows of `shape`, or bits that go on where those of the last batch ended."""

    def __init__(self, dtype: str, shape: tuple[int, ...], folder: str | None):
        self.dtype, self.shape, self.rows, self.tail = dtype, shape, 0, (0, 0)
        import tempfile  # it takes as long to load as the rest of this room

        self.file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  closed by whoever holds it

    def add(self, array: np.ndarray, bits: int | None) -> None:
        if bits is not None:
            array, self.tail = _joined(self.tail, array, bits)
        self.rows += len(array)
        write_all(self.file, [_bytes(array)])

    def end(self) -> tuple[tuple[int, ...], int]:
        """(shape, bytes) of the whole."""
        byte, left = self.tail
        if left:
            self.add(np.array([byte], np.uint8), None)
        self.file.flush()
        return (self.rows, *self.shape), self.file.tell()

    def blocks(self) -> Iterator[bytes]:
        self.file.seek(0)
        return iter(lambda: self.file.read(_BLOCK), b"")


def _bytes(array: np.ndarray) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data if array.size else memoryview(b"")


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
