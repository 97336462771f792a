"""Files of labels with times, to and from tokens with spans: which tier is which, and what of a file is its alphabet."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence

import numpy as np

from ..signal import Alphabet, LemError, Signal, Word
from ..signal.phones import ALPHABETS, PAUSE, READ, nearest, stands_in, symbols_of
from . import label_files, textgrid
from .how import Reading
from .textgrid import Row, Tier

# what tiers of phones are called, in lower case: by MFA and praatIO, by WebMAUS, by Emu
PHONES = ("phones", "phone", "phonemes", "phoneme", "mau", "phonetic", "segments")
KINDS = (None, "tokens", "lab")  # what --kind may be, for a text to be looked at as labels
LOST = "<lost>"  # the label of a token that a fragment has lost


def from_textgrid(raw: bytes, names: list[str] | None, how: Reading) -> Signal:
    """The tokens of a TextGrid in UTF-8 or UTF-16. LemError where it is damaged."""
    return _signal(textgrid.read(_decoded(raw)), names, how)


def from_text(text: str, where: str, names: list[str] | None, how: Reading) -> Signal | None:
    """The tokens of any other text of labels: our JSON, Emu's, a table, or HTK's, which has no mark and is known by its name
    (.lab) or by `how.kind`. None for a text that is none of these."""
    if how.kind not in KINDS:
        return None
    text = text.removeprefix("\ufeff")
    called = (names or [where])[0]
    if how.kind == "lab" or (called.lower().removesuffix(".gz").endswith(".lab") and label_files.looks_like_lab(text)):
        return _signal([label_files.lab(text)], names, how)
    if text.lstrip()[:1] == "{" and (record := label_files.parsed(text)) is not None:
        if (found := label_files.own(record)) is not None:
            tiers, facts = found
            signal = _signal(tiers, names, how, facts["alphabet"])
            signal.history = facts["history"]
            return signal
        if (levels := label_files.emu(record)) is not None:
            return _signal(levels, names, how)
        return None
    tier = label_files.table(text)
    return None if tier is None else _signal([tier], names, how)


def _decoded(raw: bytes) -> str:
    utf16 = raw[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    try:
        return raw.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        way = "save it as UTF-8, or iconv -f ISO-8859-1 -t UTF-8 IN > OUT"
        raise LemError(f"a TextGrid in neither UTF-8 nor UTF-16 ({error.reason}); {way}") from error


def _signal(tiers: Sequence[Tier], names: list[str] | None, how: Reading, alphabet: str | None = None) -> Signal:
    """One item: its tokens are the intervals of one tier, empty ones too; its words, where another tier has them."""
    tier = _phones(tiers, how.key)
    if not tier.rows:
        raise LemError(f"tier {tier.name} holds no intervals")
    made = _alphabet({text for _, _, text in tier.rows}, alphabet)
    found = _called(tiers, label_files.WORDS)
    words = None
    if len(found) == 1 and found[0] is not tier:
        words = [[Word(text, begin, end) for begin, end, text in found[0].rows if text.strip()]]
    spans = np.array([row[:2] for row in tier.rows], np.float64)[None]
    try:
        return Signal(
            "tokens",
            made.ids(text for _, _, text in tier.rows)[None],
            names=names,
            last=True,
            depth=made.depth,
            spans=spans,
            scores=None if tier.scores is None else np.array(tier.scores, np.float32)[None],
            words=words,
            alphabet=made,
        )
    except LemError as error:
        wrong = str(error).removeprefix("spans of item 0: ")
        raise LemError(f"tier {tier.name}: {wrong}; mend that tier, or take another one with --key") from error


def _phones(tiers: Sequence[Tier], key: str | None) -> Tier:
    """The tier whose intervals are the tokens: that of the name `key`, or the first of several names with commas between them, else the one that is called as phones are, else the only
    one. LemError, with all names, where that does not say which."""
    if not tiers:
        raise LemError("no tier of intervals; tiers of points say no ends, and are passed over")
    names = ", ".join(tier.name for tier in tiers)
    if key is not None:
        asked = [[tier for tier in tiers if tier.name == name] for name in (key, *key.split(","))]
        found = next(filter(None, asked), [])
        if len(found) != 1:
            what = f"{'no' if not found else 'several'} interval tiers called {key!r}; there are: {names}"
            raise LemError(
                what
                if found
                else f"{what}; of files with other names each, --key NAME,NAME takes the first that there is"
            )
        return found[0]
    found = _called(tiers, PHONES) or list(tiers)
    if len(found) != 1:
        raise LemError(f"which interval tier holds the phones? --key NAME picks one; there are: {names}")
    return found[0]


def _called(tiers: Sequence[Tier], names: tuple[str, ...]) -> list[Tier]:
    """The tiers with the first of the names that any has, also behind a speaker's, as in 'mary - phones'."""
    called = {name: [t for t in tiers if t.name.strip().lower().rpartition(" - ")[2] == name] for name in names}
    return next(filter(None, called.values()), [])


def _alphabet(symbols: set[str], name: str | None) -> Alphabet:
    """The whole of an alphabet that has all the symbols, so that ids of several files mean the same; else these symbols, in
    order. name: of the alphabet; None: that which has the most of them, 'file' where none has more than half."""
    if name is None:
        spoken = [symbol for symbol in symbols if nearest(symbol, READ[0]) != PAUSE]
        counts = {name: sum(stands_in(symbol, name) for symbol in spoken) for name in READ}
        best = max(counts, key=lambda name: counts[name])
        name = best if 2 * counts[best] > len(spoken) else "file"
    whole = symbols_of(name) if name in ALPHABETS else ()
    return Alphabet(name, whole if symbols <= set(whole) else tuple(sorted(symbols)))


def labels(item: Signal) -> list[Row]:
    """(begin, end, symbol) of the tokens of a batch of one; a token that was lost is called LOST. LemError without times."""
    if item.spans is None or item.alphabet is None:
        raise LemError("tokens without times or an alphabet; write safetensors or npy")
    texts = item.alphabet.texts(item.data[0])
    seen = item.observed()[0]
    return [(begin, end, t if o else LOST) for (begin, end), t, o in zip(item.spans[0].tolist(), texts, seen)]


def _as_textgrid(item: Signal) -> str:
    words = [] if item.words is None else [Tier("words", [(w.begin, w.end, w.text) for w in item.words[0]])]
    return textgrid.write([*words, Tier("phones", labels(item))])


def _scores(item: Signal) -> list[float] | None:
    return None if item.scores is None else item.scores[0].tolist()


WRITERS: dict[str, Callable[[Signal], str]] = {
    "textgrid": _as_textgrid,
    "lab": lambda item: label_files.write_lab(labels(item), _scores(item)),
    "json": lambda item: label_files.write_own(item, labels(item), _scores(item)),
}
