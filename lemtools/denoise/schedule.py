"""Noise schedules: functions t in [0, 1] -> alpha_bar in float64, from next to no noise (t = 0) to little else (t = 1).

sigma, the noise in units of the memory, is sqrt((1 - alpha_bar) / alpha_bar); SNR = 1 / sigma^2.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Schedule = Callable[[np.ndarray], np.ndarray]
OFFSET = 1.008  # keeps alpha_bar(1) at 1.55e-4, where x0 can still be computed from eps


def cosine(t: float | np.ndarray) -> np.ndarray:
    """cos^2(t / 1.008 * pi / 2), the schedule of Kamb & Ganguli (after Nichol & Dhariwal 2021); alpha_bar(0) = 1."""
    return np.cos(np.asarray(t, np.float64) / OFFSET * (np.pi / 2)) ** 2


def log_snr(noisiest: float = 10.0, cleanest: float = 0.01) -> Schedule:
    """The schedule whose log SNR is linear in t: sigma = cleanest^(1 - t) noisiest^t."""
    if not 0 < cleanest < noisiest < np.inf:
        raise ValueError(f"sigma must rise from cleanest > 0 to a finite noisiest, not from {cleanest} to {noisiest}")

    def schedule(t: float | np.ndarray) -> np.ndarray:
        t = np.asarray(t, np.float64)
        return alpha_bar(np.exp((1 - t) * np.log(cleanest) + t * np.log(noisiest)))

    return schedule


def alpha_bar(sigma: float | np.ndarray) -> np.ndarray:
    """1 / (1 + sigma^2) in float64."""
    return 1.0 / (1.0 + np.square(np.asarray(sigma, np.float64)))


def grid(steps: int, schedule: Schedule = cosine, stop: float | None = None) -> np.ndarray:
    """alpha_bar float64 [steps + 1], rising: at `steps` times evenly from 1 down to stop (default 1 / steps), then 1.

    A sampler calls the denoiser at all but the last. Raises ValueError for steps < 1.
    """
    if steps < 1:
        raise ValueError(f"a sampler needs at least one step, not {steps}")
    return np.append(schedule(np.linspace(1.0, 1.0 / steps if stop is None else stop, steps)), 1.0)
