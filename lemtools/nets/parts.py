"""Parts of a spectrum that are 0 for every sound, which no network is shown and no loss counts."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..signal import LemError
from ..transforms import Front, of


def counted(front: Front, channels: int) -> np.ndarray:
    """bool [channels, F, 1]: False where the front end makes 0 of whatever sound (the imaginary parts of DC and Nyquist)."""
    return np.tile(~front.zero, (channels // len(front.zero), 1))[..., None]


def checked(record: Any, item: list[int]) -> Front:
    """The front end of the record in a checkpoint, whose items are [channels, F, T]. LemError where it is not theirs."""
    if not isinstance(record, dict):
        raise LemError("its front end is no object")
    front = of(record)
    if len(item) != 3 or item[1] != front.shape[0] or item[0] % len(front.zero):
        raise LemError(f"a front end of {front.shape[0]} rows, where its items are {item}")
    return front
