"""What a history says: how a batch was encoded, and by which front end."""

from __future__ import annotations

from typing import Any

from .contract import Front
from .front import makes_spectra, of


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
