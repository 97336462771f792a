"""Long sounds cut at pauses, their words shared out: a window after the other, so that memory stays bounded.

In each window the words that come next are aligned from its beginning, with more of them than it can hold and an open end; the cut
goes through a long pause in it, and what was said before the cut belongs to the piece.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np

from . import own
from .cepstra import HOP, RATE, bands, cepstra, denoised, features
from .model import Model
from .sphinx import Spoken
from .words import Entry

WINDOW, LONGEST = 30 * RATE, 40 * RATE  # samples: of a window, and of a sound or rest that is not cut
FASTEST = 20  # phones a second
MARGIN, EARLIEST = 200, 500  # frames: behind the last cut of a window, and before the first one
PAUSE_LONG = 15  # frames of a pause that is good to cut in


class Sound(Protocol):
    """Samples [T] at 16 kHz, full scale 1: an array, or what is sliced like one, from its beginning to its end."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> np.ndarray: ...


def cut(model: Model, sound: Sound, words: Sequence[Entry]) -> Iterator[tuple[int, int, Sequence[Entry]]]:
    """(first sample, the one behind the last, words) of the pieces of a sound: one where it is short."""
    at = 0
    while len(sound) - at > LONGEST:
        if not words:  # what is left says nothing, and may be long
            yield at, at + WINDOW, words
            at += WINDOW
            continue
        some = _next(words, FASTEST * WINDOW // RATE)
        streams = features(cepstra(denoised(bands(sound[at : at + WINDOW]))))
        found = own.align(model, streams, some, open_end=True)
        frame = _where(found, len(streams))
        said = 1 + max((spoken.word for spoken in found if spoken.end <= frame), default=-1)
        yield at, at + frame * HOP, words[:said]
        at, words = at + frame * HOP, words[said:]
    yield at, len(sound), words


def _next(words: Sequence[Entry], phones: int) -> Sequence[Entry]:
    """The first words, of so many phones in all, one at least."""
    count = np.cumsum([len(word.spoken[0]) for word in words])
    return words[: max(1, int(np.searchsorted(count, phones)))]


def _where(found: Sequence[Spoken], count: int) -> int:
    """The frame of a window to cut at: the middle of its last long pause, else of its longest one, else between two words."""
    pauses = [(p.begin, min(p.end, count - MARGIN)) for p in found if p.word < 0]
    fitting = [(a, b) for a, b in pauses if b > a and (a + b) // 2 >= EARLIEST]
    if long := [(a, b) for a, b in fitting if b - a >= PAUSE_LONG]:
        return sum(long[-1]) // 2
    if fitting:
        begin, end = fitting[int(np.argmax([b - a for a, b in fitting]))]
        return (begin + end) // 2
    edges = [b.begin for a, b in pairwise(found) if a.word != b.word and EARLIEST <= b.begin <= count - MARGIN]
    return edges[-1] if edges else count - MARGIN
