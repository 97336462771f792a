"""Samples and training items as pictures, whatever their kind."""

from __future__ import annotations

import numpy as np

from ..els.bank import Bank
from ..media.pixels import to_uint8

LOUDEST = 30.0  # of spectra, in units of their rms: what is white
SOFT = 10.0  # magnitudes below 1 / SOFT are shown in proportion, those above by their logarithm
FARTHEST = 3.0  # of spectra that are no complex numbers: black below -3 rms, white above 3


def picture(x: np.ndarray, bank: Bank) -> np.ndarray:
    """Coordinates [C, H, W] as uint8 [H, W] or [H, W, 3], clamped. Of a spectrum the magnitude, grey by log(1 + 10 |x|) up
    to |x| = 30, low frequencies below, one channel of the sound above the other."""
    if bank.kind != "spectrum":
        pixels = to_uint8((x + 1) / 2)
        return pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
    shown = np.log1p(SOFT * magnitude(x)) / np.log1p(SOFT * LOUDEST) if bank.complex else (x / FARTHEST + 1) / 2
    return np.concatenate(list(to_uint8(shown.astype(np.float32))[:, ::-1]))


def magnitude(x: np.ndarray) -> np.ndarray:
    """|x| of complex numbers, [..., 2C, H, W] to [..., C, H, W]."""
    return np.hypot(x[..., ::2, :, :], x[..., 1::2, :, :])
