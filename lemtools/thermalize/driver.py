"""Rollouts as batches of signals: through a thermalizer as they come, or round and round with an emulator."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ..denoise.contract import Scale
from ..signal import LemError, Signal
from .loop import Step, Thermalizer, rollout

Steps = Generator[tuple[Signal, Step], None, None]
APART = 3.0  # by how much a std, or a mean in units of the std, may differ from what the memory has
ENOUGH = 16  # numbers of which a std is worth a look


def filtered(
    batches: Iterable[Signal], thermalizer: Thermalizer, rows: int | None = None, where: str = "the input"
) -> Steps:
    """Every step of some rows, thermalized, with what was done, as it comes; nothing of the next one is waited for.

    A batch is a step of all rows, or with `rows` as many as it has; the last state of each row is kept. Raises LemError,
    which calls the input `where`, for what is no states, for another number of rows or another shape than before, and
    where the first states are of another scale than the memory.
    """
    previous: np.ndarray | None = None
    for signal in batches:
        for part in _parts(signal, rows, where):
            if previous is None:
                check_scale(part.data, thermalizer.scale, where)
            elif part.data.shape != previous.shape:
                was, now = (f"{len(x)} states of {list(x.shape[1:])}" for x in (previous, part.data))
                raise LemError(f"{where}: {now} after {was}; a rollout keeps its rows and their shape")
            step = thermalizer.step(part.data, previous)
            previous = step.state
            yield replace(part, data=step.state), step


def driven(
    step: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    steps: int,
    thermalizer: Thermalizer | None,
    where: str = "the start",
) -> Steps:
    """The states after each of `steps` steps of an emulator, as of `rollout`, with what was done."""
    if thermalizer is not None:
        check_scale(start, thermalizer.scale, where)
    for done in rollout(step, start, steps, thermalizer):
        yield Signal("field", done.state), done


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
    listed = {name: getattr(step, name).tolist() for name in Step._fields[1:]}
    plain = {
        k: [None if isinstance(v, float) and not abs(v) < float("inf") else v for v in values]
        for k, values in listed.items()
    }
    return {"step": number, **plain}


def check_scale(states: np.ndarray, scale: Scale, where: str) -> None:
    """LemError where the states [R, C, ...], NaN left out, are of another shape or scale than the memory."""
    x = states[np.isfinite(states).reshape(len(states), -1).all(1)].astype(np.float64)
    if not x.size:
        return
    mean, std = (np.broadcast_to(v, x.shape[1:]) for v in (scale.offset, 1 / np.abs(np.asarray(scale.gain))))
    axes = (0, *range(2, x.ndim))
    wide, far = x.std(axes), np.abs(x.mean(axes) - mean.reshape(len(mean), -1).mean(1))
    have = np.sqrt((std.reshape(len(std), -1) ** 2).mean(1))
    off = far > APART * have
    if x[:, 0].size >= ENOUGH:
        off |= (wide > APART * have) | (wide < have / APART)
    if off.any():
        c = int(np.flatnonzero(off)[0])
        channel = f" in channel {c}" if len(have) > 1 else ""
        told = (f"mean {m:.4g} and std {s:.4g}" for m, s in ((x[:, c].mean(), wide[c]), (mean[c].mean(), have[c])))
        raise LemError(f"{where}: states of {' where the memory has '.join(told)}{channel}; bring them to its scale")


def _parts(signal: Signal, rows: int | None, where: str) -> Iterator[Signal]:
    """A batch as steps of so many rows."""
    if signal.ops:
        raise LemError(f"{where}: fragments; lem-reconstruct makes them whole")
    if signal.kind != "field":
        raise LemError(f"{where}: {signal.kind}, not states of a simulation")
    rows = rows or len(signal)
    if len(signal) % rows:
        what = f"a document of {len(signal)} states, where --rows says that {rows} stand side by side"
        raise LemError(f"{where}: {what} (where only the memory has that many: --memory-rows)")
    signal = replace(signal, data=np.asarray(signal.data, np.float32))
    if rows == len(signal):
        yield signal
        return
    for first in range(0, len(signal), rows):
        part = signal.take(np.arange(first, first + rows))
        yield replace(part, last=(bool(signal.last) and first + rows == len(signal)) or None)
