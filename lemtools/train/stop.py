"""To stop when a scheduler says so, with the state on disk."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


class Stopped(Exception):
    """A scheduler's signal came; the state is on disk. number: the signal. first: whether this process reports it."""

    def __init__(self, number: int, step: int, first: bool):
        self.number, self.step, self.first = number, step, first


@contextlib.contextmanager
def signals() -> Iterator[list[int]]:
    """Note SIGTERM and SIGUSR1 instead of dying of them: a scheduler gives a while to write a checkpoint."""
    caught: list[int] = []
    numbers = [n for n in (signal.SIGTERM, getattr(signal, "SIGUSR1", None)) if n is not None]
    try:
        before = {n: signal.signal(n, lambda number, frame: caught.append(number)) for n in numbers}
    except ValueError:  # not the main thread: the signals are somebody else's
        yield caught
        return
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
