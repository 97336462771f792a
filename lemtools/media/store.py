"""Whole memories at once, left on disk where that is possible."""

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import chain
from typing import Any, cast

import numpy as np

from .. import stream
from ..signal import DTYPES, LemError, Signal, from_tensors, written
from ..transforms.history import apart
from . import arrays
from .find import sniff
from .how import BATCH_BYTES, Reading, check_finite
from .kept import kept
from .labels import Classes
from .large import rows
from .load import load


def store(
    paths: list[str],
    key: str | None = None,
    how: Reading | None = None,
    called: str = "--key",
    fragments: bool = False,
    coded: bool = False,
    **options,
) -> np.ndarray:
    """All memories of the inputs as one array [N, ...item], uint8 or float, for those who look up.

    A lone .npy or one-document safetensors file stays on disk (a stream.OnDisk, which reads rows as they are asked
    for), however many memories it holds. called: the option that names the key, in errors. fragments: they may be
    fragments, which are decoded when they are asked for (a kept.Kept); coded: they are to be decoded further, so that
    all of them are kept so. Raises LemError for memories of several shapes or kinds, and for a fragment.
    """
    how = replace(how or Reading(), key=key, **options)
    try:
        if coded:
            return cast(Any, kept(load(paths, how), ", ".join(paths)))
        return _whole(paths, how, fragments)
    except LemError as error:
        raise LemError(str(error).replace("pick one with --key", f"pick one with {called}")) from error


class Sequences(list):
    """Rows of tokens [n] of any length. kinds: as many different ones as their history says there are; 0: it does not."""

    kinds = 0


def sequences(paths: list[str], key: str | None = None, how: Reading | None = None) -> Sequences:
    """All texts or rows of tokens of the inputs. Raises LemError for other kinds of memories, and for a fragment."""
    found, first = Sequences(), None
    for signal in load(paths, replace(how or Reading(), key=key)):
        where = signal.names[0] if signal.names else ", ".join(paths)
        if signal.kind != "tokens":
            raise LemError(f"{where}: {signal.kind}, where texts or tokens are counted")
        if signal.ops:
            raise LemError(f"{where}: a fragment; a store holds whole memories")
        first = first or signal
        if signal.alphabet != first.alphabet:
            raise LemError(
                f"{where}: tokens {written(signal.alphabet)} among others {written(first.alphabet)}; a store holds one alphabet"
            )
        known = [entry["vocab"] for entry in signal.history if isinstance(entry.get("vocab"), int)]
        found.kinds = max(found.kinds, *known[-1:], 0)
        found += list(signal.data)
    if not found:
        raise LemError(f"{', '.join(paths)}: no memories")
    return found


def sounds(paths: list[str], key: str | None = None, how: Reading | None = None) -> list[np.ndarray]:
    """All sounds of the inputs, each [C, T], of any length. Raises LemError for other kinds, for several rates, and for a fragment."""
    found: list[np.ndarray] = []
    rates = set()
    for signal in load(paths, replace(how or Reading(), key=key)):
        where = signal.names[0] if signal.names else ", ".join(paths)
        if signal.kind != "audio" or signal.ops:
            what = "a fragment" if signal.ops else signal.kind
            raise LemError(f"{where}: {what}, where whole sounds are learnt from")
        rates.add(signal.rate)
        if len(rates) > 1:
            raise LemError(f"{', '.join(paths)}: sounds of several rates; lem-encode --resample HZ makes them alike")
        found += list(signal.data)
    if not found:
        raise LemError(f"{', '.join(paths)}: no memories")
    return found


def nature(paths: list[str], key: str | None = None, how: Reading | None = None) -> Signal | None:
    """What a store is of: a batch of one of its memories, with their kind, rate and history; None of a pipe, which can be
    read only once."""
    how = replace(how or Reading(), key=key)
    if not lasting(paths):
        return None
    if len(paths) == 1 and (signal := on_disk(paths[0], key, how)) is not None:
        one = Signal(signal.kind, np.asarray(signal.data[:1]), rate=signal.rate, history=signal.history)
        return replace(one, alphabet=signal.alphabet)
    return next(iter(load(paths, replace(how, batch=1))), None)


def lasting(paths: Iterable[str]) -> bool:
    """Whether all are files and folders, which can be read twice: no pipe, be it called - or /dev/fd/63."""
    return all(os.path.isfile(path) or os.path.isdir(path) for path in paths)


def classes(
    paths: list[str], labels: str | None = None, key: str | None = None, how: Reading | None = None
) -> tuple[np.ndarray, list[str] | None]:
    """(int64 [N], their words or None): classes of the memories in the inputs, in their order.

    labels: as of labels.Classes; None: those that the memories carry. LemError where a memory has none, for one below 0, and
    for a pipe, which has been read already.
    """
    if not lasting(paths):
        raise LemError(f"{', '.join(paths)}: labels are of memories in files, which can be read twice")
    return classes_of(load(paths, replace(how or Reading(), key=key)), ", ".join(paths), labels)


def classes_of(signals: Iterable[Signal], where: str, labels: str | None = None) -> tuple[np.ndarray, list[str] | None]:
    """The same of batches. where: what they are of, in errors."""
    told = None if labels is None else Classes(labels)
    count, found, names = 0, [], list[str]()
    for signal in signals:
        if told is None and signal.label is None:
            raise LemError(f"{where}: memories without labels; name them: --labels FILE")
        if told is not None and told.table is not None:  # (without names they are called by their numbers)
            names += signal.names or [str(count + i) for i in range(len(signal))]
        count += len(signal)
        found.append(signal.label)
    if told is not None:
        return told.of(count, names, "memories"), told.words
    label = np.concatenate(found).astype(np.int64)
    if label.min() < 0:
        raise LemError(f"{where}: a memory of class {label.min()}; classes are numbers from 0")
    return label, None


def _whole(paths: list[str], how: Reading, fragments: bool) -> np.ndarray:
    if len(paths) == 1 and (signal := on_disk(paths[0], how.key, how)) is not None:
        return signal.data
    batches, kinds, first = [], set(), None
    signals = load(paths, how)
    for signal in signals:
        if fragments and first is None and signal.ops:
            return cast(Any, kept(chain([signal], signals), ", ".join(paths)))
        first = first or signal
        if signal.kind == first.kind == "spectrum" and (differ := apart(signal, first)):
            raise LemError(f"{', '.join(paths)}: spectra {differ[0]} among others {differ[1]}; encode all alike")
        if signal.ops:
            raise LemError(f"{paths[0]}: fragments; a store holds whole memories")
        batches.append(signal.data)
        kinds.add((signal.kind, signal.data.dtype.kind, signal.rate, *signal.data.shape[1:]))
        if len(kinds) > 1:
            what, way = "shapes or kinds", "--resize, --grey and --rgb make images alike"
            if {kind for kind, *_ in kinds} <= {"audio", "spectrum"}:
                what, way = "lengths, rates or kinds", "sounds have to be of one length and rate"
            raise LemError(f"{', '.join(paths)}: memories of several {what}; a store holds one ({way})")
    if not batches:
        raise LemError(f"{', '.join(paths)}: no memories")
    return np.concatenate(batches) if len(batches) > 1 else batches[0]


def on_disk(path: str, key: str | None = None, how: Reading | None = None) -> Signal | None:
    """The whole memories of a lone .npy or one-document safetensors file, `data` a stream.OnDisk; None for any other
    file, and for memories that are to be changed.

    Raises LemError for values that are NaN or infinite (unless they are states that go round, `how.loop`), and for float
    images outside [0, 1].
    """
    how = replace(how or Reading(), key=key)
    found = _found(path, key, how) if os.path.isfile(path) else None
    if found is None:
        return None
    signal, checked = found
    if how.changes and not _as_asked(signal, how):
        return None
    if signal.data.dtype.kind == "f" and not how.loop:
        step = max(1, BATCH_BYTES // math.prod((signal.data.dtype.itemsize, *signal.data.shape[1:])))
        for start in range(0, len(signal), step):
            check_finite(checked(signal.data[start : start + step]).data, path, start)
    return signal


def _as_asked(signal: Signal, how: Reading) -> bool:
    """Whether reading changes nothing."""
    if signal.kind != "image" or how.lost:
        return False
    channels, height, width = signal.data.shape[1:]
    return how.size in (None, (width, height)) and how.colour in (None, "grey" if channels == 1 else "rgb")


def _found(path: str, key: str | None, how: Reading) -> tuple[Signal, Callable[[np.ndarray], Signal]] | None:
    """(the memories, what makes a batch of some of their rows and checks these)."""
    with open(path, "rb", buffering=0) as file:
        source = stream.Source(file, path, how.max_bytes)
        _form, family = sniff(source.peek(16))
        if family == "npy":
            return _of_npy(source, how)
        if family != "stream":
            return None
        header = stream.read_header(source)
        if header is None or source.place + header.size != os.path.getsize(path):
            return None
        lem = header.lem
        if how.kind not in (None, (lem or {}).get("kind")):
            return None  # an ordinary reading makes them that, or says what is wrong
        try:
            name = stream.key_of(header, key) if lem is None else "data"
        except LemError:
            return None
        if name not in header.tensors or (lem or {}).get("ops"):
            return None
        dtype, shape, begin, stop = header.tensors[name]
        if dtype not in DTYPES or len(shape) < 2 or stop == begin:
            return None
        # (a batch takes whatever has a type, a shape and rows)
        data = cast(Any, stream.OnDisk(path, source.place + begin, np.dtype(DTYPES[dtype]), shape))
        if lem is None:
            return Signal("embedding", data), lambda part: Signal("embedding", part)
        beside = {k: rows(file, path, source.place, header.tensors[k]) for k in header.tensors if k != name}
        signal = from_tensors({name: data, **beside}, lem, source.max_bytes)
        return signal, lambda part: Signal(signal.kind, part, index=np.arange(len(part)))


def _of_npy(source: stream.Source, how: Reading) -> tuple[Signal, Callable[[np.ndarray], Signal]] | None:
    path = source.name
    shape, fortran, dtype = arrays.npy_header(source)
    numbers = dtype.kind in "fiu" and dtype.isnative
    whole = numbers and len(shape) > 1 and not fortran and min(shape) > 0
    size = math.prod(shape) * dtype.itemsize
    if not whole or source.place + size != os.path.getsize(path):
        return None  # an ordinary reading says what is wrong
    if size > source.max_bytes:
        raise LemError(f"{path}: {size} bytes; raise --max-bytes to read it")
    shape = arrays.items_shape(shape, dtype, path, how)
    lying = stream.OnDisk(path, source.place, dtype, shape)
    first = lying[:1]
    one = arrays.as_signal(first, path, how)
    if not np.shares_memory(one.data, first):
        return None  # of another type or scale as memories: an ordinary reading
    if one.kind == "tokens" or one.data.shape[1:] == (1, *shape[1:]):
        lying = lying.reshape(shape[0], *one.data.shape[1:])
    elif one.data.shape[1:] != shape[1:]:
        lying = stream.OnDisk(path, source.place, dtype, shape, moved=True)
    index = np.arange(shape[0], dtype=np.int64)
    return Signal(one.kind, cast(Any, lying), index=index), lambda part: arrays.as_signal(part, path, how)
