"""Analytic Morlet wavelets as filters: their responses over the bins of a Fourier transform.

Row k has its centre at f_k = lowest 2^(k / voices) Hz, row 0 the lowest; the last is the last below half the rate. With
s = MU / (2 pi f_k) seconds, the standard deviation of the wavelet, and w = 2 pi f > 0 its response is

    g_k(f) = 2 (e^{-(s w - MU)^2 / 2} - e^{-MU^2 / 2} e^{-(s w)^2 / 2}),    g_k(f) = 0 for f < 0,

a Gaussian of standard deviation f_k / MU with the term that makes the mean of the wavelet zero (Grossmann & Morlet 1984;
Mallat, A Wavelet Tour, 4.3). The 2 makes the modulus of a row 1 for a sine of amplitude 1 at f_k (L1 normalisation).

Two bands have no such wavelet. Lest they be lost, the outermost rows hold them in their real parts, with a gain of 1:

- Row 0 what lies below f_0, the mean included, through Mallat's scaling function: h(f)^2 is the integral of
  g(f / f')^2 df' / f' over f' < f_0 2^(-1 / (2 voices)), over the same for all f'.
- The last row what lies in the last twentieth of the band (EDGE). There all g_k fall to zero as a cosine, and this one
  rises as a sine. A filter that broke off at half the rate would ring from one end of the sound to the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import erf

import numpy as np

MU = 5.0  # centre of a filter over its standard deviation
SPREAD = 6.0  # standard deviations at which a filter has ended: e^-18 is 1.5e-8
EDGE = 0.05  # of the band below half the rate
FALL = 2 * SPREAD / np.pi / EDGE  # standard deviation in samples of a filter that falls to zero there
STEPS = 8192  # of the integral of h


def centres(rate: float, voices: int, lowest: float) -> np.ndarray:
    """float64 [F]: centre frequencies in Hz."""
    rows = np.ceil(voices * np.log2(rate / 2 / lowest) - 1e-9)
    return lowest * 2.0 ** (np.arange(max(1, int(rows))) / voices)


def widths(rate: float, hz: np.ndarray) -> np.ndarray:
    """float64 [F]: standard deviation of each wavelet, in samples."""
    return MU * rate / (2 * np.pi * hz)


@dataclass(frozen=True)
class Filters:
    """The responses at the first period // 2 + 1 bins of a transform of `period` samples."""

    widths: np.ndarray
    voices: int
    period: int

    def response(self, k: int) -> np.ndarray:
        """float64 [K]: g_k at the first K bins; at the others it is nothing."""
        step = 2 * np.pi / self.period * self.widths[k]
        sw = step * np.arange(min(self.period // 2, int((MU + SPREAD) / step)) + 1)
        out = 2 * np.exp(-((sw - MU) ** 2) / 2) * -np.expm1(-MU * sw)
        fall = self.fall[: max(0, len(sw) - self.edge)]
        out[self.edge : self.edge + len(fall)] *= np.cos(fall)
        return out

    @cached_property
    def rest(self) -> dict[int, np.ndarray]:
        """By row, [K]: the real filters of what has no wavelet."""
        last = len(self.widths) - 1
        low, high = np.zeros(len(self.response(0))), np.zeros(len(self.response(last)))
        u = np.linspace(0, MU + SPREAD, STEPS + 1)  # f / f' times MU
        power = (np.exp(-((u[1:] - MU) ** 2) / 2) * np.expm1(-MU * u[1:])) ** 2 / u[1:]
        left = np.append(np.cumsum(power[::-1])[::-1], 0)  # of all f' < f MU / u
        sw = 2 * np.pi / self.period * self.widths[0] * np.arange(len(low))
        low = np.sqrt(np.interp(sw * 2 ** (0.5 / self.voices), u, left / left[0]))
        high[self.edge :] = np.sin(self.fall[: max(0, len(high) - self.edge)])
        return {0: low, last: high} if last else {0: low + high}

    @cached_property
    def gain(self) -> np.ndarray:
        """float64 [period // 2 + 1]: what the rows of a bin of a sound come to when they are filtered again and added up."""
        out = np.zeros(self.period // 2 + 1)
        for k in range(len(self.widths)):
            g = self.response(k)
            out[: len(g)] += g**2 * self.half[: len(g)]
        for k, h in self.rest.items():
            out[: len(h)] += h**2 + self.response(k) * h
        return out

    @cached_property
    def half(self) -> np.ndarray:
        """float32: what a bin of a complex signal adds to the same bin of the half spectrum of its real part."""
        out = np.full(self.period // 2 + 1, 0.5, np.float32)
        out[0] = 1
        if self.period % 2 == 0:
            out[-1] = 1
        return out

    @cached_property
    def edge(self) -> int:
        """The bin where the filters begin to fall towards half the rate."""
        return int((1 - EDGE) * self.period / 2)

    @cached_property
    def fall(self) -> np.ndarray:
        """Angles from that bin on, from 0 to pi / 2, as a normal distribution: SPREAD deviations on either side."""
        at = (np.arange(self.edge, self.period // 2 + 1) / (self.period / 2) - 1) / EDGE + 0.5
        return np.array([np.pi / 4 * (1 + erf(2 * SPREAD / np.sqrt(2) * t)) for t in at])
