"""Texts as words, and words as the phones that they may be spoken with: a dictionary, then espeak-ng's rules, then a refusal."""

from __future__ import annotations

import os
import re
from functools import cached_property
from typing import NamedTuple

from ..media.coding import text_of
from ..signal import LemError
from ..signal.phones import KINDS, PAUSE, alphabet_of, nearest
from . import espeak

MOST = 1 << 26  # bytes of a dictionary
APOSTROPHES = str.maketrans("’‘ʼ`", "''''")  # noqa: RUF001
SPOKEN = "&%$€£°+"  # signs that are said, so that to leave them out would be another text
_TAKEN = "as most of these are; --phones takes ARPABET, IPA, misaki's letters or SAMPA, with spaces between phones"
_BETWEEN = re.compile(rf"(?:(?!(?<=\d)[.,:]\d)[^\w'{SPOKEN}])+")  # words; 1,000 and 3.5 and 10:30 are one


class Entry(NamedTuple):
    """A word: as it is written, the ways that it may be spoken (ARPABET), and, where its phones were given, their symbols."""

    text: str
    spoken: tuple[tuple[str, ...], ...]
    symbols: tuple[str, ...] = ()


class Lexicon:
    """What words may sound like.

    path: a dictionary of the form of CMU's, a word and its phones a line. own: another one, whose words come first. language:
    'en', or another one that espeak-ng speaks; then the English dictionary is not looked into.
    """

    def __init__(self, path: str, own: str | None = None, language: str = "en"):
        self.path, self.language = path, language
        self._own = read(own) if own else {}
        self.ruled: set[str] = set()  # words that espeak-ng's rules spoke

    @cached_property
    def _words(self) -> dict[str, tuple[tuple[str, ...], ...]]:
        return read(self.path) if self.language == "en" else {}

    def words(self, text: str) -> list[Entry]:
        """The words of a text. LemError where there are none, and for one whose phones nothing tells."""
        return [word for part in text.translate(APOSTROPHES).split() for word in self._looked_up(part)]

    def _looked_up(self, part: str) -> list[Entry]:
        plain = re.sub(rf"^[^\w'{SPOKEN}]+|[^\w'{SPOKEN}]+$", "", part).lower()
        if not re.search(rf"[\w{SPOKEN}]", plain):
            return []
        for text in (plain, plain.strip("'")):
            if found := self._own.get(text) or self._words.get(text):
                return [Entry(text, found)]
        if len(pieces := _BETWEEN.split(plain)) > 1:
            return [word for piece in pieces for word in self._looked_up(piece)]
        plain = plain.strip("'")
        phones = espeak.phones(plain, self.language)
        if phones is None:
            raise LemError(self._unknown(plain))
        self.ruled.add(plain)
        return [Entry(plain, (tuple(phones),))]

    def _unknown(self, word: str) -> str:
        """What is wrong with a word whose phones nothing tells, and the way out."""
        rules = "install the rules of espeak-ng (pip install espeakng-loader, GPL)"
        own = "give its phones with --dict FILE" + ("" if word.isalpha() else ", write it in letters, as it is spoken")
        if espeak.installed():
            return f"the rules of espeak-ng have no phones for {word[:40]!r}; {own}"
        if self.language != "en":
            return f"--language {self.language} is spoken by rules, not by the dictionary, which is English; {rules}"
        return f"the word {word[:40]!r} is not in the dictionary; {own}, or {rules}"


def read(path: str) -> dict[str, tuple[tuple[str, ...], ...]]:
    """{word: ways to speak it} of a dictionary of the form of CMU's: `word PH PH`, `word(2) PH PH`, stress marks or none, lines
    that begin with ;;; or # left out. LemError for a line with a phone that is none."""
    shown = os.fsdecode(path)
    found: dict[str, list[tuple[str, ...]]] = {}
    try:
        with open(path, "rb") as file:
            raw = file.read(MOST + 1)
        text = text_of(raw)
    except OSError as error:
        raise LemError(f"{shown}: {error.strerror}; --dict takes a file with lines `word PH PH`") from error
    except LemError as error:
        raise LemError(f"{shown}: {error}") from error
    if len(raw) > MOST:
        raise LemError(f"{shown}: more than {MOST} bytes, no dictionary")
    known = {f"{name}{mark}": name for name in KINDS for mark in ("", "0", "1", "2")}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith((";;;", "#")):
            continue
        word, *phones = line.split(" #")[0].split()
        try:
            spoken = tuple(known[phone] for phone in phones)
        except KeyError as error:
            raise LemError(
                f"{shown}: line {number}: {str(error.args[0])[:20]!r} is no ARPABET phone; lines are `word PH PH`"
            ) from error
        if not spoken:
            raise LemError(f"{shown}: line {number}: {word[:40]!r} has no phones; lines are `word PH PH`")
        found.setdefault(re.sub(r"\(\w+\)$", "", word).lower(), []).append(spoken)
    return {word: tuple(ways) for word, ways in found.items()}


def given(text: str) -> list[Entry]:
    """The words of a text of phones: symbols of one alphabet (signal.phones.READ) with spaces between them, and | or the end of
    a line between words. Each word is called by its symbols. LemError for a symbol that no alphabet has."""
    rows = [row.split() for line in text.splitlines() for row in line.split("|") if row.split()]
    alphabet = alphabet_of([symbol for row in rows for symbol in row])
    words = []
    for row in rows:
        spoken = [nearest(symbol, alphabet) for symbol in row]
        if None in spoken:
            raise LemError(f"{row[spoken.index(None)][:20]!r} is no phone in {alphabet}, {_TAKEN}")
        pairs = [(phone, symbol) for phone, symbol in zip(spoken, row) if phone not in (None, PAUSE)]
        if pairs:
            words.append(
                Entry("".join(s for _, s in pairs), (tuple(str(p) for p, _ in pairs),), tuple(s for _, s in pairs))
            )
    return words
