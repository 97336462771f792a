"""Kinds of memory in a sentence, and what two batches of sounds or spectra of one shape may yet differ in."""

from __future__ import annotations

from ..transforms import unlike
from ..transforms.history import front
from .batch import Signal

_CALLED = {
    "image": ("image", "images"),
    "audio": ("sound", "sounds"),
    "spectrum": ("spectrum", "spectra"),
    "field": ("state", "states"),
    "embedding": ("embedding", "embeddings"),
    "tokens": ("tokens", "tokens"),
}


def called(kind: str | None, count: int = 2) -> str:
    """A kind in a sentence, for one item or several; items where there is no such kind."""
    return _CALLED.get(kind or "", ("item", "items"))[count != 1]


def apart(one: Signal, other: Signal) -> tuple[str, str] | None:
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
