"""Lost bits of sounds by a store of whole ones, which are broken in the same way (restore.power)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..fragment import fragment
from ..fragment.evidence import evidence
from ..restore.power import Power
from ..signal import LemError, Signal

Way = tuple[int, str, bool]  # bits, the quantiser, whether each sound has a scale of its own


class PowerRecaller:
    """A store of sounds; called with a batch of fragments that lost bits, it answers (recalled, steps).

    memory: sounds [C, T] of any length, or an array [N, C, T]; their rate is the fragments'. The regression of each depth and quantiser is
    fitted when the first fragment of that kind comes. seed: of its random features. LemError for a store of something else.
    """

    method = name = "power"

    def __init__(self, memory: Sequence[np.ndarray] | np.ndarray, *, seed: int = 0):
        self.memory, self.seed = memory, seed
        if any(sound.ndim != 2 or sound.dtype.kind != "f" for sound in memory):
            raise LemError("memory: --method power learns from sounds")
        self.known: dict[tuple[Way, float], Power] = {}

    def __call__(self, signal: Signal) -> tuple[Signal, list[str]]:
        """LemError for what did not lose bits alone, over full scale or the peak."""
        op = signal.code_op
        if signal.kind != "audio" or op is None or [done["op"] for done in signal.ops] != ["bits"]:
            raise LemError("--method power recalls sounds that lost bits, and nothing else")
        low, high, scale = *_bounds(signal), _scales(op, len(signal))
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise LemError("--method power takes bits over full scale or the peak: the bins of others have no ends")
        bits = np.broadcast_to(np.asarray(op["bits"]), (len(signal),)).tolist()
        out, frames = np.empty(signal.data.shape, np.float32), 0
        for i, unit in enumerate(scale):
            known = self._known((bits[i], op["quantizer"], op.get("scale") is not None), float(signal.rate or 0))
            frames = known.frames
            for channel, (a, b) in enumerate(zip(low[i] / unit, high[i] / unit)):
                out[i, channel] = np.clip(known(a, b) * unit, low[i, channel], high[i, channel])
        step = f"power: short-time powers by regression on {frames} frames of {len(self.memory)} sounds broken alike"
        return replace(signal, data=out, mask=None, codes=None, ops=[]), [step]

    def _known(self, way: Way, rate: float) -> Power:
        if (way, rate) not in self.known:
            try:
                self.known[way, rate] = Power(self._pairs(way, rate), rate, self.seed)
            except ValueError as error:
                raise LemError(f"memory: {error}") from error
        return self.known[way, rate]

    def _pairs(self, way: Way, rate: float) -> Any:
        """(low, high, whole) of every channel of the store, in units of its scale; silence is left out."""
        bits, quantizer, own = way
        lost = [{"op": "bits", "bits": bits, "quantizer": quantizer, "scale": "peak" if own else "full"}]
        for sound in self.memory:
            whole = Signal("audio", np.asarray(sound, np.float32)[None], rate=rate)
            (left,) = fragment([whole], lost, self.seed)
            low, high = _bounds(left)
            unit = _scales(left.code_op or {}, 1)[0]
            yield from ((a / unit, b / unit, x / unit) for a, b, x in zip(low[0], high[0], whole.data[0]) if x.any())


def _bounds(signal: Signal) -> tuple[np.ndarray, np.ndarray]:
    found = evidence(signal)
    return found.low.astype(np.float64), found.high.astype(np.float64)


def _scales(op: dict, count: int) -> np.ndarray:
    """float64 [count]: the scale of each sound; 1 where it is full scale, and for silence."""
    scale = np.ones(count) if op.get("scale") is None else np.asarray(op["scale"], np.float64).reshape(count, -1)[:, 0]
    return np.where(scale > 0, scale, 1.0)


def power(memory: Any = None, model: Any = None, seed: int = 0) -> PowerRecaller:
    """The method of that name, made ready."""
    return PowerRecaller(memory, seed=seed)
