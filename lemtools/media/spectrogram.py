"""Pictures of spectra."""

from __future__ import annotations

import numpy as np

DEPTH = 80.0  # dB below the loudest that are shown


def picture(spectrum: np.ndarray) -> np.ndarray:
    """uint8 [1, F, T] of a spectrum float [C, F, T]: the level in dB, white at the loudest, black from DEPTH below; low
    frequencies lie at the bottom. An even number of channels is taken for real and imaginary parts, whose power is that of
    all of them; else values are levels themselves, and are shown from the least to the largest."""
    x = spectrum.astype(np.float64)
    if len(x) % 2:
        level = x.mean(0)
        level = level - level.min()
    else:
        power = np.square(x).sum(0)
        level = 10 * np.log10(np.maximum(power / max(power.max(), 1e-300), 10 ** (-DEPTH / 10))) + DEPTH
    return np.rint(255 * level / max(level.max(), 1e-300)).astype(np.uint8)[None, ::-1]
