"""Boundaries moved by a network that lem-train phones trained (nets/boundary.py): the windows that it is shown, and its answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..nets.boundary import places
from ..nets.model import load
from ..signal import LemError
from .cepstra import MIDDLE, RATE
from .refine import CLASSES, STEP, log_mel, pairs

STRIDE = 2  # of the spectra, 2.5 ms apart, one in so many is shown
HOP = STRIDE * STEP / RATE  # s from a frame of a window to the next: 5 ms
SIDE = 16  # frames on each side of the middle: 80 ms
MOST = 4096  # windows at a time


def frames(sound: np.ndarray) -> np.ndarray:
    """float32 [T', BANDS]: log-mel spectra of a sound [T] at 16 kHz; spectrum k is centred at k HOP."""
    return log_mel(sound)[::STRIDE]


def middles(times: np.ndarray, count: int) -> np.ndarray:
    """int64 [B]: which of `count` spectra the windows of boundaries, found at `times` [B] in s, are centred at."""
    return np.rint((times + MIDDLE) / HOP).astype(np.int64).clip(0, count - 1)


def windows(spectra: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """float32 [B, BANDS, 2 SIDE + 1] of spectra [T', BANDS] around those of number `centres` [B]; beyond the ends the last one
    goes on."""
    around = (centres[:, None] + np.arange(-SIDE, SIDE + 1)).clip(0, len(spectra) - 1)
    return np.ascontiguousarray(spectra[around].swapaxes(1, 2))


class Learned:
    """A trained network as a way of `refine`: (times [B] of the inner boundaries in s, phones [B + 1] ARPABET, sound [T] at 16 kHz)
    -> times [B], each within SIDE frames of the middle of its window. What becomes of a boundary does not depend on the others.

    Raises LemError for a file that is no model, and for one of another recipe.
    """

    def __init__(self, path: str):
        model = load(path)
        if model.family != "boundary":
            raise LemError(
                f"{path}: a model of {model.meta['recipe']}, which moves no boundaries; lem-train phones makes one that does"
            )
        if model.meta["net"].get("classes") != len(CLASSES):
            raise LemError(f"{path}: made for {model.meta['net'].get('classes')} classes of phones, not {len(CLASSES)}")
        self.net = model.net

    @torch.no_grad()
    def __call__(self, times: np.ndarray, phones: Sequence[str], sound: np.ndarray) -> np.ndarray:
        spectra = frames(sound)
        centres = middles(times, len(spectra))
        classes = torch.from_numpy(np.stack(pairs(list(phones)), 1))
        moved = [
            places(self.net(torch.from_numpy(windows(spectra, some)), pair)).numpy()
            for some, pair in zip(np.split(centres, range(MOST, len(centres), MOST)), classes.split(MOST))
        ]
        return np.asarray((centres + np.concatenate([*moved, np.zeros(0)])) * HOP, np.float64)
