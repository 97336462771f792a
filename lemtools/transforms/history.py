"""What a history says: how a batch was encoded, and by which front end."""

from __future__ import annotations

from typing import Any, Protocol

from .contract import Front
from .front import makes_spectra, of, unlike


class Batch(Protocol):
    """What a batch says of its sounds, as a Signal does."""

    kind: str
    rate: float | None
    history: list[dict[str, Any]]


def latest(history: list[dict[str, Any]], name: str | None = None) -> dict[str, Any] | None:
    """The entry of the latest encoding (by `name`) that was not undone since; None where there is none."""
    undone: list[str] = []
    for entry in reversed(history):
        if "decoded" in entry:
            undone.append(entry["decoded"])
        elif (made := entry.get("encoder")) is not None:
            if made in undone:
                undone.remove(made)
            elif name in (None, made):
                return entry
    return None


def front(history: list[dict[str, Any]]) -> Front | None:
    """The front end of the latest encoding that was not undone since, where it makes spectra; else None.

    Raises LemError where its record is damaged.
    """
    entry = latest(history)
    return of(entry) if entry is not None and makes_spectra(entry) else None


def apart(one: Batch, other: Batch) -> tuple[str, str] | None:
    """How sounds, or spectra of sounds, differ though they may have one shape: ('at 8000 Hz', 'at 16000 Hz'), ('with hop 64',
    'with hop 128'). None where they do not, or where one of them does not say it. The lengths of sounds do not matter.

    Raises LemError for a damaged history.
    """
    if None not in (one.rate, other.rate) and one.rate != other.rate:
        return f"at {one.rate:g} Hz", f"at {other.rate:g} Hz"
    if not one.kind == other.kind == "spectrum":
        return None
    here, there = front(one.history), front(other.history)
    if here is None or there is None:
        return None
    records = here.record, there.record
    for key in unlike(*records):
        first, second = (f"with {key} {each[key]}" if key in each else f"without {key}" for each in records)
        return first, second
    return None
