"""The tensors of two models, side by side."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import zip_longest

import numpy as np

from ..signal import LemError, Part, Signal
from ..signal.layout import FLOATS
from ..signal.types import bytes_of
from ..stream.wire import as_array


def tensors(sides: dict[str, Iterable[Signal]]) -> Iterator[list[Signal]]:
    """The tensors [rows, D] that lost something, changed, or might have been picked: those of the originals, of the recalled
    and, where given, of the fragments. What the recalled carry along is left out where it is the same to the bit, and so
    are what is no float and what has less than two axes.

    Tensors come in the order of their files. LemError where one side is no model, and where a tensor's name or shape is
    another one on the other side.
    """
    streams = (
        (signal for signal in signals if signal.part is None or signal.part.what == "tensor")
        for signals in sides.values()
    )
    for each in zip_longest(*streams):
        parts = [signal.part if signal is not None else None for signal in each]
        for name, part in zip(sides, parts):
            _check(part, parts[0] or parts[1], name)
        one, other = each[:2]
        assert one and other and parts[0]
        if not (other.carried and (_raw(one) == _raw(other)).all()) and _real(parts[0]):
            yield [_values(signal) for signal in each]


def _check(part: Part | None, wanted: Part | None, side: str) -> None:
    if wanted is None:
        raise LemError("a model can be compared with a model alone: its fragment, or what was recalled of it")
    if part is None:
        raise LemError(f"the {side} have no tensor {wanted.name}; compare a model with what was made of it")
    if (_called(part), part.shape) != (_called(wanted), wanted.shape):
        one, other = (f"{_called(p)} {list(p.shape)}" for p in (wanted, part))
        raise LemError(f"tensor {one} would be paired with {other}; compare a model with what was made of it")


def _called(part: Part) -> str:
    return os.path.join(os.path.dirname(part.file), part.name)


def _real(part: Part) -> bool:
    return part.type in FLOATS and len(part.shape) > 1 and 0 not in part.shape


def _raw(signal: Signal) -> np.ndarray:
    """The bytes of a tensor."""
    return signal.data[0, : signal.part.bytes] if signal.carried else bytes_of(signal.data, signal.part.type)


def _values(signal: Signal) -> Signal:
    if not signal.carried:
        return signal
    part = signal.part
    values = as_array(_raw(signal), part.type, part.shape).reshape(part.shape[0], -1)
    return replace(signal, kind="embedding", data=values, depth=None)
