"""Kinds of memory in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

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


def those(kind: str | None, item: Sequence[int]) -> str:
    """Items of a kind and shape, of which 0 is a side of any length: images of 3 channels, images of 1x28x28, embeddings of 128."""
    if 0 in item:
        return f"{called(kind)} of {item[0]} channel{'s' * (item[0] != 1)}"
    return f"{called(kind)} of {'x'.join(map(str, item))}"
