"""Whether recalled sounds are distributed as the originals are: a Frechet distance of their log-mel frames.

The Frechet audio distance (Kilgour et al. 2019) takes the features of a trained network, VGGish, whose weights are not
at hand here. This is not that number and cannot be compared with it: its features are plain log-mel frames.
"""

from __future__ import annotations

import numpy as np

from ..transforms import mel
from .distribution import halves, principal_axes
from .sound import sounds
from .summary import Whole

BANDS, WINDOW, HOP, FLOOR = 40, 0.032, 0.010, 1e-10  # mel bands, seconds, seconds, power


def log_mels(x: np.ndarray, rate: float) -> np.ndarray:
    """float32 [N, C * frames, 40] of sounds [N,C,T]: decibels of mel power.

    Hann windows of 32 ms, each 10 ms, whole ones only (a sound shorter than one is extended by zeros); powers below
    1e-10 count as that; white noise of variance 1 has 0 dB in each band.
    """
    size, hop = 2 * max(1, round(WINDOW * rate / 2)), max(1, round(HOP * rate))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    bank = mel.filters(BANDS, size, rate).T * (rate / size / np.sum(window**2))
    out = []
    for item in x:
        padded = np.pad(item.astype(np.float64), ((0, 0), (0, max(0, size - item.shape[1]))))
        frames = np.lib.stride_tricks.sliding_window_view(padded, size, axis=1)[:, ::hop].reshape(-1, size)
        z = np.fft.rfft(frames * window)
        out.append((10 * np.log10(np.maximum((z.real**2 + z.imag**2) @ bank, FLOOR))).astype(np.float32))
    return np.stack(out)


def frechet_log_mel(a: np.ndarray, b: np.ndarray, *, rate: float, k: int = 16) -> Whole:
    """Frechet distance between Gaussians of log-mel frames on the first k principal axes, floor beside it, in dB^2.

    `frechet[log-mel,pca16]`. Axes of the frames of the originals; at most 40. By halves of the items, so that no sound is
    compared with its own original: see distribution.py. It sees how often which spectrum sounds, and not in which order.
    """
    a, b = sounds(a, b, "frechet-log-mel")
    one, other = (log_mels(x, rate) for x in (a, b))
    mean, axes = principal_axes([one.reshape(-1, BANDS)], k)
    one, other = ((x - mean) @ axes for x in (one, other))
    return Whole(*halves(one, other, lambda x: x.reshape(-1, axes.shape[1])), axes.shape[1])
