"""What options of several commands are made of: lists of numbers, bytes, sizes, classes, names."""

from collections.abc import Iterable

import click

from ..catalogue import near

MOST = 1_000_000  # numbers of a list
SIDE = 1 << 20  # px
WHOLE = 2**63 - 1  # what a number on the wire can be


def _short(value: str) -> str:
    """As much of a value as a line shows."""
    return value if len(value) < 40 else value[:36] + " ..."


class Numbers(click.ParamType):
    """Whole numbers, as in 0-99 or 3,5,9-17; of a range every `step`-th, of step 2 the odd ones."""

    name = "numbers"

    def __init__(self, step: int = 1, lowest: int = 0, highest: int = MOST):
        self.step, self.lowest, self.highest = step, lowest, highest

    def convert(self, value, param, ctx):
        if not isinstance(value, str):
            return value
        out = []
        try:
            for part in value.split(","):
                low, dash, high = part.partition("-")
                ends = int(low), int(high) if dash else int(low)
                if not self.lowest <= ends[0] <= ends[1] <= self.highest or ends[1] - ends[0] + len(out) >= MOST:
                    raise ValueError
                out += range(ends[0] | 1 if dash and self.step == 2 else ends[0], ends[1] + 1, self.step)
        except ValueError:
            shown = _short(value)
            limits = f"whole numbers from {self.lowest} to {self.highest}, at most {MOST} of them"
            self.fail(f"{shown!r}: {limits}, as in 4, 0-99 or 3,5,7", param, ctx)
        return list(dict.fromkeys(out))


class Bytes(click.ParamType):
    """A number of bytes, as in 512M or 1GiB."""

    name = "bytes"

    def convert(self, value, param, ctx):
        import re

        match = re.fullmatch(r"(\d{1,18}(?:\.\d{1,18})?)([kmgt]?)(?:i?b)?", str(value).lower())
        count = int(float(match[1]) * 1024 ** " kmgt".index(match[2] or " ")) if match else 0
        return count or self.fail(f"{_short(str(value))!r}: bytes, as in 512M or 1GiB", param, ctx)


class Size(click.ParamType):
    """PX or WIDTHxHEIGHT, as (width, height)."""

    name = "size"

    def convert(self, value, param, ctx):
        if not isinstance(value, str):
            return value
        try:
            width, times, height = value.lower().partition("x")
            sides = int(width), int(height) if times else int(width)
            if 1 <= min(sides) and max(sides) <= SIDE:
                return sides
        except ValueError:
            pass
        return self.fail(f"{_short(value)!r}: pixels, as in 32 or 48x32", param, ctx)


class Sides(click.ParamType):
    """ROWSxCOLUMNS, as (rows, columns)."""

    name = "sides"

    def convert(self, value, param, ctx):
        if not isinstance(value, str):
            return value
        rows, times, columns = value.partition("x")
        if all(side.isdecimal() and 1 <= int(side[:9]) <= SIDE for side in ((rows, columns) if times else (rows,))):
            return int(rows), int(columns or rows)
        return self.fail(f"{_short(value)!r}: rows x columns, as in 32x1024", param, ctx)


def hint(word: str, known: Iterable[str]) -> str:
    """The known words that are like one that is not known, as the end of a line; '' where there are none."""
    found = near(word, known)
    return f"; near it: {', '.join(found)}" if found else ""


class Choice(click.Choice):
    """One of some words."""

    def get_invalid_choice_message(self, value, ctx=None):
        return super().get_invalid_choice_message(value, ctx).rstrip(".") + hint(str(value), self.choices)

    def get_missing_message(self, param, ctx=None):
        return f"It is one of {', '.join(self.choices)}"


class OneOf(Choice):
    """A name of a table of the catalogue, as it is at this moment."""

    def __init__(self, table):
        self.table, self.case_sensitive = table, True

    @property
    def choices(self):  # type: ignore[override]  # click has it as an attribute
        return tuple(self.table)


class Label(click.ParamType):
    """A class, or `each`."""

    name, words = "label", ["each"]

    def convert(self, value, param, ctx):
        if value == "each":
            return value
        if str(value).isdecimal() and len(str(value)) < 19:
            return int(value)
        return self.fail(f"{_short(str(value))!r}: a whole number or each", param, ctx)


class Names(click.ParamType):
    """Some of the known names, parted by commas."""

    name = "names"

    def __init__(self, known: list[str]):
        self.known = self.words = known

    def convert(self, value, param, ctx):
        names = list(dict.fromkeys(value.split(","))) if isinstance(value, str) else value
        for name in names:
            if name not in self.known:
                self.fail(f"{name!r} is none of {', '.join(self.known)}{hint(name, self.known)}", param, ctx)
        return names


class Whole(click.IntRange):
    """A whole number in a range, which ends at WHOLE where nothing else is said."""

    name = "integer"

    def _describe_range(self):
        return "" if self.min is None and self.max is None else super()._describe_range()

    def convert(self, value, param, ctx):
        number = super().convert(value, param, ctx)
        if number is not None and abs(number) > WHOLE:
            self.fail(f"{_short(str(value))!r} is beyond 2^63.", param, ctx)
        return number


class Finite(click.FloatRange):
    """A number in a range, neither NaN nor infinite."""

    name = "number"

    def _describe_range(self):
        return "" if self.min is None and self.max is None else super()._describe_range()

    def convert(self, value, param, ctx):
        value = super().convert(value, param, ctx)
        if value is not None and not abs(value) < float("inf"):
            self.fail(f"{value} is not a finite number", param, ctx)
        return value


class Amount(click.ParamType):
    """A number, or A-B for a draw per item. low, high: what is said of its range; what an operation does checks it."""

    def __init__(self, name: str, whole: bool = False, low: float | None = None, high: float | None = None):
        self.name, self.whole = name, whole
        self.limits = "".join(f" {word} {end:g}" for word, end in (("from", low), ("to", high)) if end is not None)

    def convert(self, value, param, ctx):
        if not isinstance(value, str):
            return value
        import re

        match = re.fullmatch(r"(\d*\.?\d+(?:e[-+]?\d+)?)(?:-(\d*\.?\d+(?:e[-+]?\d+)?))?", value.lower())
        kind = int if self.whole else float
        try:
            low, high = kind(match[1]), kind(match[2] or match[1])
            if high > 1e30:
                raise ValueError
        except (TypeError, ValueError):
            self.fail(
                f"{_short(value)!r} is not a {'whole ' if self.whole else ''}number{self.limits}, nor A-B for a draw per item",
                param,
                ctx,
            )
        if low > high:
            self.fail(f"{value!r}: the lower end comes first", param, ctx)
        return low if match[2] is None else (low, high)
