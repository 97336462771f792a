"""From paths to batches: reading each file by its kind, numbering items, sharding, batching."""

import functools
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from .. import stream
from ..signal import LemError, Long, Signal, called, name_of
from . import annotations, arrays, delimited, images, sounds, tables, weights
from .coding import coding, convert, cut
from .count import count
from .find import FORMATS, expand, sniff
from .how import Reading, check_finite, shown
from .large import pieces

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def load(paths: Paths, how: Reading | None = None, **options) -> "Batches":
    """The memories or fragments in files, folders, patterns and '-' (stdin), as batches of one shape and kind.

    how, options: how they are read, see Reading; options go before `how`. The error of a lone input is raised, that of
    one of several reported where `how` says to whom. Values that are NaN or infinite are an error, and so is an input
    without items. A single stream keeps the numbering of its items; otherwise items are numbered in the order read.
    Where the end of the inputs is known, the last batch says that it is the last.
    """
    paths = [os.fspath(path) for path in ([paths] if isinstance(paths, str | os.PathLike) else paths)]
    return Batches(paths, replace(how or Reading(), **options))


class Batches:
    """The batches of inputs, one after another: an iterator. Nothing is read before the first one is asked for."""

    def __init__(self, paths: list[str], how: Reading):
        self.paths, self.how, self.batches = paths, how, _load(paths, how)

    def __iter__(self) -> Iterator[Signal]:
        return self

    def __next__(self) -> Signal:
        return next(self.batches)

    @property
    def total(self) -> int | None:
        """How many items there are, as far as the first bytes of the files say it; else None."""
        if "-" in self.paths or self.how.wanted is not None:
            return None
        return count(expand(self.paths, lambda error: None, labels=self.how.labels), self.how)


def _load(paths: list[str], how: Reading) -> Iterator[Signal]:
    skipped: list[Exception] = []
    if how.skip_bad:
        how = replace(how, report=functools.partial(_skip, how, skipped))
    files = _inputs(paths, how)
    if len(paths) == len(files) == 1 and not how.skip_bad:
        how = replace(how, report=None)
    batches = _batches(_items(files, how), how)
    empty = True
    for batch in _ended(batches) if all(_ends(path) for path, _ in files) else batches:
        empty = False
        yield batch
    if (more := len(how.cut) - 1) > 0:
        how.say("aspects", f"{more} more image{'s were' if more > 1 else ' was'} cut in the same way before resizing")
    if skipped and empty and how.wanted is None:
        raise LemError(f"nothing could be read: {skipped[0]}")


def _inputs(paths: list[str], how: Reading) -> list[tuple[str, str]]:
    """(path, name) of every file, or of a model, which is read by itself."""
    if how.tensors:
        files = [(path, name_of(os.path.basename(path))) for path in paths]
    else:
        files = list(expand(paths, how.report, len(paths) == 1 and not how.skip_bad, how.labels))
    for path, _ in files:
        if (path == "-" and how.tensors) or (_is_of_model(path, how) and len(files) > 1):
            raise LemError(f"{shown(path)}: a model is read by itself, from its folder or file; name that one alone")
    return files


def _is_of_model(path: str, how: Reading) -> bool:
    return bool(how.tensors) or (path != "-" and os.path.isdir(path))


def _skip(how: Reading, skipped: list[Exception], error: Exception) -> None:
    skipped.append(error)
    if how.note is not None:
        how.note(f"left out: {error}")


def _ends(path: str) -> bool:
    """Whether an input is a regular file, or a model's folder, which can be read to its end at any time."""
    try:
        mode = (os.fstat(0) if path == "-" else os.stat(path)).st_mode
        return stat.S_ISREG(mode) or stat.S_ISDIR(mode)
    except OSError:
        return True


def _ended(batches: Iterator[Signal]) -> Iterator[Signal]:
    """Mark the last batch. Nobody waits: the next one can be read at any time."""
    waiting = None
    for batch in batches:
        if waiting is not None:
            yield waiting
        waiting = batch
    if waiting is not None:
        waiting.last = True
        yield waiting


def _items(files: list[tuple[str, str]], how: Reading) -> Iterator[Signal]:
    masks = None
    if how.lost not in (None, "alpha"):
        from .lost import Masks

        plain = Reading(max_bytes=how.max_bytes, background="black", kind="image", note=how.note)
        masks = Masks(how.lost, load([how.lost], plain), how)
    count = 0
    for place, (path, name) in enumerate(files):
        try:
            before = count
            for signal in _signals(path, name, how):
                if len(files) > 1 or not signal.history:  # a stream of ours, alone, keeps its numbering
                    signal.index = count + np.arange(len(signal), dtype=np.int64)
                signal.origin = shown(path)
                if not (how.loop or isinstance(signal.data, Long)):  # (of a long one each piece was looked at)
                    check_finite(signal.data, shown(path), count - before)
                count += len(signal)
                keep = [how.wanted is None or how.wanted(int(i), _name(signal, k)) for k, i in enumerate(signal.index)]
                last = bool(signal.last) and place == len(files) - 1
                if not all(keep) and signal.part is not None:
                    raise LemError(f"{shown(path)}: --shard is for items; the tensors of a model stay together")
                if not all(keep):
                    signal = signal.take(np.flatnonzero(keep))
                if len(signal):
                    lost = None if masks is None else masks.of(signal, shown(path))
                    signal = how.suited(signal, shown(path))
                    signal = signal if masks is None else masks.lose(signal, shown(path), lost)
                    signal.last = last or None
                    yield signal
            if count == before:
                raise LemError(f"{shown(path)}: holds no items")
        except (LemError, OSError) as error:
            if how.report is None:
                raise
            how.report(error)


def _signals(path: str, name: str, how: Reading) -> Iterator[Signal]:
    """The batches of one input."""
    if _is_of_model(path, how):
        return weights.read(path, how)
    signals = None if how.kind else pieces(path, how)
    return _open(path, name, how) if signals is None else signals


def _name(signal: Signal, k: int) -> str | None:
    return None if signal.names is None else signal.names[k]


def _open(path: str, name: str, how: Reading) -> Iterator[Signal]:
    where = shown(path)
    try:
        with open(0 if path == "-" else path, "rb", buffering=0, closefd=path != "-") as file:
            source = stream.Source(file, where, how.max_bytes)
            if not source.peek(1):
                raise LemError(f"{where}: empty")
            yield from _read(source, None if path == "-" else [name], how)
    except LemError as error:
        if where in str(error):
            raise
        raise LemError(f"{where}: {error}") from error
    except OSError as error:
        error.filename = where
        raise
    except MemoryError as error:
        raise LemError(f"{where}: too large for the memory that there is") from error


def _read(source: stream.Source, names: list[str] | None, how: Reading) -> Iterator[Signal]:
    form, family = sniff(source.peek(16))
    if family == "gzip":
        source = arrays.unzip(source)
        form, family = sniff(source.peek(16))
        if family == "gzip" or not source.peek(1):
            raise LemError(
                f"{source.name}: a gzip {'in a gzip' if family == 'gzip' else 'of nothing'}; unpack it first"
            )
    if (form == "PPM" or family in ("foreign", "textgrid")) and how.kind == "text":  # a text that begins so: 'P1 2 ...'
        form, family = "TXT", "text"
    if family == "text" and how.kind == "audio":
        form, family = "sound", "sound"  # whatever libsndfile knows
    for signal in _FAMILIES[family](source, form, names, how):
        if (_AS.get(how.kind, how.kind)) not in (None, signal.kind):
            what = f"a {form}, which holds {called(signal.kind)}"
            raise LemError(f"{source.name}: {what}; it cannot be read as --kind {how.kind}")
        yield signal


_AS = {"text": "tokens", "lab": "tokens"}  # of what kind is what --kind says is read


def _stream(source, form, names, how):
    def made(array):
        if array.ndim == 4 or how.kind in ("spectrum", "field", "tokens"):
            return arrays.as_signal(np.atleast_2d(array), source.name, how)
        return Signal("embedding", np.atleast_2d(array))

    made = made if how.coordinates or how.kind in ("image", "spectrum", "field", "tokens") else None
    for signal in stream.read(source, how.key, made, how.loop, how.kind == "tokens"):
        yield replace(signal, last=None) if how.loop else signal


def _images(source, form, names, how):
    for signal in images.each_image(source, form, how):
        yield replace(signal, names=names)


def _sound(source, form, names, how):
    yield replace(sounds.decode_sound(source, form, how), names=names, last=True)


def _text(source, form, names, how):
    raw = source.rest()
    try:
        text = raw.tobytes().decode("utf-8")
        if "\0" in text:
            raise ValueError
    except ValueError as error:
        if said := cut(raw.tobytes()):  # (before its letters are taken for those of another encoding)
            raise LemError(f"{source.name}: not a known format, but text in UTF-8, it seems, {said}") from error
        if said := coding(raw.tobytes()):
            raise LemError(
                f"{source.name}: not a known format, but text in {said}, it seems; {convert(said)}"
            ) from error
        raise LemError(f"{source.name}: not a known format ({', '.join(FORMATS)}, UTF-8 text)") from error
    if (spoken := annotations.from_text(text, source.name, names, how)) is not None:
        yield spoken
        return
    table = None if how.kind == "text" else delimited.from_text(text, source.name, how)
    if table is None:
        yield Signal("tokens", raw[None], names=names, last=True)
    else:
        yield from tables.batches(table, how)


def _textgrid(source, form, names, how):
    yield annotations.from_textgrid(source.rest().tobytes(), names, how)


def _pickle(source, form, names, how):
    raise arrays.pickled(source.name)


def _foreign(source, form, names, how):
    raise LemError(f"{source.name}: {form}, which is not read; there are {', '.join(FORMATS)}, and UTF-8 text")


_FAMILIES = {
    # family: (source, format, names, how) -> batches
    "stream": _stream,
    "image": _images,
    "sound": _sound,
    "idx": lambda source, form, names, how: arrays.read_idx(source, how),
    "npy": lambda source, form, names, how: arrays.read_npy(source, how),
    "npz": lambda source, form, names, how: arrays.read_npz(source, how),
    "parquet": lambda source, form, names, how: tables.from_parquet(source, how),
    "text": _text,
    "textgrid": _textgrid,
    "pickle": _pickle,
    "foreign": _foreign,
}


def _alike(a: Signal, b: Signal) -> bool:
    """Memories of one shape that come from files, not from a stage before, may share a batch."""
    return all(not s.history and s.cost is None for s in (a, b)) and a.unlike(b) is None


def _batches(items: Iterator[Signal], how: Reading) -> Iterator[Signal]:
    """Put single memories of one shape together; everything else goes through as it is."""
    if how.loop:
        yield from items
        return
    waiting: list[Signal] = []
    for signal in items:
        room = how.items(signal.data.nbytes // max(len(signal), 1))
        if waiting and not (_alike(waiting[0], signal) and sum(map(len, waiting)) + len(signal) <= room):
            yield Signal.concat(waiting)
            waiting = []
        waiting.append(signal)
        if sum(map(len, waiting)) >= room or signal.last or signal.history:
            yield Signal.concat(waiting)
            waiting = []
    if waiting:
        yield Signal.concat(waiting)
