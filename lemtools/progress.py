"""How far long work on one item has come: the code that works says so, and a command that listens shows it.

    for row in steps(rows, "rows"):
        ...

Loops may lie within one another. Where nobody listens a loop costs nothing more. Threads beside the one that listens
must not report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
Level = tuple[str, int, int]  # (what is counted, how many are done, of how many)

_levels: list[Level] = []  # from the outermost loop to the innermost
_listeners: list[Callable[[list[Level]], None]] = []


def steps(work: Iterable[T], what: str, first: int = 0, last: int | None = None) -> Iterator[T]:
    """The elements of `work`, each reported when it is done. what: a plural, as in 'tiles'. first, last: how many are
    done before the first and after the last one, where `work` has no length or is a rest."""
    if not _listeners:
        yield from work
        return
    place = len(_levels)
    try:
        total = first + len(work) if last is None else last  # type: ignore[arg-type]
        for done, each in enumerate(work, first):
            _levels[place:] = [(what, done, total)]
            _listeners[-1](_levels)
            yield each
    finally:
        del _levels[place:]


@contextmanager
def heard(listener: Callable[[list[Level]], None]) -> Iterator[None]:
    """Call `listener` with the levels whenever one moves on."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def share(levels: list[Level]) -> float:
    """What part of the outermost loop is done, 0 to 1."""
    part = 0.0
    for _, done, total in reversed(levels):
        part = (done + part) / max(total, 1)
    return part
