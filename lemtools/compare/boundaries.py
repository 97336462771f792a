"""Boundaries of phones, or of words: how far those of a guess lie from the true ones.

Sequences are aligned first, by phone class, without a look at the times; what is measured are the boundaries between two neighbours
that both stand opposite one of their class. Times are seconds; what is printed is ms.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ..signal import LemError, Signal
from ..signal.phones import READ
from ..signal.segments import Segments, segments, shared
from .summary import Pooled, Whole, ratio_half, ratio_interval

FAR = 100  # times as long as those of the other side, spans are of another unit
LONGEST = 10.0  # s: half of the phones of no speech last so long


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
    """The boundaries of each item of two batches of tokens [N, L] and [N, M] with spans and alphabets. LemError for one whose times
    seem to be milliseconds."""
    found = []
    for i in range(len(original)):
        _check_unit(original, guess, i)
        end = max(float(side.spans[i, -1, 1]) for side in (original, guess))
        found.append(compared(*(segments(side, i, end) for side in (original, guess))))
    return found


def _check_unit(original: Signal, guess: Signal, item: int) -> None:
    """Refuse times that are no seconds: spans far longer than those of the other side, or than any phone."""
    usual = [float(np.median(np.diff(side.spans[item])) if side.spans is not None else 0) for side in (original, guess)]
    for side, mine, other in zip((original, guess), usual, usual[::-1]):
        phones = side.alphabet is not None and side.alphabet.name in READ
        if mine > FAR * other > 0 or (phones and mine > LONGEST):
            name = side.names[item] if side.names else f"item {item}"
            beside = f" and {other:.3g} s in the other" if mine > FAR * other > 0 else ""
            raise LemError(
                f"{name}: half of its spans last {mine:.3g} s or more{beside}; times are seconds: divide milliseconds by 1000"
            )


def compared(true: Segments, guess: Segments) -> Boundaries:
    """The boundaries that match: see signal.segments.shared."""
    errors = [guess.begins[j + 1] - true.begins[i + 1] for i, j in shared(true, guess)]
    return Boundaries(np.array(errors, np.float64), (true, guess))


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
