"""How the power of an item falls with frequency: the exponent of a power law, of images and of spectra of sounds."""

from __future__ import annotations

import numpy as np

from ..transforms import Front
from .distortion import paired
from .states import shells

FIRST = 4  # cycles per longer side, or row: below, a window lets the mean and its neighbours in, and a ring has few coefficients
FEWEST = 4  # frequencies
ROUNDING = 1e-6  # of a step between rows


def psd_slope(a: np.ndarray, b: np.ndarray, *, kind: str, front: Front | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Exponent s [N] of a power spectral density ~ f^s, of recalled items and beside them of originals. `psd_slope[recalled]`.

    Least squares of log power on log f with weights 1 / f, so that octaves count alike: 0 of white noise, about -2 of photos
    (Field 1987). kind 'image', [N, C, H, W]: the mean removed, under a Hann window each way, the mean power on rings that
    are 1 cycle per longer side wide, from 4 cycles to below half the pixels. Else spectra, [N, C, F, T]: the mean power over
    frames of each row from row 4 on, the first being 0, to the last but one; front: what made them; None: rows at equal steps of frequency from 0 on.
    Channels are added. The mean is some .03 too flat, as the logarithm of a mean of few coefficients is too low. nan of an item without power at some frequency. ValueError: spectra that `unfit` refuses, images of fewer than
    4 rings, a value that is not finite.
    """
    a, b = paired(a, b)
    if a.ndim != 4:
        raise ValueError(f"a slope is of images [N, C, H, W] or spectra [N, C, F, T], not {list(a.shape)}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("values that are not finite have no spectrum")
    if why := narrow(*a.shape[2:]) if kind == "image" else unfit(a.shape[2], front):
        raise ValueError(why)
    original, recalled = (fitted(*(_rings(x) if kind == "image" else _rows(x, front))) for x in (a, b))
    return recalled, original


def narrow(height: int, width: int) -> str:
    """Why images of this size have no slope; empty where they have one."""
    least = 2 * (FIRST + FEWEST)
    fits = max(height, width) >= least and min(height, width) > 1
    return "" if fits else f"needs images of {least} px one way and 2 the other, not {height} x {width}"


def unfit(rows: int, front: Front | None) -> str:
    """Why spectra of so many rows have no slope; empty where they have one."""
    steps = None if front is None or front.plain is None else np.diff(front.hz)
    if front is not None and (steps is None or np.ptp(steps) > ROUNDING * steps.max()):
        return f"needs the power of rows at equal steps of frequency, as of stft, not {front.encoder}"
    least = FIRST + FEWEST + 1
    return "" if rows >= least else f"needs {least} rows at least, not {rows}"


def fitted(f: np.ndarray, power: np.ndarray) -> np.ndarray:
    """Slope [N] of log power [N, F] on log f [F], with weights 1 / f. ValueError for fewer than 4 frequencies."""
    if len(f) < FEWEST:
        raise ValueError(f"a slope needs power at {FEWEST} frequencies, not {len(f)}")
    weight = 1 / f / (1 / f).sum()
    x = np.log(f) - weight @ np.log(f)
    there = (power > 0).all(1)
    found = np.full(len(power), np.nan)
    found[there] = np.log(power[there]) @ (weight * x) / (weight @ x**2)
    return found


def _rings(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(cycles per longer side [F], mean power there [N, F]) of images [N, C, H, W]."""
    height, width = x.shape[2:]
    ring, weight = shells((height, width))
    ring, weight = ring.ravel(), weight.ravel()
    size = np.bincount(ring, weight)
    at = np.arange(FIRST, max((height, width)) // 2)
    at = at[size[at] > 0]  # (a narrow image has rings without a coefficient)
    window = np.multiply.outer(np.hanning(height + 1)[:height], np.hanning(width + 1)[:width])
    found = np.zeros((len(x), len(at)))
    for i, item in enumerate(x):
        item = item - item.mean((1, 2), keepdims=True, dtype=np.float64)
        power = (np.abs(np.fft.rfft2(item * window)) ** 2).sum(0).ravel()
        found[i] = (np.bincount(ring, weight * power) / np.maximum(size, 1))[at]
    return at.astype(float), found


def _rows(x: np.ndarray, front: Front | None) -> tuple[np.ndarray, np.ndarray]:
    """(frequency [F], mean power there [N, F]) of spectra [N, C, F, T], from row FIRST to the last but one."""
    f = np.arange(float(x.shape[2]))
    if front is not None:
        f, x = front.hz, front.expanded(x)
    power = np.square(x, dtype=np.float64).sum(1).mean(2)
    return f[FIRST:-1], power[:, FIRST:-1]
