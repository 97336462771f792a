"""Sequences of labelled segments, such as phones with their times, and which segments of two sequences stand opposite each other.

They are aligned by phone class, without a look at the times.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..catalogue.errors import LemError
from .batch import Signal
from .phones import PAUSE, kind, nearest

PAUSED = 0.02  # s: a longer gap between two spans, or before the first or behind the last, is silence; a shorter one is nothing
MOST = 1 << 26  # cells of an alignment at a time
SILENCE = "silence"


class Segments(NamedTuple):
    """A sequence with its silences. begins, ends: float64 [L], s. classes, phones: what two segments are compared by, and, among
    those of one class, told apart by; None of a token that was lost."""

    begins: np.ndarray
    ends: np.ndarray
    classes: list[str | None]
    phones: list[str | None]


def segments(signal: Signal, item: int, end: float) -> Segments:
    """The tokens of one item, with its gaps as silence, and silences that follow one another as one. LemError without times.

    end: of both sequences, s; behind the last token there is silence up to there. Edges of the sound are no boundaries.
    """
    if signal.alphabet is None or signal.spans is None:
        raise LemError("tokens without times or an alphabet")
    name, rows = signal.alphabet.name, list[tuple[float, float, str | None, str | None]]()
    texts, seen = signal.alphabet.texts(signal.data[item]), signal.observed()[item]

    def add(begin: float, stop: float, class_: str | None, phone: str | None) -> None:
        if class_ == SILENCE and rows and rows[-1][2] == SILENCE:
            rows[-1] = (rows[-1][0], stop, class_, phone)
        else:
            rows.append((begin, stop, class_, phone))

    at = 0.0
    for text, observed, (begin, stop) in zip(texts, seen, signal.spans[item].tolist()):
        if begin - at > PAUSED:
            add(at, begin, SILENCE, PAUSE)
        add(begin, stop, *(_known(text, name) if observed else (None, None)))
        at = stop
    if end - at > PAUSED:
        add(at, end, SILENCE, PAUSE)
    begins, ends, classes, phones = (list(column) for column in zip(*rows))
    return Segments(np.array(begins), np.array(ends), classes, phones)


def _known(text: str, alphabet: str) -> tuple[str, str]:
    """(class, phone) of a symbol. One of no alphabet that is known, a word perhaps, is like itself alone, in any case."""
    known = alphabet if alphabet != "file" else "arpabet"
    if nearest(text, known) == PAUSE:
        return SILENCE, PAUSE
    if alphabet == "file" or (class_ := kind(text, alphabet)) is None:
        return f"={text.casefold()}", text.casefold()
    return class_, nearest(text, alphabet) or text


def shared(true: Segments, guess: Segments) -> list[tuple[int, int]]:
    """The boundaries that match, as (i, j): the ends of segment i of the one sequence and of j of the other. Both those segments and
    those that come next stand opposite each other, each of the other's class."""
    pairs = [
        (i, j) for i, j in align(true, guess) if true.classes[i] is not None and true.classes[i] == guess.classes[j]
    ]
    met = dict(pairs)
    return [(i, j) for i, j in pairs if met.get(i + 1) == j + 1]


def align(true: Segments, guess: Segments) -> list[tuple[int, int]]:
    """Pairs (i, j) of segments that stand opposite each other, in order (Needleman and Wunsch 1970).

    The fewest segments that are left out or stand opposite one of another class; among such alignments the one with the most
    equal phones. Memory is bounded: long sequences are cut where the best alignment goes through (Hirschberg 1975).
    """
    ids = {
        name: i for i, name in enumerate(dict.fromkeys([*true.classes, *guess.classes, *true.phones, *guess.phones]))
    }
    one, two = (np.array([[ids[name] for name in names] for names in (s.classes, s.phones)]) for s in (true, guess))
    step = 1 + min(one.shape[1], two.shape[1])  # so that no number of unequal phones is worth another class
    return _opposite(one, two, step)


def _opposite(one: np.ndarray, two: np.ndarray, step: int) -> list[tuple[int, int]]:
    """The pairs of two sequences of (class, phone), int [2, L] and [2, M]."""
    count, width = one.shape[1], two.shape[1]
    if count < 2 or count * width <= MOST:
        ways = np.zeros((count + 1, width + 1), np.uint8)
        _costs(one, two, step, ways)
        return _traced(ways)
    half = count // 2
    rest = _costs(one[:, half:][:, ::-1], two[:, ::-1], step)[::-1]
    place = int(np.argmin(_costs(one[:, :half], two, step) + rest))
    after = _opposite(one[:, half:], two[:, place:], step)
    return _opposite(one[:, :half], two[:, :place], step) + [(half + i, place + j) for i, j in after]


def _costs(one: np.ndarray, two: np.ndarray, step: int, ways: np.ndarray | None = None) -> np.ndarray:
    """int [M + 1]: what the best alignment of the first sequence with the beginnings of the second one costs.

    ways: uint8 [L + 1, M + 1], filled with how it comes there: 0, opposite each other; 1, the first one's is left out; 2, the
    second one's."""
    along = np.arange(two.shape[1] + 1) * step
    above = along
    if ways is not None:
        ways[0, 1:], ways[1:, 0] = 2, 1
    for i, (class_, phone) in enumerate(one.T, 1):
        opposite = above[:-1] + np.where(two[0] == class_, two[1] != phone, step)
        left = above[1:] + step
        best = np.concatenate([above[:1] + step, np.minimum(opposite, left)])
        above = np.minimum.accumulate(best - along) + along
        if ways is not None:
            ways[i, 1:] = np.where(above[1:] == opposite, 0, np.where(above[1:] == left, 1, 2))
    return above


def _traced(ways: np.ndarray) -> list[tuple[int, int]]:
    """The pairs on the way back from the end."""
    pairs, i, j = [], ways.shape[0] - 1, ways.shape[1] - 1
    while i or j:
        way = ways[i, j]
        i, j = i - (way != 2), j - (way != 1)
        if way == 0:
            pairs.append((int(i), int(j)))
    return pairs[::-1]
