"""The aligner of pocketsphinx: which way each word is spoken and where pauses are, then every phone between its neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import NamedTuple

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
    """pocketsphinx, told by each word itself how it may be spoken: its own dictionary is not used."""

    def __init__(self, model: str):
        try:
            module = import_module("pocketsphinx")
        except ImportError as error:
            raise LemError("phones needs pocketsphinx: pip install 'lemtools[align]'") from error
        self._decoder = module.Decoder(
            hmm=f"{model}/en-us", dict=None, lm=None, samprate=16000.0, bestpath=False, loglevel="FATAL"
        )
        self._known: dict[tuple[tuple[str, ...], ...], str] = {}

    def align(self, sound: np.ndarray, words: Sequence[Entry]) -> list[Spoken]:
        """The phones of words in a sound [T] at 16 kHz. Refused where the decoder gives up."""
        raw = np.rint(np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes()
        names = [self._name(word) for word in words]
        try:
            self._decoder.set_align_text(" ".join(names))
            self._run(raw)
            if self._decoder.hyp() is None:
                raise Refused("no path")
            self._decoder.set_alignment()
            self._run(raw)
            found = list(self._read())
        except RuntimeError as error:
            raise Refused(str(error)) from error
        if [phone.word for phone in found if phone.word >= 0][-1:] != [len(words) - 1]:
            raise Refused("not all words")
        return found

    def _run(self, raw: bytes) -> None:
        self._decoder.start_utt()
        try:
            self._decoder.process_raw(raw, no_search=False, full_utt=True)
        finally:
            self._decoder.end_utt()

    def _read(self) -> Iterator[Spoken]:
        number = -1
        for entry in self._decoder.get_alignment():
            pause = entry.name.startswith(("<", "[", "("))
            number += not pause
            for phone in entry:
                yield Spoken(phone.name, -1 if pause else number, phone.start, phone.start + phone.duration)

    def _name(self, word: Entry) -> str:
        """What the decoder calls a word; it is added where it is new."""
        if word.spoken not in self._known:
            name = self._known[word.spoken] = f"w{len(self._known)}"
            for number, phones in enumerate(word.spoken, 1):
                self._decoder.add_word(f"{name}({number})" if number > 1 else name, " ".join(phones), True)
        return self._known[word.spoken]
