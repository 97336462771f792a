"""Signals out: a stream, or one plain document."""

import itertools
from collections.abc import Iterable

import numpy as np

from ..signal import DTYPES, LemError, Signal, narrow, to_tensors
from .source import widen_pipe, write_all
from .wire import assemble, header_bytes, lem_record

_BIG = ("data", "codes", "values", "packed", "mask")  # tensors that wait outside memory


def document(signal: Signal) -> list:
    """The bytes of one document, as a list of buffers (no copy of the data is made)."""
    tensors, meta = to_tensors(signal)
    return assemble(tensors, lem_record(meta))


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
    return [header_bytes([], lem_record({"v": 1, "kind": signal.kind, "n": 0, "last": True}))]


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
        for signal in itertools.chain([first], signals):
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
                        spool = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  closed with the others at the end
                        spools[key] = [dtype, array.shape[1:], 0, spool]
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
        write_all(file, [header_bytes([e[:4] for e in entries], lem_record(meta))])
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
