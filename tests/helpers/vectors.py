"""Vectors of a known spectrum."""

import numpy as np

POWER = 1 / np.arange(1, 129)


def gaussian(count, spectrum=POWER, seed=0):
    draw = np.random.default_rng(seed)
    return (draw.standard_normal((count, len(spectrum))) * np.sqrt(spectrum)).astype(np.float32)
