"""Rollouts as batches of signals: through a thermalizer as they come, or round and round with an emulator."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from typing import IO, Any

import numpy as np

from ..denoise.contract import Some
from ..signal import LemError, Signal
from .codec import FIELDS, Codec, check_scale
from .loop import rollout
from .on_device import fetched
from .step import Step, Stepper

__all__ = ["check_scale", "driven", "filtered", "line", "outgoing"]
Steps = Generator[tuple[Signal, Step], None, None]


def filtered(
    batches: Iterable[Signal],
    thermalizer: Stepper,
    rows: int | None = None,
    where: str = "the input",
    codec: Codec = FIELDS,
) -> Steps:
    """Every step of some rows, thermalized, with what was done, as it comes; nothing of the next one is waited for.

    A batch is a step of all rows, or with `rows` as many as it has; the last state of each row is kept. Raises LemError,
    which calls the input `where`, for what is no states, for another number of rows or another shape than before, and
    where the first states are of another scale than the memory.
    """
    previous, first = None, ()
    for signal in batches:
        for part in _parts(signal, rows, where, codec):
            first = first or part.data.shape
            if previous is None:
                codec.check(part.data, thermalizer, where)
            elif part.data.shape != first:
                was, now = (f"{shape[0]} {codec.thing} of {list(shape[1:])}" for shape in (first, part.data.shape))
                raise LemError(f"{where}: {now} after {was}; a rollout keeps its rows and their shape")
            step = thermalizer.step(part.data, previous)._replace(claimed=part.data, previous=previous)
            previous = step.state
            yield replace(part, kind=codec.kind, data=step.state), step


def driven(
    step: Callable[[Some], Some],
    start: Some,
    steps: int,
    thermalizer: Stepper | None,
    where: str = "the start",
    codec: Codec = FIELDS,
) -> Steps:
    """The states after each of `steps` steps of an emulator, as of `rollout`, with what was done.

    Of a start on a GPU a step is one CUDA graph where the thermalizer can, and steps come to the host BLOCK at a time.
    """
    if thermalizer is not None:
        codec.check(start if isinstance(start, np.ndarray) else start.cpu().numpy(), thermalizer, where)
    for done in fetched(rollout(step, start, steps, thermalizer, codec, capture=True)):
        yield codec.made(done.state), done


def outgoing(steps: Steps, every: int, entry: dict[str, Any], seen: Callable[[int, Step], None]) -> Iterator[Signal]:
    """Every `every`-th step as a batch that goes out, its items numbered through: row r of the t-th is item t R + r.

    entry: of the history, once, however often the states come round. seen: is told of every step, by its number from 1 on.
    """
    for number, (signal, step) in enumerate(steps, 1):
        seen(number, step)
        if number % every == 0:
            count = len(signal)
            place = np.arange(count, dtype=np.int64) + (number // every - 1) * count
            history = signal.history if entry in signal.history else [*signal.history, entry]
            yield replace(signal, index=place, history=history)


def line(number: int, step: Step) -> dict[str, Any]:
    """A step as a line of a log, what is no number as None."""
    listed = {name: values.tolist() for name, values in step.told().items()}
    plain = {
        k: [None if isinstance(v, float) and not abs(v) < float("inf") else v for v in values]
        for k, values in listed.items()
    }
    return {"step": number, **plain}


class Spool:
    """States that wait, in a file open for reading and writing, until all of them are there and can be written at once."""

    def __init__(self, file: IO[bytes]):
        self.file = file
        self.shapes: list[tuple[int, ...]] = []

    def add(self, states: np.ndarray) -> None:
        """states: [R, C, ...]."""
        self.file.write(np.ascontiguousarray(states, np.float32).data)
        self.shapes.append(states.shape)

    def signals(self, history: list[dict[str, Any]]) -> Iterator[Signal]:
        """All that was added, in that order, items numbered through."""
        self.file.seek(0)
        first = 0
        for shape in self.shapes:
            data = np.frombuffer(self.file.read(4 * math.prod(shape)), np.float32).reshape(shape)
            yield Signal("field", data, index=np.arange(first, first + shape[0]), history=history)
            first += shape[0]


def _parts(signal: Signal, rows: int | None, where: str, codec: Codec) -> Iterator[Signal]:
    """A batch as steps of so many rows."""
    if signal.ops:
        raise LemError(f"{where}: fragments; lem-reconstruct makes them whole")
    signal = codec.taken(signal, where)
    rows = rows or len(signal)
    if len(signal) % rows:
        what = f"a document of {len(signal)} {codec.thing}, where --rows says that {rows} stand side by side"
        raise LemError(f"{where}: {what} (where only the memory has that many: --memory-rows)")
    if rows == len(signal):
        yield signal
        return
    for first in range(0, len(signal), rows):
        part = signal.take(np.arange(first, first + rows))
        yield replace(part, last=(bool(signal.last) and first + rows == len(signal)) or None)
