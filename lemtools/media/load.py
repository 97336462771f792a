"""From paths to batches: finding files, telling their kind, numbering items, sharding, batching."""

import functools
import glob
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from .. import stream
from ..signal import DTYPES, LemError, Signal, unpack_names
from . import arrays, images, sounds
from .large import pieces

BATCH_BYTES = 1 << 24  # a batch of the library's own choosing holds about this much
SAMPLES = {"kodim23": "kodim23-384x256.png", "rooster": "rooster.flac"}

# (how its first 16 bytes look, format, reader family); the first that fits
_MAGIC = [
    (re.compile(look, re.DOTALL), form, family)
    for look, form, family in (
        (rb"\x89PNG\r\n\x1a\n", "PNG", "image"),
        (rb"\xff\xd8\xff", "JPEG", "image"),
        (rb"RIFF....WEBP", "WEBP", "image"),
        (rb"P[56]\s+[\d#]", "PPM", "image"),
        (rb"II\*\0|MM\0\*", "TIFF", "image"),
        (rb"(RIF[FX]|RF64)....WAVE", "WAV", "sound"),
        (rb"fLaC", "FLAC", "sound"),
        (rb"OggS", "OGG", "sound"),
        (rb"\x93NUMPY", "NPY", "npy"),
        (rb"PK\x03\x04", "NPZ", "npz"),
        (rb"\x1f\x8b", "GZIP", "gzip"),
        (rb"\0\0[\x08\x09\x0b-\x0e][\x01-\x04]", "IDX", "idx"),
    )
]
# a file of such a name is never passed over, whatever it holds: an empty or a wrong one is told
_MEDIA = frozenset("png jpg jpeg webp ppm pgm tif tiff wav flac ogg npy npz gz safetensors".split())


def sniff(head: bytes) -> tuple[str, str]:
    """(format, family) of an input by its first 16 bytes. Family 'text' is what nothing else fits and UTF-8 allows."""
    if stream.looks_like_safetensors(head):
        return "safetensors", "stream"
    return next(((form, family) for look, form, family in _MAGIC if look.match(head)), ("TXT", "text"))


def expand(paths: Iterable[str], report: Callable[[LemError], None] | None = None) -> Iterator[tuple[str, str]]:
    """(path, name) of every input file. Folders are walked in sorted order, patterns the shell left alone are expanded.

    In a folder, hidden files are passed over, and text files too where there is anything else (a SOURCE.txt).
    report: called with the error of a pattern or folder that holds nothing, else it is raised.
    """
    for path in paths:
        try:
            files = list(_files(path))
        except LemError as error:
            if report is None:
                raise
            report(error)
            continue
        yield from files


def _files(path: str) -> Iterator[tuple[str, str]]:
    if path != "-" and not os.path.lexists(path) and glob.has_magic(path):
        found = sorted(glob.glob(path))
        if not found:
            raise LemError(f"{path}: nothing matches")
        for each in found:
            yield from _files(each)
    elif path != "-" and os.path.isdir(path):
        files = sorted(p for p in Path(path).rglob("*") if p.is_file() and not _hidden(p.relative_to(path)))
        texts = {p for p in files if _is_text(p)}
        files = [p for p in files if p not in texts] or files
        if not files:
            raise LemError(f"{path}: a folder without files")
        for file in files:
            yield str(file), file.relative_to(path).as_posix()
    else:
        yield path, os.path.basename(path)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _is_text(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            head = file.read(16)
    except OSError:
        return False
    return path.suffix[1:].lower() not in _MEDIA and b"\0" not in head and sniff(head)[1] == "text"


def inputs_named(paths: Iterable[str], files_from: str | None = None) -> list[str]:
    """The inputs of a command: its arguments, then the lines of `files_from` ('-' is stdin)."""
    named = list(paths)
    if files_from:
        with open(0 if files_from == "-" else files_from, "rb", closefd=files_from != "-") as file:
            lines = [os.fsdecode(line.rstrip(b"\n")) for line in file if line.strip()]
        if not lines:
            raise LemError(f"{'standard input' if files_from == '-' else files_from}: names no input")
        named += lines
    return named


def sample(name: str) -> str:
    """Path of a memory that comes with the package: a key of SAMPLES."""
    return str(Path(__file__).parent.parent / "data" / SAMPLES[name])


def load(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    batch: int | None = None,
    key: str | None = None,
    max_bytes: int = stream.MAX_BYTES,
    wanted: Callable[[int, str | None], bool] | None = None,
    report: Callable[[LemError | OSError], None] | None = None,
    coordinates: bool = False,
) -> Iterator[Signal]:
    """Yield the memories or fragments in files, folders, patterns and '-' (stdin) as batches of one shape and kind.

    batch: items a batch; None: about 16 MiB. key: which tensor or array of a foreign file. wanted(index, name): False
    leaves an item out (shards, existing outputs). report: where there are several inputs, called with the error of a
    bad one, then the next one is read; the error of a lone input is raised. Values that are NaN or infinite are an
    error, and so is an input without items. A single stream keeps the numbering of its items; otherwise items are
    numbered in the order read. coordinates: images of floats in a foreign file (npy, npz, safetensors) are in
    coordinates x = 2 v - 1 and of any size, as noisy ones are; their values v are what is yielded.
    """
    paths = [os.fspath(path) for path in ([paths] if isinstance(paths, str | os.PathLike) else paths)]
    files = list(expand(paths, report if len(paths) > 1 else None))
    if len(paths) == len(files) == 1:
        report = None
    size_of = (
        (lambda item_bytes: batch)
        if batch
        else (lambda item_bytes: max(1, min(1024, BATCH_BYTES // max(item_bytes, 1))))
    )
    read = functools.partial(_read, key=key, size_of=size_of, coordinates=coordinates)
    large = functools.partial(pieces, key=key, size_of=size_of, max_bytes=max_bytes)
    yield from _batches(_items(files, max_bytes, read, large, wanted or (lambda i, n: True), report), size_of)


def _items(files, max_bytes, read, large, wanted, report) -> Iterator[Signal]:
    count = 0
    for place, (path, name) in enumerate(files):
        try:
            before = count
            signals = large(path)
            for signal in _open(path, name, max_bytes, read) if signals is None else signals:
                if len(files) > 1 or not signal.history:  # a stream of ours, alone, keeps its numbering
                    signal.index = count + np.arange(len(signal), dtype=np.int64)
                _check_finite(signal.data, _shown(path), count - before)
                count += len(signal)
                keep = [wanted(int(i), signal.names and signal.names[k]) for k, i in enumerate(signal.index)]
                last = bool(signal.last) and place == len(files) - 1
                if not all(keep):
                    signal = signal.take(np.flatnonzero(keep))
                signal.last = last or None
                if len(signal):
                    yield signal
            if count == before:
                raise LemError(f"{_shown(path)}: holds no items")
        except (LemError, OSError) as error:
            if report is None:
                raise
            report(error)


def _shown(path: str) -> str:
    return "standard input" if path == "-" else path


def _open(path: str, name: str, max_bytes, read) -> Iterator[Signal]:
    shown = _shown(path)
    try:
        with open(0 if path == "-" else path, "rb", buffering=0, closefd=path != "-") as file:
            source = stream.Source(file, shown, max_bytes)
            if not source.peek(1):
                raise LemError(f"{shown}: empty")
            yield from read(source, None if path == "-" else [name])
    except LemError as error:
        if shown in str(error):
            raise
        raise LemError(f"{shown}: {error}") from error
    except OSError as error:
        error.filename = shown
        raise
    except MemoryError as error:
        raise LemError(f"{shown}: too large for the memory that there is") from error


def _read(source: stream.Source, names: list[str] | None, key, size_of, coordinates) -> Iterator[Signal]:
    form, family = sniff(source.peek(16))
    if family == "gzip":
        source = arrays.unzip(source)
        form, family = sniff(source.peek(16))
        if family == "gzip" or not source.peek(1):
            raise LemError(
                f"{source.name}: a gzip {'in a gzip' if family == 'gzip' else 'of nothing'}; unpack it first"
            )
    if family == "stream":
        images_too = functools.partial(arrays.as_signal, name=source.name, coordinates=True) if coordinates else None
        yield from stream.read(source, key, images_too)
    elif family == "image" and form == "PNG":
        more = True
        while more:
            signal = images.read(source, form)
            more = bool(source.peek(1))
            if more and sniff(source.peek(16))[0] != "PNG":
                raise LemError(f"{source.name}: goes on after a PNG with what is no PNG")
            yield replace(signal, names=names, last=not more)
    elif family == "idx":
        yield from arrays.read_idx(source, size_of)
    elif family == "npy":
        yield from arrays.read_npy(source, size_of, coordinates)
    elif family == "npz":
        yield from arrays.read_npz(source, key, size_of, coordinates)
    else:
        signal = {"image": images.read, "sound": sounds.read, "text": _text}[family](source, form)
        yield replace(signal, names=names, last=True)


def _text(source: stream.Source, form: str) -> Signal:
    raw = source.rest()
    try:
        if b"\0" in raw[:4096].tobytes():
            raise ValueError
        raw.tobytes().decode("utf-8")
    except ValueError as error:
        known = ", ".join(form for _, form, _ in _MAGIC if form != "GZIP")
        raise LemError(f"{source.name}: not a known format ({known}, safetensors, UTF-8 text)") from error
    return Signal("tokens", raw[None])


def _check_finite(data: np.ndarray, path: str, first: int) -> None:
    if data.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            if not np.isfinite(data.sum(dtype=None)) and not np.isfinite(data).all():  # the sum is the quick look
                bad = first + int(np.flatnonzero(~np.isfinite(data.reshape(len(data), -1)).all(axis=1))[0])
                raise LemError(f"{path}: NaN or infinite values (item {bad}); mend or drop that item")


def _alike(a: Signal, b: Signal) -> bool:
    """Whole memories of one shape, which may share a batch."""
    return all(not s.ops and not s.history and s.cost is None for s in (a, b)) and a.unlike(b) is None


def _batches(items: Iterator[Signal], size_of) -> Iterator[Signal]:
    """Put single whole memories of one shape together; everything else goes through as it is."""
    waiting: list[Signal] = []
    for signal in items:
        room = size_of(signal.data.nbytes // max(len(signal), 1))
        if waiting and not (_alike(waiting[0], signal) and sum(map(len, waiting)) + len(signal) <= room):
            yield Signal.concat(waiting)
            waiting = []
        waiting.append(signal)
        if sum(map(len, waiting)) >= room or signal.last or signal.history:
            yield Signal.concat(waiting)
            waiting = []
    if waiting:
        yield Signal.concat(waiting)


def store(paths: list[str], key: str | None = None, max_bytes: int = stream.MAX_BYTES) -> np.ndarray:
    """All memories of the inputs as one array [N, ...item], uint8 or float, for those who look up.

    A lone .npy or one-document safetensors file is mapped, not read: a store of a million memories then needs no memory
    of its own. Raises LemError for memories of several shapes or kinds, and for a fragment.
    """
    if len(paths) == 1 and (signal := mapped(paths[0], key)) is not None:
        return signal.data
    batches, kinds = [], set()
    for signal in load(paths, key=key, max_bytes=max_bytes):
        if signal.ops:
            raise LemError(f"{paths[0]}: fragments; a store holds whole memories")
        batches.append(signal.data)
        kinds.add((signal.kind, signal.data.dtype.kind, *signal.data.shape[1:]))
        if len(kinds) > 1:
            raise LemError(f"{', '.join(paths)}: memories of several shapes or kinds; a store holds one")
    if not batches:
        raise LemError(f"{', '.join(paths)}: no memories")
    return np.concatenate(batches) if len(batches) > 1 else batches[0]


def mapped(path: str, key: str | None = None) -> Signal | None:
    """The whole memories of a lone .npy or one-document safetensors file, `data` mapped; None for any other file.

    Raises LemError for values that are NaN or infinite.
    """
    signal = _mapped(path, key) if os.path.isfile(path) else None
    if signal is not None:
        rows = max(1, BATCH_BYTES // max(signal.data[:1].nbytes, 1))
        for start in range(0, len(signal), rows):
            _check_finite(signal.data[start : start + rows], path, start)
    return signal


def _mapped(path: str, key: str | None) -> Signal | None:
    with open(path, "rb", buffering=0) as file:
        source = stream.Source(file, path)
        _form, family = sniff(source.peek(16))
        if family == "npy":
            shape, fortran, dtype = arrays.npy_header(source)
            begin, numbers = source.place, dtype.kind in "fiu" and dtype.isnative
            whole = numbers and len(shape) > 1 and not fortran and min(shape) > 0
            if not whole or begin + math.prod(shape) * dtype.itemsize != os.path.getsize(path):
                return None  # an ordinary reading tells what is wrong
            return arrays.as_signal(np.memmap(path, dtype, "r", begin, shape), path)
        if family != "stream":
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
        told = [k for k in ("label", "names.utf8", "names.offsets") if header.lem and k in header.tensors]
        beside = {k: np.array(array(k)) for k in told}
        signal = Signal((header.lem or {}).get("kind", "embedding"), array(names[0]), label=beside.get("label"))
        if "names.offsets" in beside:
            signal.names = unpack_names(beside["names.utf8"], beside["names.offsets"], len(signal))
        return signal
