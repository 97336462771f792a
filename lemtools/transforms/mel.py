"""The mel scale of Slaney (Auditory Toolbox, 1998), its filters, and cepstra."""

from __future__ import annotations

import numpy as np

from ..catalogue import LemError

_STEP = np.log(6.4) / 27  # the scale is linear to 1000 Hz, which is 15 mel, then logarithmic


def to_mel(hz: float) -> float:
    """Mel of a frequency in Hz."""
    return float(hz * 3 / 200 if hz < 1000 else 15 + np.log(hz / 1000) / _STEP)


def corners(bands: int, rate: float) -> np.ndarray:
    """float64 [bands + 2]: frequencies in Hz between 0 and half the rate, at equal steps of the mel scale."""
    mels = np.linspace(0, to_mel(rate / 2), bands + 2)
    return np.asarray(np.where(mels < 15, mels * 200 / 3, 1000 * np.exp(_STEP * (np.maximum(mels, 15) - 15))))


def filters(bands: int, n_fft: int, rate: float) -> np.ndarray:
    """float32 [bands, 1 + n_fft // 2]: triangles on the mel scale, each of area 1 over frequency in Hz.

    Band b rises from corner b to corner b + 1, and falls to corner b + 2. LemError where a band lies between two bins.
    """
    edges = corners(bands, rate)
    bins = np.linspace(0, rate / 2, 1 + n_fft // 2)
    low, middle, high = (edges[i : i + bands].reshape(-1, 1) for i in range(3))
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    found: np.ndarray = (np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)).astype(np.float32)
    if not found.any(axis=1).all():
        raise LemError(
            f"{bands} mel bands are too many for windows of {n_fft} samples at {rate:g} Hz: some hold no frequency; give "
            "fewer --bands or a larger --n-fft"
        )
    return found


def cosines(coefficients: int, bands: int) -> np.ndarray:
    """float64 [coefficients, bands]: the first rows of the orthonormal cosine transform (DCT-II)."""
    k = np.arange(coefficients).reshape(-1, 1)
    rows = np.cos(np.pi / bands * (np.arange(bands) + 0.5) * k) * np.sqrt(2 / bands)
    rows[0] /= np.sqrt(2)
    return np.asarray(rows)


def power(mels: np.ndarray, bank: np.ndarray, rounds: int = 100) -> np.ndarray:
    """float64 [F, frames] >= 0: power spectra that have, as nearly as may be, the mel bands [bands, frames] >= 0.

    The multiplicative updates of Richardson (1972) and Lucy (1974), from what the filters spread: they go by ratios, so
    that quiet bands come out as well as loud ones. bank: `filters`.
    """
    wide = bank.astype(np.float64)
    total = np.maximum(wide.sum(axis=0), 1e-30)[:, None]
    found = np.asarray(wide.T @ mels / np.maximum(wide.T @ wide.sum(axis=1), 1e-30)[:, None])
    for _ in range(rounds):
        found *= wide.T @ (mels / np.maximum(wide @ found, 1e-30)) / total
    return found
