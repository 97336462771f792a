"""Boundaries of phones, or of words: how far those of a guess lie from the true ones.

Sequences are aligned first, by phone class, without a look at the times; what is measured are the boundaries between two neighbours
that both stand opposite one of their class. Times are seconds; what is printed is ms.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ..signal import Signal
from ..signal.phones import PAUSE, kind, nearest
from .summary import Pooled, Whole, ratio_half, ratio_interval

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


class Boundaries(NamedTuple):
    """Of one item. errors: float64 [M], guessed minus true time in s, of the boundaries that match. sides: the true and the
    guessed sequence."""

    errors: np.ndarray
    sides: tuple[Segments, Segments]

    @property
    def true(self) -> int:
        """How many boundaries the true sequence has."""
        return len(self.sides[0].classes) - 1

    @property
    def guessed(self) -> int:
        """The same of the guessed one."""
        return len(self.sides[1].classes) - 1


def boundaries(original: Signal, guess: Signal) -> list[Boundaries]:
    """The boundaries of each item of two batches of tokens [N, L] and [N, M] with spans and alphabets."""
    found = []
    for i in range(len(original)):
        end = max(float(side.spans[i, -1, 1]) for side in (original, guess))
        found.append(compared(*(segments(side, i, end) for side in (original, guess))))
    return found


def segments(signal: Signal, item: int, end: float) -> Segments:
    """The tokens of one item, with its gaps as silence, and silences that follow one another as one.

    end: of both sequences, s; behind the last token there is silence up to there. Edges of the sound are no boundaries.
    """
    name, rows = signal.alphabet.name, []
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


def compared(true: Segments, guess: Segments) -> Boundaries:
    """The boundaries that match: two neighbours of one sequence stand opposite two of the other, each of the other's class."""
    pairs = [
        (i, j) for i, j in align(true, guess) if true.classes[i] is not None and true.classes[i] == guess.classes[j]
    ]
    met = dict(pairs)
    both = [(i, j) for i, j in pairs if met.get(i + 1) == j + 1]
    errors = [guess.begins[j + 1] - true.begins[i + 1] for i, j in both]
    return Boundaries(np.array(errors, np.float64), (true, guess))


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


# --- metrics


def _ratio(found: Iterable[tuple[float, float]], ends: tuple[float, float]) -> Pooled:
    """Of (sum, count) an item: the sum over all items over the count over all."""
    sums, counts = np.array([*found], np.float64).reshape(-1, 2).T
    with np.errstate(invalid="ignore", divide="ignore"):
        return Pooled(sums / counts, *ratio_interval(sums, counts, ends=ends))


def _ms(found: Sequence[Boundaries]) -> list[np.ndarray]:
    return [1e3 * item.errors for item in found]


def mean_error(a, b, *, boundaries: Sequence[Boundaries]) -> Pooled:
    """Mean absolute error of the boundaries that match, ms; over all of them, with an interval over items."""
    return _ratio(((np.abs(e).sum(), len(e)) for e in _ms(boundaries)), (0, np.inf))


def bias(a, b, *, boundaries: Sequence[Boundaries]) -> Pooled:
    """Mean of guessed minus true time, ms: above 0 the guess is late."""
    return _ratio(((e.sum(), len(e)) for e in _ms(boundaries)), (-np.inf, np.inf))


def within(a, b, *, k: int, boundaries: Sequence[Boundaries]) -> Pooled:
    """Share of the boundaries that match whose error is k ms at most."""
    return _ratio(((_hits(e, k), len(e)) for e in _ms(boundaries)), (0, 1))


def _hits(errors: np.ndarray, k: int) -> int:
    """How many errors are k ms at most; times in files are rounded."""
    return int((np.abs(errors) <= k + 1e-6).sum())


def f1(a, b, *, k: int, boundaries: Sequence[Boundaries]) -> Pooled:
    """2 hits over the boundaries of both sequences, all of them: a hit matches, and its error is k ms at most."""
    return _ratio(((2 * _hits(1e3 * item.errors, k), item.true + item.guessed) for item in boundaries), (0, 1))


def matched(a, b, *, boundaries: Sequence[Boundaries]) -> Pooled:
    """Share of the true boundaries that match, and so are measured."""
    return _ratio(((len(item.errors), item.true) for item in boundaries), (0, 1))


def count(a, b, *, boundaries: Sequence[Boundaries]) -> Whole:
    """How many boundaries match, and how many true ones there are."""
    return Whole(float(sum(len(item.errors) for item in boundaries)), float(sum(item.true for item in boundaries)))


def median_error(a, b, *, boundaries: Sequence[Boundaries]) -> Pooled:
    """Median absolute error of the boundaries that match, ms; its interval is Woodruff's (1952), over items: the quantiles at the
    ends of the interval of the share of errors that lie below it."""
    errors = [np.abs(e) for e in _ms(boundaries)]
    values = np.array([np.median(e) if len(e) else np.nan for e in errors])
    together = np.sort(np.concatenate(errors))
    if not len(together):
        return Pooled(values, np.nan, None, None)
    middle = float(np.median(together))
    below, counts = np.array([[(e <= middle).sum(), len(e)] for e in errors], np.float64).T
    half = ratio_half(below, counts)
    ends = None if half is None else np.quantile(together, np.clip([0.5 - half, 0.5 + half], 0, 1))
    return Pooled(values, middle, *((None, None) if ends is None else map(float, ends)))
