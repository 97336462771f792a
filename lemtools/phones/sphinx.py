"""The aligner of pocketsphinx: which way each word is spoken and where pauses are, then every phone between its neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from ..signal import LemError
from .words import Entry


class Spoken(NamedTuple):
    """A phone as it was found: ARPABET, the number of its word (-1 for a pause), and its first frame and the one behind it."""

    phone: str
    word: int
    begin: int
    end: int


class Refused(Exception):
    """pocketsphinx found no path."""


class Sphinx:
    """pocketsphinx, told by each word itself how it may be spoken: its own dictionary is not used.

    Every sound gets a decoder of its own: one that has heard others answers differently.
    """

    def __init__(self, model: str):
        try:
            self._module = import_module("pocketsphinx")
        except ImportError as error:
            raise LemError("phones needs pocketsphinx: pip install 'lemtools[align]'") from error
        self._model = model

    def align(self, sound: np.ndarray, words: Sequence[Entry]) -> list[Spoken]:
        """The phones of words in a sound [T] at 16 kHz. Refused where the decoder gives up."""
        raw = np.rint(np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes()
        decoder = self._module.Decoder(
            hmm=f"{self._model}/en-us", dict=None, lm=None, samprate=16000.0, bestpath=False, loglevel="FATAL"
        )
        try:
            decoder.set_align_text(" ".join(_named(decoder, words)))
            _run(decoder, raw)
            if decoder.hyp() is None:
                raise Refused("no path")
            decoder.set_alignment()
            _run(decoder, raw)
            found = list(_read(decoder))
        except RuntimeError as error:
            raise Refused(str(error)) from error
        if [phone.word for phone in found if phone.word >= 0][-1:] != [len(words) - 1]:
            raise Refused("not all words")
        return found


def _named(decoder: Any, words: Sequence[Entry]) -> list[str]:
    """What the decoder is told that words are called, one name for all that are spoken alike."""
    names: dict[tuple[tuple[str, ...], ...], str] = {}
    for word in words:
        if word.spoken in names:
            continue
        name = names[word.spoken] = f"w{len(names)}"
        for number, phones in enumerate(word.spoken, 1):
            decoder.add_word(f"{name}({number})" if number > 1 else name, " ".join(phones), True)
    return [names[word.spoken] for word in words]


def _run(decoder: Any, raw: bytes) -> None:
    decoder.start_utt()
    try:
        decoder.process_raw(raw, no_search=False, full_utt=True)
    finally:
        decoder.end_utt()


def _read(decoder: Any) -> Iterator[Spoken]:
    number = -1
    for entry in decoder.get_alignment():
        pause = entry.name.startswith(("<", "[", "("))
        number += not pause
        for phone in entry:
            yield Spoken(phone.name, -1 if pause else number, phone.start, phone.start + phone.duration)
