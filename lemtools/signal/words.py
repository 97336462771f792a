"""Kinds of memory in a sentence."""

from __future__ import annotations

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
