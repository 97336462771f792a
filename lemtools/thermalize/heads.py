"""The gate `head`: the level of noise as a network reads it that learned to (lem-train thermalizer)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..catalogue import LemError
from ..denoise.contract import Scale
from .gate import Reader
from .states import Known

ALIKE = (
    1.2  # by how much the std of a channel, or its mean in units of that, may differ from what the network learned from
)


def head(known: Known, gate_model: Any = None) -> Reader:
    """The level that a network reads, nets.model.Model of the family 'level'; in units of the std of the stored states.

    Raises LemError without one, for one of another family, shape or scale, and for one of which is not known how well it
    reads.
    """
    from ..nets.calibration import threshold
    from ..nets.level import Level

    if gate_model is None:
        raise LemError("--gate head needs a network: --gate-model MODEL, which lem-train thermalizer makes")
    try:
        read = Level(gate_model)
    except LemError as error:
        raise LemError(f"--gate-model: {error}") from error
    states = known.states
    if not gate_model.fits("field", states.item):
        made = f"{gate_model.meta['kind']} of {list(read.item)}"
        raise LemError(f"--gate-model: the network is for {made}, not for states of {list(states.item)}")
    if read.calibration is None:
        raise LemError("--gate-model: a network of which is not known how well it reads; train it with --holdout")
    unit = _unit(read.scale, states.scale, states.item)

    def level(x: torch.Tensor) -> torch.Tensor:
        return unit * read(states.values(x))

    return Reader(level, lambda x, level: level, clean=lambda share: unit * threshold(read.calibration, share))


def _unit(learned: Scale, stored: Scale, item: tuple[int, ...]) -> float:
    """The std that the network learned from in units of that of the stored states, rms over channels."""

    def of(scale: Scale) -> tuple[np.ndarray, np.ndarray]:
        mean, gain = (np.broadcast_to(np.asarray(v, np.float64), item) for v in (scale.offset, scale.gain))
        return tuple(v.reshape(len(v), -1).mean(1) for v in (mean, 1 / np.abs(gain)))

    (mean, std), (there, wide) = of(learned), of(stored)
    off = (np.abs(mean - there) > (ALIKE - 1) * wide) | (std > ALIKE * wide) | (std < wide / ALIKE)
    if off.any():
        c = int(np.flatnonzero(off)[0])
        channel = f" in channel {c}" if len(std) > 1 else ""
        has, was = (f"mean {m[c]:.4g} and std {s[c]:.4g}" for m, s in ((there, wide), (mean, std)))
        raise LemError(f"--gate-model: it learned from states of {was}{channel}, where the memory has {has}")
    return float(np.sqrt(np.mean((std / wide) ** 2)))
