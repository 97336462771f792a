"""What a step of some rows is, on its way in and out: states of a simulation here, tokens in tokens.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..denoise.contract import Scale
from ..signal import LemError, Signal

APART = 3.0  # by how much a std, or a mean in units of the std, may differ from what the memory has
ENOUGH = 16  # numbers of which a std is worth a look
TINY, FEW = 30.0, 6  # by how much less all values may be than those of the memory; numbers of which that is worth one


class Codec:
    """States of a simulation: field [R, C, ...], float32. kind: of what goes out; thing: what it is called; whole: it may be whole
    numbers."""

    kind, thing, whole = "field", "states", False

    def taken(self, signal: Signal, where: str) -> Signal:
        """A batch that was read, its data as a thermalizer takes it. LemError, which calls the input `where`, for others."""
        if signal.kind != "field":
            raise LemError(f"{where}: {signal.kind}, not states of a simulation")
        return replace(signal, data=np.asarray(signal.data, np.float32))

    def check(self, data: np.ndarray, thermalizer: Any, where: str) -> None:
        """LemError for first states [R, ...] of another shape or scale than those of the thermalizer."""
        item = getattr(thermalizer, "item", None)  # (not everything that steps takes one shape alone)
        if item is not None and tuple(data.shape[1:]) != item:
            raise LemError(f"{where}: states of {list(data.shape[1:])}, where the memory has {list(item)}")
        check_scale(data, thermalizer.scale, where)

    def made(self, array: np.ndarray) -> Signal:
        """A batch of what another library wrote."""
        return Signal(self.kind, array)

    def state(self, x: Any) -> np.ndarray:
        """What an emulator is shown."""
        return np.ascontiguousarray(x, np.float32)

    def claimed(self, answer: Any, shown: np.ndarray, who: str = "") -> np.ndarray:
        """What it answers, checked. who: what the message of a LemError begins with."""
        data = np.asarray(answer)
        if data.shape != shown.shape:
            raise LemError(f"{who}answered states {list(data.shape)} to states {list(shown.shape)}")
        if data.dtype.kind not in "fi":
            raise LemError(f"{who}answered {data.dtype}; float32 is asked for")
        with np.errstate(over="ignore"):  # beyond float32 it is infinite, and the row dead
            return np.ascontiguousarray(data, np.float32)

    def alive(self, x: np.ndarray) -> np.ndarray:
        """bool [R]: the rows of which something can be made."""
        return np.isfinite(x).reshape(len(x), -1).all(1)

    def dead(self, x: np.ndarray, alive: np.ndarray) -> np.ndarray:
        """x, with nothing in the rows that are not alive [R]."""
        return np.where(alive.reshape(-1, *[1] * (x.ndim - 1)), x, x.dtype.type(np.nan))


FIELDS = Codec()


def check_scale(states: np.ndarray, scale: Scale, where: str, than: str = "the memory has") -> None:
    """LemError where the states [R, C, ...], NaN left out, are of another scale than what has this one, `than`."""
    x = states[np.isfinite(states).reshape(len(states), -1).all(1)].astype(np.float64)
    if not x.size:
        return
    mean, std = (np.broadcast_to(v, x.shape[1:]) for v in (scale.offset, 1 / np.abs(np.asarray(scale.gain))))
    axes = (0, *range(2, x.ndim))
    wide, far = x.std(axes), np.abs(x.mean(axes) - mean.reshape(len(mean), -1).mean(1))
    have = np.sqrt((std.reshape(len(std), -1) ** 2).mean(1))
    off = far > APART * have
    if x[:, 0].size >= ENOUGH:
        off |= wide > APART * have
    if x[0, 0].size >= ENOUGH:  # (states of few places may all be near each other, as those of an ensemble)
        off |= wide < have / APART
    if x.size >= FEW:
        size, usual = np.hypot(wide, x.mean(axes)), np.hypot(have, mean.reshape(len(mean), -1).mean(1))
        off |= (size < usual / TINY).all()
    if off.any():
        c = int(np.flatnonzero(off)[0])
        channel = f" in channel {c}" if len(have) > 1 else ""
        told = (f"mean {m:.4g} and std {s:.4g}" for m, s in ((x[:, c].mean(), wide[c]), (mean[c].mean(), have[c])))
        raise LemError(f"{where}: states of {f' where {than} '.join(told)}{channel}; bring them to its scale")
