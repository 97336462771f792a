"""Which training patches a pixel may be taken for: per axis, and for every machine.

A machine compares the P x P window around a pixel with windows of the training images. Along each axis a coordinate
either belongs to the *block*, whose queries see every key of the block, or stands *alone* and sees its own coordinate
only. Rows and columns are independent: a pixel sees the keys that both of its coordinates see.

    machine  windows        block                        alone
    ls       zero-extended  none                         every coordinate
    els      circular       all                          none
    bbels    zero-extended  P//2 ... L - 1 - P//2        nearer to an edge than P//2; every one where P >= L

A window of bbels and a query it is compared with lie alike to the border, so what lies beyond it is zero in both.
Kamb & Ganguli, arXiv 2412.20292, section 4 and appendix C.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..signal import LemError

LOCAL = ("ls", "els", "bbels")
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


def axis(machine: str, length: int, size: int, valid: bool = False) -> Axis:
    """The plan of an axis. valid: of `els`, keys whose windows do not wrap (the released code's bank)."""
    reach, everything = size // 2, range(length)
    if machine == "els":
        keys = range(reach, length - reach) if valid else everything
        return Axis(length, size, True, everything, keys, ())
    inner = range(reach, length - reach) if machine == "bbels" and size < length else range(0)
    return Axis(length, size, False, inner, inner, tuple(c for c in everything if c not in inner))


def check_size(machine: str, size: int, height: int, width: int) -> None:
    """Raise LemError for a patch size that a machine does not allow on such images."""
    most = min(height, width) if machine == "els" else 2 * max(height, width) - 1
    if size < 1 or size % 2 == 0:
        raise LemError(f"a patch of {size} px has no centre: give an odd size, such as {max(size - 1, 1) | 1}")
    if size > most:
        images = f"{width} x {height} px"
        raise LemError(f"a patch of {size} px is too large for {machine} on {images}: at most {most - (most % 2 == 0)}")
