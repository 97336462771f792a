"""Which training patches a pixel may be taken for: per axis, and for every machine.

A machine compares the window around a pixel with windows of the training images. Along each axis a coordinate
either belongs to the *block*, whose queries see every key of the block, or stands *alone* and sees its own coordinate
only. Rows and columns are independent, and so are their rules and the sides of the window: a pixel sees the keys that
both of its coordinates see. P is the side along the axis, L the length of the axis.

    rule     windows        block                        alone
    ls       zero-extended  none                         every coordinate
    els      circular       all                          none
    bbels    zero-extended  P//2 ... L - 1 - P//2        nearer to an edge than P//2; every one where P >= L

A window of bbels and a query it is compared with lie alike to the border, so what lies beyond it is zero in both.
Kamb & Ganguli, arXiv 2412.20292, section 4 and appendix C, where one rule holds for both axes.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..catalogue.denoisers import DENOISERS, EQUIVARIANT
from ..signal import LemError

LOCAL = ("ls", "els", "bbels")
PADDED = {
    "zeros": "bbels",
    "circular": "els",
}  # the rule of an equivariant axis, by what lies beyond the network's border
Rules = tuple[str, str]  # of the rows and of the columns
Size = int | tuple[int, int]  # of a square, or of rows and columns
NOT_FINITE = "x_t has values that are not finite"


@dataclass(frozen=True)
class Axis:
    """One axis of `length` coordinates under windows of `size`. queries, keys: the block; alone: the other queries."""

    length: int
    size: int
    circular: bool
    queries: range
    keys: range
    alone: tuple[int, ...]

    @property
    def reach(self) -> int:
        """Pixels of a window on either side of its centre."""
        return self.size // 2


def rules(name: str, equivariance: str = "both", padding: tuple[str, str] = ("zeros", "zeros")) -> Rules:
    """The rules of a machine of the catalogue. equivariance: that of a machine which does not say it itself. padding: of
    the network, along rows and columns."""
    first, second = (
        PADDED[beyond] if rule == EQUIVARIANT else rule
        for rule, beyond in zip(DENOISERS[name].axes or DENOISERS[equivariance].axes, padding)
    )
    return first, second


def sides(size: Size) -> tuple[int, int]:
    """(rows, columns) of a window."""
    return (size, size) if isinstance(size, int) else size


def said(size: Size) -> str:
    """A size as it is written: 5, or 3x9 of 3 rows and 9 columns."""
    rows, columns = sides(size)
    return str(rows) if rows == columns else f"{rows}x{columns}"


def axis(rule: str, length: int, size: int, valid: bool = False) -> Axis:
    """The plan of an axis. valid: of `els`, keys whose windows do not wrap (the released code's bank)."""
    reach, everything = size // 2, range(length)
    if rule == "els":
        keys = range(reach, length - reach) if valid else everything
        return Axis(length, size, True, everything, keys, ())
    inner = range(reach, length - reach) if rule == "bbels" and size < length else range(0)
    return Axis(length, size, False, inner, inner, tuple(c for c in everything if c not in inner))


def check_size(asked: Rules, size: Size, height: int, width: int, called: str = "", unit: str = " px") -> None:
    """Raise LemError for a patch size that a machine of these rules does not allow on such items. called: its name. unit: of
    sizes, after a space; of spectra none."""
    square = isinstance(size, int)
    most = [length if rule == "els" else 2 * max(height, width) - 1 for rule, length in zip(asked, (height, width))]
    odd = [min(most) - (min(most) % 2 == 0)] if square else [side - (side % 2 == 0) for side in most]
    if any(side < 1 or side % 2 == 0 for side in sides(size)):
        rows, columns = (max(side - 1, 1) | 1 for side in sides(size))
        way = said(rows if square else (rows, columns))
        raise LemError(f"a patch of {said(size)}{unit} has no centre: give an odd size, such as {way}")
    if any(side > end for side, end in zip(sides(size), most)):
        items = f"{width} x {height} px" if unit else f"{height} rows of {width} columns"
        name = called or (asked[0] if asked[0] == asked[1] else "rows by {} and columns by {}".format(*asked))
        limit = "x".join(map(str, odd))
        raise LemError(f"a patch of {said(size)}{unit} is too large for {name} on {items}: at most {limit}")
