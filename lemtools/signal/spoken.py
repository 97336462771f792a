"""What is said when: symbols that ids stand for, words with their times, and how both travel."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..catalogue.errors import LemError
from .names import pack_texts, unpack_texts

MOST_SYMBOLS = 1 << 16
SLACK = 1e-6  # s: times in files are rounded, so one span may end that much behind the beginning of the next
Tensors = dict[str, np.ndarray]
WORDS = ("words.utf8", "words.offsets", "words.items", "words.spans")


class Word(NamedTuple):
    """A word, or whatever a longer stretch is called, from `begin` to `end` in seconds."""

    text: str
    begin: float
    end: float


class Alphabet(NamedTuple):
    """What the ids of tokens stand for: id i is `symbols[i]`. name: 'arpabet', 'ipa', ..., or 'file' for the labels of a file
    that belong to no alphabet that is known."""

    name: str
    symbols: tuple[str, ...]

    @property
    def depth(self) -> int:
        """Bits an id."""
        return max(1, (len(self.symbols) - 1).bit_length())

    def ids(self, symbols: Iterable[str]) -> np.ndarray:
        """uint16 [L]: the ids of symbols. LemError for one that is not among them."""
        if len(self.symbols) > MOST_SYMBOLS:
            raise LemError(f"{len(self.symbols)} symbols, of which an alphabet has {MOST_SYMBOLS} at most")
        places = {symbol: i for i, symbol in enumerate(self.symbols)}
        symbols = list(symbols)
        for unknown in (symbol for symbol in symbols if symbol not in places):
            raise LemError(f"no symbol {unknown!r} in {self.name}; there are {' '.join(self.symbols)[:200]}")
        return np.array([places[symbol] for symbol in symbols], np.uint16)

    def texts(self, ids: Iterable[int]) -> list[str]:
        """The symbols of ids [L]."""
        return [self.symbols[i] for i in ids]

    @classmethod
    def read(cls, record: Any) -> Alphabet:
        """The alphabet of a document's record {"name", "symbols"}; LemError where it is none."""
        name, symbols = (record.get(key) for key in ("name", "symbols"))
        if not (isinstance(name, str) and isinstance(symbols, list) and all(isinstance(s, str) for s in symbols)):
            raise LemError("damaged document (alphabet)")
        return cls(name, tuple(symbols))


def written(alphabet: Alphabet | None) -> str:
    """What ids of tokens stand for, in a sentence."""
    return "of no alphabet" if alphabet is None else f"of {alphabet.name} with {len(alphabet.symbols)} symbols"


def check(
    kind: str,
    data: np.ndarray,
    spans: np.ndarray | None,
    scores: np.ndarray | None,
    words: Sequence[Sequence[Word]] | None,
    alphabet: Alphabet | None,
) -> None:
    """Raise LemError where what a batch says of its tokens does not fit them.

    Spans are finite, none ends before it begins, and none begins before the one before it has ended (SLACK allowed).
    """
    there = {"spans": spans, "scores": scores, "words": words, "an alphabet": alphabet}
    if kind != "tokens":
        if found := [name for name, value in there.items() if value is not None]:
            raise LemError(f"{' and '.join(found)} are for tokens, not {kind}")
        return
    if spans is not None:
        if spans.dtype != np.float64 or spans.shape != (*data.shape, 2):
            raise LemError(f"spans {spans.dtype} {list(spans.shape)} do not fit tokens {list(data.shape)}")
        if (wrong := disorder(spans)) is not None:
            raise LemError(f"spans of item {wrong[0]}: {wrong[1]}")
    if scores is not None and (scores.dtype != np.float32 or scores.shape != data.shape):
        raise LemError(f"scores {scores.dtype} {list(scores.shape)} do not fit tokens {list(data.shape)}")
    if words is not None and len(words) != len(data):
        raise LemError(f"words of {len(words)} items do not fit {len(data)}")
    if alphabet is not None:
        count = len(alphabet.symbols)
        if not 1 <= count <= MOST_SYMBOLS or len(set(alphabet.symbols)) < count:
            raise LemError(f"an alphabet has 1 to {MOST_SYMBOLS} symbols, each once, not {count}")
        if data.size and not 0 <= int(data.min()) <= int(data.max()) < count:
            raise LemError(f"token {int(data.max())}: the alphabet {alphabet.name} has {count} symbols")


def disorder(spans: np.ndarray) -> tuple[int, str] | None:
    """(item, what is wrong) of spans [N, L, 2] that are not one after another; None where they are."""
    begin, end = spans[..., 0], spans[..., 1]
    rules = (
        (~np.isfinite(spans).all(axis=-1), "times that are not finite"),
        (end < begin, "{1:.6g} s, an end before its begin, {0:.6g} s"),
        (np.diff(begin, axis=1, append=np.inf) < -SLACK, "times out of order, at {0:.6g} s"),
        (begin[:, 1:] < end[:, :-1] - SLACK, "one begins before the one before it ends, at {1:.6g} s"),
    )
    for wrong, said in rules:
        if wrong.any():
            item, place = (int(i) for i in np.argwhere(wrong)[0])
            return item, said.format(*spans[item, place])
    return None


def pack_words(words: Sequence[Sequence[Word]]) -> Tensors:
    """The words of N items as tensors: texts, times [W, 2], and `words.items` [N + 1], where those of an item begin."""
    flat = [word for item in words for word in item]
    return {
        **pack_texts("words", [word.text for word in flat]),
        "words.items": np.cumsum([0, *map(len, words)], dtype=np.int64),
        "words.spans": np.array([word[1:] for word in flat], np.float64).reshape(-1, 2),
    }


def unpack_words(tensors: Tensors, n: int) -> list[list[Word]]:
    """Inverse of `pack_words`. LemError where the tensors do not fit together."""
    text, offsets, items, spans = (tensors[name] for name in WORDS)
    if items.shape != (n + 1,) or items[0] != 0 or items[-1] != len(spans) or (np.diff(items) < 0).any():
        raise LemError("damaged document (words)")
    if not np.isfinite(spans).all() or (spans[:, 1] < spans[:, 0]).any():
        raise LemError("damaged document (times of words)")
    texts = unpack_texts(text, offsets, len(spans), "words")
    flat = [Word(text, *times) for text, times in zip(texts, spans.tolist())]
    return [flat[a:b] for a, b in itertools.pairwise(items.tolist())]
