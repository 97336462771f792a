"""Praat's TextGrids, long and short, as the Praat manual describes them ("TextGrid file formats"): what counts in a text file are
the numbers, quoted texts and flags that stand free, in their order; everything else is for human eyes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ..signal import LemError

Row = tuple[float, float, str]
_FREE = re.compile(
    r"""
      "([^"]*(?:""[^"]*)*)"                                              # a text, in which "" stands for one quote
    | (?<!\S)<(\w+)>(?!\S)                                               # a flag
    | (?<!\S)([-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)(?!\S)       # a number
    | ![^\n]*                                                            # a comment
    | [^\s"]+                                                            # any other word
    """,
    re.VERBOSE,
)


class Tier(NamedTuple):
    """A tier of intervals: (begin, end, text) in seconds, in order; scores: None, or one an interval."""

    name: str
    rows: list[Row]
    scores: list[float] | None = None


def read(text: str) -> list[Tier]:
    """The interval tiers of a TextGrid; tiers of points are passed over. LemError where it is cut short or damaged."""
    free = _tokens(text)
    kind, what = _next(free, str, "its kind"), _next(free, str, "its class")
    if not kind.startswith("ooTextFile") or what != "TextGrid":
        raise LemError(f"a Praat file of {what[:40]}, not a TextGrid")
    for end in ("its begin", "its end"):
        _next(free, float, end)
    if _next(free, bool, "<exists>") is False:
        return []
    found = (_tier(free, i) for i in range(1, 1 + _count(free, "of tiers")))
    return [tier for tier in found if tier is not None]


def _tier(free: Iterator[Any], number: int) -> Tier | None:
    kind, name = _next(free, str, f"class of tier {number}"), _next(free, str, f"name of tier {number}")
    if kind not in ("IntervalTier", "TextTier"):
        raise LemError(f"tier {number} ({name[:40]}): a {kind[:40]!r}, where intervals or points are known")
    where = f"tier {name[:40]}"
    for end in ("begin", "end"):
        _next(free, float, f"{end} of {where}")
    count, rows = _count(free, f"of {where}"), []
    for i in range(1, count + 1):
        place = f"in {where}, interval {i} of {count}"
        if kind == "TextTier":
            _next(free, float, place), _next(free, str, place)
            continue
        rows.append((_next(free, float, place), _next(free, float, place), _next(free, str, place)))
    return Tier(name, rows) if kind == "IntervalTier" else None


def _tokens(text: str) -> Iterator[Any]:
    """Texts as str, numbers as float, the flag <exists> as True and others as False."""
    for match in _FREE.finditer(text):
        quoted, flag, number = match.groups()
        if quoted is not None:
            yield quoted.replace('""', '"')
        elif flag is not None:
            yield flag == "exists"
        elif number is not None:
            yield float(number)


def _next(free: Iterator[Any], type_: type, what: str) -> Any:
    value = next(free, None)
    if value is None:
        raise LemError(f"a TextGrid cut short ({what})")
    if type(value) is not type_:
        called = {str: "a text", float: "a number", bool: "a flag"}
        raise LemError(f"damaged TextGrid: {called[type(value)]}, {str(value)[:40]!r}, for {called[type_]} ({what})")
    return value


def _count(free: Iterator[Any], what: str) -> int:
    value = _next(free, float, f"number {what}")
    if not (value >= 0 and math.isfinite(value) and value == int(value)):
        raise LemError(f"damaged TextGrid: {value:g} as the number {what}")
    return int(value)


def write(tiers: Sequence[Tier]) -> str:
    """A TextGrid in the long form, from 0 to the latest end of all; empty intervals fill the gaps of each tier.

    Intervals stand in order and do not overlap. Raises LemError for one of no length, which a TextGrid does not hold, and for
    times before 0.
    """
    end = max((row[1] for tier in tiers for row in tier.rows), default=0.0)
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {_number(end)}",
        "tiers? <exists>",
        f"size = {len(tiers)}",
        "item []:",
    ]
    for i, tier in enumerate(tiers, 1):
        rows = _filled(tier, end)
        lines += [f"    item [{i}]:", '        class = "IntervalTier"', f"        name = {_quoted(tier.name)}"]
        lines += [
            "        xmin = 0",
            f"        xmax = {_number(end)}",
            f"        intervals: size = {len(rows)}",
        ]
        for k, (begin, stop, text) in enumerate(rows, 1):
            lines += [
                f"        intervals [{k}]:",
                f"            xmin = {_number(begin)}",
                f"            xmax = {_number(stop)}",
                f"            text = {_quoted(text)}",
            ]
    return "\n".join(lines) + "\n"


def _filled(tier: Tier, end: float) -> list[Row]:
    """The intervals of a tier and the empty ones between them, from 0 to `end`."""
    rows, at = [], 0.0
    for begin, stop, text in tier.rows:
        if begin < 0:
            raise LemError(f"{text!r} begins at {begin:g} s; a TextGrid written here begins at 0: write json")
        if begin > at:
            rows.append((at, begin, ""))
        begin = max(begin, at)  # where rounded times overlap a little
        if stop <= begin:
            raise LemError(f"{text!r} at {begin:g} s has no length, which a TextGrid does not hold; write json")
        rows.append((begin, stop, text))
        at = stop
    return [*rows, (at, end, "")] if at < end else rows


def _number(seconds: float) -> str:
    """The shortest digits that are the same number when they are read."""
    text = repr(float(seconds))
    return text.removesuffix(".0")


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
