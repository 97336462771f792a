"""A model's parts as the files that they were: a folder, or one file of tensors."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any, Protocol

import numpy as np

from .. import stream
from ..signal import LemError, Part, Signal, path_of
from ..signal.types import bytes_of
from ..stream import whole_file
from ..stream.wire import Header


class Place(Protocol):
    """Where it goes: media.save.Target."""

    out: Any
    folder: bool

    def claim(self, path: str) -> None: ...


def write(signals: Iterable[Signal], target: Place) -> int:
    """Write the parts of a model, all of its files or none; returns the number of parts.

    Raises LemError for what is no part of a model, for parts that are missing or come in another order, for a fragment, and
    for tensors that are not of their shape any more.
    """
    made: str | None = None
    if target.folder and not os.path.isdir(target.out):
        os.mkdir(target.out)
        made = target.out
    try:
        with contextlib.ExitStack() as files:  # they get their names together, when all are there
            return _write(signals, target, files)
    except BaseException:
        for folder, _, _ in os.walk(made, topdown=False) if made else ():
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        raise


def _write(signals: Iterable[Signal], target: Place, files: contextlib.ExitStack) -> int:
    count, waiting, file = 0, iter(()), None
    for signal in signals:
        part = signal.part
        if part is None:
            raise LemError("a memory among the parts of a model; write them to files of their own")
        if part.what == "tensor":
            if file is None or next(waiting, None) != part[:1] + part[2:]:
                raise LemError(f"tensor {part.name} of {part.file} is not what follows there; the stream is damaged")
            stream.write_all(file, [_bytes(signal, part).data])
        else:
            _check_all(waiting)
            raw = _bytes(signal, part)
            file = files.enter_context(whole_file(_path(part, target, count)))
            stream.write_all(file, [raw.data])
            waiting = _tensors(part, raw) if part.what == "head" else iter(())
        count += 1
    _check_all(waiting)
    return count


def _check_all(waiting: Iterator[tuple[Any, ...]]) -> None:
    for file, name, *_ in waiting:
        raise LemError(f"tensor {name} of {file} is missing; the stream is damaged")


def _tensors(part: Part, raw: np.ndarray) -> Iterator[tuple[Any, ...]]:
    """(file, name, type, shape) of the tensors that follow a head."""
    header = Header(raw[8:].tobytes(), part.file, own=False)
    return iter([(part.file, name, dtype, shape) for name, (dtype, shape) in header.found.items()])


def _bytes(signal: Signal, part: Part) -> np.ndarray:
    if signal.carried:
        return np.ascontiguousarray(signal.data[0, : part.bytes])
    if signal.ops:
        way = "it goes into one stream, as -o NAME.safetensors, and lem-reconstruct puts it back"
        raise LemError(f"tensor {part.name}: a fragment; {way}")
    if signal.data.size != part.elements:
        raise LemError(f"tensor {part.name}: {signal.data.size} values for the shape {list(part.shape)}")
    return bytes_of(signal.data, part.type)


def _path(part: Part, target: Place, count: int) -> str:
    """The path of a file of the model."""
    if not target.folder:
        if part.what != "head" or count:
            raise LemError(f"{target.out}: a model of several files goes into a folder: -o DIR/")
        return str(target.out)
    inside = PurePosixPath(part.file)
    if inside.is_absolute() or "\0" in part.file or ".." in inside.parts or not inside.parts:
        raise LemError(f"{part.file!r}: the name of a file that leads out of the folder {target.out}")
    path = os.path.join(target.out, path_of(part.file))
    target.claim(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return path
