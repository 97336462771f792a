"""Sounds of few bits, by the power that other sounds have where they are broken alike.

A sound of one bit no longer says how loud it was when: its quiet moments are as loud as the others. What stands around a moment still tells
something of it, to who has seen whole sounds beside what was left of them. So the logarithm of every short-time power of the whole sound is
predicted from what the broken one shows around it, by ridge regression on the values and on random features of them (Rahimi & Recht 2008,
"Weighted sums of random kitchen sinks"), in closed form. The answer has the powers that are predicted, the phases of `dequantize`, and lies
in the bins.

The numbers below were set on FSDD, all its takes, at 1 and 2 bits.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..transforms.mel import filters
from .dequantize_sound import dequantize

WINDOW = 0.032  # seconds; 256 samples at 8 kHz, frames at a quarter of it
BANDS = 32  # mel bands of what is seen
SEEN = ((8, 2), (4, 2))  # (frames on either side, step) of the middle of the bins, and of `dequantize`
AXES, FEATURES = 60, 2000  # principal axes of what is seen, and random features of these
RIDGE = 0.01  # over the number of frames, in units of the variance of what is seen
FLOOR = 1e-7  # added to powers before their logarithm is taken
LOUDEST = 12.0  # a logarithm that is predicted is no higher
MOST = 60_000  # frames that are learnt from, spread evenly over those that there are: eight minutes

Broken = tuple[np.ndarray, np.ndarray]  # low, high [T]: bounds of every sample, finite


class Power:
    """What whole sounds of one rate in Hz have where they are broken in one way; learnt from `pairs` of (low, high, whole), each float [T].

    Called with (low, high) [T] it answers with a sound [T] inside of these. Units are those of the pairs: sounds that are to be told by
    their loudness go in at one scale. seed: of the random features. ValueError where no pair has a sample.
    """

    def __init__(self, pairs: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]], rate: float, seed: int = 0):
        self.rate, self.size = rate, max(16, 2 ** round(np.log2(WINDOW * rate)))
        self.window = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(self.size) + 0.5) / self.size))
        self.bank = filters(min(BANDS, self.size // 8), self.size, rate).T
        seen, powers = [], []
        for low, high, whole in pairs:
            if len(whole):
                seen.append(self._seen(low, high)[0])
                powers.append(np.log(np.square(np.abs(self._spectra(whole))) + FLOOR).astype(np.float32))
        if not seen:
            raise ValueError("no sounds to learn from")
        x, y = np.concatenate(seen), np.concatenate(powers)
        some = np.linspace(0, len(x) - 1, min(len(x), MOST)).astype(int)
        self._learn(x[some], y[some], np.random.default_rng(seed))
        self.frames = len(some)

    def __call__(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        seen, spectra = self._seen(low, high)
        power = self._features(seen) @ self.weights
        made = np.exp(0.5 * np.minimum(power, LOUDEST)) * np.exp(1j * np.angle(spectra))
        return np.clip(self._sound(made, len(low)), low, high)

    def _learn(self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> None:
        self.mean, self.spread = x.mean(0), x.std(0) + 1e-6
        values, axes = np.linalg.eigh(np.cov((x - self.mean).T))
        values = np.maximum(values[-AXES:], 0) + 1e-6
        self.axes = (axes[:, -AXES:] / np.sqrt(values)).astype(np.float32)
        count = self.axes.shape[1]
        self.random = (1.5 * rng.standard_normal((count, FEATURES)) / np.sqrt(count)).astype(np.float32)
        self.offset = rng.uniform(-1, 1, FEATURES).astype(np.float32)
        size = x.shape[1] + FEATURES + 1
        gram, product = np.zeros((size, size)), np.zeros((size, y.shape[1]))
        for start in range(0, len(x), 4096):
            part = self._features(x[start : start + 4096])
            gram += part.T @ part
            product += part.T @ y[start : start + 4096]
        gram[np.diag_indices(size - 1)] += RIDGE * len(x)  # (the constant is free)
        self.weights = np.linalg.solve(gram, product)

    def _features(self, seen: np.ndarray) -> np.ndarray:
        """float32 [frames, values + FEATURES + 1]."""
        away = seen - self.mean
        random = np.maximum(away @ self.axes @ self.random + self.offset, 0)
        return np.concatenate([away / self.spread, random, np.ones((len(seen), 1))], 1, dtype=np.float32)

    def _seen(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(float32 [frames, values] of what a broken sound shows around each frame, the spectra that `dequantize` makes of it)."""
        smooth = self._spectra(dequantize(low[None], high[None], self.rate)[0])
        both = self._spectra((low + high) / 2), smooth
        parts = []
        for spectra, (reach, step) in zip(both, SEEN):
            bands = np.log(np.square(np.abs(spectra)) @ self.bank + FLOOR)
            wide = np.pad(bands, ((reach, reach), (0, 0)), "edge")
            parts += [wide[k : k + len(bands)] for k in range(0, 2 * reach + 1, step)]
        return np.concatenate(parts, 1).astype(np.float32), smooth

    def _spectra(self, x: np.ndarray) -> np.ndarray:
        """complex [frames, size / 2 + 1]: of every frame that touches the sound, silence around it."""
        hop = self.size // 4
        wide = np.pad(x, (self.size - hop, self.size))
        frames = np.lib.stride_tricks.sliding_window_view(wide, self.size)[::hop]
        return np.asarray(np.fft.rfft(frames * self.window))

    def _sound(self, spectra: np.ndarray, length: int) -> np.ndarray:
        hop = self.size // 4
        frames = np.fft.irfft(spectra, self.size) * self.window / 2  # squares of the window at this hop add up to 2
        out = np.zeros((len(frames) + 3) * hop)
        for start in range(0, self.size, hop):
            out[start : start + len(frames) * hop] += frames[:, start : start + hop].ravel()
        return out[self.size - hop : self.size - hop + length]
