"""Lengths along the axes of an item: in elements, or in what an axis is measured in, seconds or Hz."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from ..signal import LemError, Signal
from ..transforms import Front
from ..transforms.history import front

UNITS = {"ms": ("s", 1e-3), "s": ("s", 1.0), "khz": ("hz", 1e3), "hz": ("hz", 1.0)}  # longer words first
CALLED = {"s": "seconds", "hz": "Hz"}
FOR = {"s": "sound and the frames of spectra", "hz": "the rows of spectra"}


class Axis(NamedTuple):
    """What a length along one axis may be given in. per: elements a second ('s') or a Hz ('hz'). without: why it has no
    unit that others of its kind have."""

    per: Mapping[str, float] = MappingProxyType({})
    without: str = ""


def axes(signal: Signal) -> list[Axis]:
    """One for each of `signal.spatial_axes`: time of sound, rows (Hz, where they are evenly spaced) and frames (seconds)
    of spectra, plain elements of all else."""
    if signal.kind == "audio":
        return [Axis({"s": signal.rate} if signal.rate else {})]
    if signal.kind != "spectrum":
        return [Axis() for _ in signal.spatial_axes]
    made = front(signal.history)
    if made is None:
        return [Axis(without="a spectrum without a record of what made it; count rows and frames")] * 2
    return [_rows(made), Axis({"s": 1 / made.frame_seconds})]


def _rows(made: Front) -> Axis:
    """The rows of spectra: in Hz where they are frequencies that are evenly spaced."""
    try:
        gaps = np.diff(made.hz)
    except LemError as error:  # (says which rows are none)
        return Axis(without=str(error))
    if len(gaps) and np.allclose(gaps, gaps[0], rtol=1e-6):
        return Axis({"hz": 1 / float(gaps[0])})
    return Axis(without="rows that are not evenly spaced in Hz; count rows")


def _unit(word: str) -> str:
    """The unit that a length is written in; '' of a number of elements."""
    return next((unit for unit in UNITS if word.endswith(unit)), "")


def length(text: str, axis: Axis, where: str) -> int:
    """A number of elements: '512', or, where the axis has such a unit, '20ms', '1.5s', '500hz'; at least 1.

    where: the option, for errors. Raises LemError.
    """
    word = text.lower()
    unit = _unit(word)
    if unit and (base := UNITS[unit][0]) not in axis.per:
        raise LemError(f"{where}: {axis.without or f'{CALLED[base]} are for {FOR[base]}'}")
    try:
        if unit:
            number = float(word.removesuffix(unit)) * UNITS[unit][1] * axis.per[base]
        else:
            number = int(word)
        if number > 0:
            return max(round(number), 1)
    except (ValueError, OverflowError):
        pass
    units = " or ".join(["16", *(example for base, example in (("s", "20ms"), ("hz", "500hz")) if base in axis.per)])
    raise LemError(f"{where}: {text!r} is not a length, as in {units}")


def sides(text: str, signal: Signal, where: str) -> list[int]:
    """The sides of a box along `signal.spatial_axes`: one number for all, or two.

    Two are rows x columns of a spectrum ('8x32', '500hzx20ms'), width x height of all else that has two directions.
    """
    along, parts = axes(signal), text.lower().split("x")
    if len(parts) not in (1, len(along)):
        directions = f"{len(along)} direction{'s' * (len(along) > 1)}"
        raise LemError(f"{where}: {signal.kind} extends in {directions}")
    if "" in parts:
        raise LemError(f"{where}: {text!r} is not a length, as in 16{' or 16x8' * (len(along) > 1)}")
    if len(parts) == 1 < len(along):
        (part,) = parts
        if unit := _unit(part):
            hertz = UNITS[unit][0] == "hz"
            length(part, along[0 if hertz else -1], where)  # an axis without that unit says so
            other = min(8, signal.data.shape[signal.spatial_axes[-1 if hertz else 0]])
            raise LemError(f"{where}: give rows x frames, as in {f'{part}x{other}' if hertz else f'{other}x{part}'}")
        return [length(part, Axis(), where)] * len(along)
    if signal.kind != "spectrum":  # width x height is written, rows come first in memory
        parts = parts[::-1]
    return [length(part, axis, where) for part, axis in zip(parts, along)]
