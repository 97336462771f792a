"""When each phone of a sound is spoken: speech and its text as phones with times (phones/aligner.py)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..media.coding import text_of
from ..phones.aligner import Aligned, Aligner
from ..phones.cepstra import RATE
from ..phones.model import folder
from ..phones.refine import WAYS, Mover
from ..phones.words import Entry, Lexicon, given
from ..signal import Alphabet, LemError, Long, Signal, Word, path_of, stem
from ..signal.phones import PAUSE, PHONES, alphabet_of, spelt
from .contract import Encoder
from .sound import Forward, near, resampled, resampled_pieces

MOST = 1 << 24  # bytes of a text
DOUBTFUL = -4.0  # a score below which text and sound are said not to fit: see docs/phones.md


class Phones(Encoder):
    """Audio [N, C, T] at any rate -> tokens [1, L], an item a batch: phones and pauses with spans, scores, words and alphabet.

    text: a file with what is said in the one sound, or a folder with a text STEM.txt for each sound; its words are looked up
    in pocketsphinx's dictionary of English, after `dictionary`, a file of the same form. phones: in its place the phones
    themselves, in files of the same names (phones.words.given). language: of the text; others than 'en' are spoken by the
    rules of espeak-ng. alphabet: of signal.phones.ALPHABETS; None: ARPABET, or, of `phones`, as they were given. refine: a
    way of phones.refine.WAYS, or the file of a model of lem-train phones. fallback: 'even', to spread the phones of a sound evenly
    where no path can be found.

    The mean of the channels is aligned, at 16 kHz; a Long in pieces, with the same result as an array. spans: one after another, from 0 to the end of the sound. scores: see
    phones.aligner.fit. The history of every item says how it was made: engine, retries, padding (s), pieces, gaps (pauses
    between words), least (phones of the least duration, 30 ms), score (mean over the frames of phones), refine (of a model the name of its file), ruled (words
    that espeak-ng's rules spoke). Nothing depends on other sounds.
    """

    name = "phones"

    def __init__(
        self,
        text: str | None = None,
        phones: str | None = None,
        *,
        dictionary: str | None = None,
        language: str = "en",
        alphabet: str | None = None,
        refine: str = "spectral",
        fallback: str | None = None,
    ):
        if text is not None and phones is not None:
            raise LemError("--text says what is said in words, --phones in phones; give one of them")
        if text is None and phones is None:
            raise LemError("phones needs what is said: --text FILE.txt or --text FOLDER, or its phones: --phones FILE")
        self.refine = refine if refine in WAYS else os.path.basename(refine)
        self.aligner = Aligner(refine if refine in WAYS else _learned(refine), even=fallback == "even")
        self.path, self.given, self.alphabet = text or phones, phones is not None, alphabet
        self.lexicon = Lexicon(os.path.join(folder(), "cmudict-en-us.dict"), dictionary, language)
        self.last: dict[str, Any] = {}
        self.ways: dict[str, int] = {}
        self.doubtful: list[str] = []
        self.count = 0

    def encode(self, signal: Signal) -> Iterator[Signal]:
        for i in range(len(signal)):
            item = signal.take([i])
            yield self._encoded(item, "" if item.names is None else item.names[0])

    def made(self) -> dict[str, Any]:
        return self.last

    def _encoded(self, item: Signal, name: str) -> Signal:
        if item.rate is None:
            raise LemError("a sound without its sample rate; write it as a WAV, or give rate=HZ in Python")
        words = self._words(name)
        rate = near(RATE, round(item.rate))  # one that can be changed to 16 kHz: times are put right below
        found = self.aligner.align(_mono(item.data, rate), words)
        found = found._replace(spans=found.spans * (rate / item.rate))
        self._note(found, name)
        alphabet, symbols = self._symbols(found, words)
        ids = alphabet.ids(symbols)
        return replace(
            item,
            kind="tokens",
            data=ids[None],
            rate=None,
            depth=alphabet.depth,
            spans=found.spans[None],
            scores=found.scores[None],
            words=[_timed(found, words)],
            alphabet=alphabet,
        )

    def _words(self, name: str) -> list[Entry]:
        """What is said in the sound of that name."""
        path = self.path
        if os.path.isdir(path):
            if not name:
                raise LemError(f"{os.fsdecode(path)}: a sound without a name has no text in a folder; give --text FILE")
            path = os.path.join(path, os.path.basename(path_of(stem(name))) + ".txt")
        elif self.count:
            raise LemError(
                f"{os.fsdecode(path)}: the text of one sound; for several give a folder with STEM.txt of each"
            )
        self.count += 1
        try:
            text = _text(path)
            words = given(text) if self.given else self.lexicon.words(text)
            if not words:
                raise LemError(f"a text without {'phones' if self.given else 'words'}; there is nothing to align")
            return words
        except LemError as error:
            shown = os.fsdecode(path)
            raise LemError(str(error) if shown in str(error) else f"{shown}: {error}") from error

    def _symbols(self, found: Aligned, words: Sequence[Entry]) -> tuple[Alphabet, list[str]]:
        """The phones as they are written, and the alphabet of all."""
        if self.given and self.alphabet is None:
            own = iter([symbol for word in words for symbol in word.symbols])
            symbols = ["" if phone == PAUSE else next(own) for phone in found.phones]
            kinds = sorted({*symbols, ""})
            return Alphabet(alphabet_of(kinds), tuple(kinds)), symbols
        name = self.alphabet or "arpabet"
        every = [PAUSE, *(phone.arpabet for phone in PHONES)]
        return Alphabet(name, tuple(spelt(every, name))), spelt(found.phones, name)

    def _note(self, found: Aligned, name: str) -> None:
        ruled = sorted(self.lexicon.ruled)
        self.lexicon.ruled.clear()
        self.last = {**found.record, "refine": self.refine} | ({"ruled": ruled} if ruled else {})
        if found.record["engine"] != "pocketsphinx":
            self.ways[found.record["engine"]] = self.ways.get(found.record["engine"], 0) + 1
        if found.record["score"] is not None and found.record["score"] < DOUBTFUL:
            self.doubtful.append(name)

    def remark(self) -> str | None:
        said = [f"{count} of {self.count} aligned by {engine}" for engine, count in sorted(self.ways.items())]
        if self.doubtful:
            said.append(
                f"text and sound may not belong together in {len(self.doubtful)} of {self.count} (score below "
                f"{DOUBTFUL:g}), as in {self.doubtful[0] or 'the sound'}"
            )
        return "; ".join(said) or None


def _mono(data: np.ndarray | Long, rate: int) -> np.ndarray | Forward:
    """The mean of the channels of a sound [1, C, T] at 16 kHz."""
    if isinstance(data, np.ndarray):
        return resampled(_mean(data[0]), rate, RATE)[0, 0]
    part = math.gcd(rate, RATE)
    count = -(-data.shape[2] * (RATE // part) // (rate // part))
    pieces = data.blocks
    return Forward(lambda: (p[0, 0] for p in resampled_pieces(map(_mean, pieces()), rate, RATE)), count)


def _mean(sound: np.ndarray) -> np.ndarray:
    """The mean of channels [C, t], [1, 1, t], one after another added: in what order numpy's mean adds depends on t."""
    return np.asarray(sum(sound[1:], sound[0]) / len(sound))[None, None]


def _learned(path: str) -> Mover:
    """The network of a file. LemError for what is neither that nor a way of WAYS."""
    taken = f"--refine takes {', '.join(WAYS)}, or a model of lem-train phones"
    if not os.path.exists(path) and not path.endswith(".safetensors"):
        raise LemError(f"--refine {path}: no way to refine, and no file; {taken}")
    from ..phones.learned import Learned

    try:
        return Learned(path)
    except LemError as error:
        raise LemError(f"{error}; {taken}") from error
    except OSError as error:
        raise LemError(f"{os.fsdecode(path)}: {error.strerror}; {taken}") from error


def _timed(found: Aligned, words: Sequence[Entry]) -> list[Word]:
    """The words with their times: from the begin of their first phone to the end of their last."""
    of = np.array(found.words)
    places = [np.flatnonzero(of == number) for number in range(len(words))]
    return [
        Word(word.text, float(found.spans[at[0], 0]), float(found.spans[at[-1], 1])) for word, at in zip(words, places)
    ]


def _text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            raw = file.read(MOST + 1)
    except OSError as error:
        raise LemError(f"{os.fsdecode(path)}: {error.strerror}; it should hold what is said") from error
    if len(raw) > MOST:
        raise LemError(f"more than {MOST} bytes, no text of a sound")
    text = text_of(raw)
    if not text.strip():
        raise LemError("an empty text; there is nothing to align")
    return text
