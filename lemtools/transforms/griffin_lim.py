"""Sounds from magnitudes alone: phases by fast Griffin-Lim (Griffin and Lim 1984; Perraudin, Balazs and Sondergaard 2013)."""

from __future__ import annotations

import numpy as np

from .stft import istft, stft

ROUNDS = 60
MOMENTUM = 0.99


def sound(magnitudes: np.ndarray, weights: np.ndarray, hop: int, samples: int, rounds: int = ROUNDS) -> np.ndarray:
    """float32 [samples]: a sound whose short-time spectrum has nearly these magnitudes [F, frames].

    Phases begin at random, the same at every call.
    """
    count, rng = magnitudes.shape[1], np.random.default_rng(0)
    magnitudes = magnitudes.astype(np.float32)
    spectrum = magnitudes * np.exp(2j * np.pi * rng.random(magnitudes.shape)).astype(np.complex64)
    before = np.zeros_like(spectrum)
    for _ in range(rounds):
        found = stft(istft(spectrum, weights, hop, samples), weights, hop, count=count)
        ahead = found + np.float32(MOMENTUM) * (found - before)
        size = np.abs(ahead)
        spectrum, before = magnitudes * np.divide(ahead, size, out=np.zeros_like(ahead), where=size > 0), found
    return istft(spectrum, weights, hop, samples)
