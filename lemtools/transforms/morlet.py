"""Sound as analytic Morlet wavelets see it, and back: a spectrum whose rows lie evenly in pitch.

The wavelets, and what the outermost rows hold besides, are those of `wavelets`. At its ends a sound is mirrored (the
first sample follows itself). As all filters are real, the rows of a mirrored sound are the mirrored rows, conjugate: the
decoder knows them beyond the ends, too. It divides by the sum of squared responses (the dual frame). How exact that is
hangs on how much is mirrored (REACH).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..catalogue import LemError
from . import narrow
from .contract import Front
from .wavelets import FALL, Filters, centres, widths

REACH = 10.0  # standard deviations of the longest filter in time that a sound is mirrored for
RAMP = 2.0  # on which it then falls to zero
TOUCH = 4.0  # standard deviations within which a lost sample spoils a coefficient: e^-8 is 3.4e-4
BLOCK = 1 << 19  # samples worked on at a time, of short sounds together


def threads() -> int:
    """How many rows are made at a time: transforms and products of NumPy leave other threads running."""
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


@dataclass(frozen=True)
class Morlet(Front):
    """The Morlet transform of sounds of one length.

    voices: rows an octave. lowest: frequency of row 0 in Hz, below half the rate. hop: of each row every hop-th sample
    is kept, from the first on; what is to be decoded needs a hop of 1.
    """

    voices: int = 24
    lowest: float = 20.0
    hop: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("voices", 4, 96)
        self._whole("hop", 1)
        self._number("lowest", self.lowest, 0)
        if not 1 <= self.lowest < self.rate / 2:
            raise LemError(
                f"morlet: a lowest frequency of {self.lowest:g} Hz: it lies from 1 to below {self.rate / 2:g}"
            )

    @cached_property
    def hz(self) -> np.ndarray:
        """float64 [F]: centre frequencies."""
        return centres(self.rate, self.voices, self.lowest)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.hz), -(-self.samples // self.hop)

    is_complex = True

    @property
    def frame_seconds(self) -> float:
        return self.hop / self.rate

    def encode(self, sound: np.ndarray) -> np.ndarray:
        self.check_sound(sound)
        flat = sound.reshape(-1, self.samples)
        out = np.empty((len(flat), 2, *self.shape), np.float32)
        for items in self._blocks(len(flat)):
            self._rows(flat[items], out[items])
        return out.reshape(len(sound), -1, *self.shape)

    def decode(self, spectrum: np.ndarray) -> np.ndarray:
        """The sounds whose rows are nearest to these, but for the ends of the sound. LemError for a hop above 1."""
        self.check_spectrum(spectrum)
        if self.hop != 1:
            kept = f"of {self.hop} numbers of a row one was kept (--hop {self.hop}), which cannot be decoded"
            raise LemError(f"{kept}; encode with --hop 1, or keep the spectra (-o FILE.safetensors)")

        def mirrored(rows: np.ndarray, whole: np.ndarray) -> None:
            whole[:, :, self._beyond] = rows[:, :, self._mirrored] * self._turned

        def divided(bins: np.ndarray) -> np.ndarray:
            return np.fft.irfft(bins / self._filters.gain, self.period)[:, : self.samples]

        return self._back(spectrum, mirrored, divided)

    def adjoint(self, spectrum: np.ndarray) -> np.ndarray:
        """The transpose of `encode`, taken as a matrix of real numbers: spectra [N, 2C, F, frames] -> [N, C, samples]."""
        self.check_spectrum(spectrum)

        def folded(bins: np.ndarray) -> np.ndarray:
            whole = np.fft.irfft(bins, self.period)
            out = whole[:, : self.samples].copy()
            for item, ends in zip(out, whole[:, self._beyond] * self._fade):
                item += np.bincount(self._mirrored, ends, self.samples)
            return out

        return self._back(spectrum, lambda rows, whole: None, folded)

    @property
    def emphasis(self) -> np.ndarray:
        """float32 [F]: weights of the rows for least squares. What the outermost rows hold alone has a gain of 1, all else of
        about `voices`: with these weights conjugate gradients take half of the steps (25 for 50, of noise with a mean, half of it lost)."""
        found = np.ones(len(self.hz), np.float32)
        found[[0, -1]] = np.sqrt(self.voices)
        return found

    def observed_frames(self, observed: np.ndarray) -> np.ndarray:
        """Frames of which every sample within TOUCH standard deviations of the longest filter was observed."""
        if observed.shape[-1] != self.samples:
            raise LemError(f"{observed.shape[-1]} samples, not the {self.samples} of this front end")
        lost = np.zeros((*observed.shape[:-1], self.samples + 1), np.int64)
        np.cumsum(~observed, axis=-1, out=lost[..., 1:])
        at, reach = (
            np.arange(self.shape[1]) * self.hop,
            int(np.ceil(TOUCH * max(*widths(self.rate, self.hz[:1]), FALL))),
        )
        ends = np.clip([at - reach, at + reach + 1], 0, self.samples)
        return np.asarray(lost[..., ends[1]] == lost[..., ends[0]])

    # the ends

    @cached_property
    def period(self) -> int:
        """Samples of the Fourier transform."""
        return self.hop * narrow.smooth(-(-(self.samples + 2 * self._pad) // self.hop))

    @cached_property
    def _pad(self) -> int:
        """Samples that are mirrored at each end."""
        return int(np.ceil((REACH + RAMP) * self._longest))

    @property
    def _longest(self) -> float:
        """Standard deviation in samples of the longest filter; no less than twice that of the fall at half the rate."""
        return max(float(widths(self.rate, self.hz[:1])[0]), 2 * FALL)

    @cached_property
    def _beyond(self) -> np.ndarray:
        """The places of the period that hold what is mirrored: after the sound and, at the end, before it."""
        return np.r_[self.samples : self.samples + self._pad, self.period - self._pad : self.period]

    @cached_property
    def _places(self) -> np.ndarray:
        """Those places counted from the sound's first sample, within two of its lengths, after which all repeats."""
        return np.r_[self.samples : self.samples + self._pad, -self._pad : 0] % (2 * self.samples)

    @cached_property
    def _mirrored(self) -> np.ndarray:
        """The sample that each of them mirrors."""
        return np.minimum(self._places, 2 * self.samples - 1 - self._places)

    @cached_property
    def _fade(self) -> np.ndarray:
        """float32: the weight of each of them."""
        ramp = int(RAMP * self._longest)
        fall = np.cos(np.linspace(0, np.pi / 2, ramp + 2)[1:-1]) ** 2
        one = np.concatenate([np.ones(self._pad - ramp), fall])
        return np.concatenate([one, one[::-1]]).astype(np.float32)

    @cached_property
    def _turned(self) -> np.ndarray:
        """float32 [2, places]: the weight of real and imaginary parts, of which mirroring turns the sign."""
        return np.stack([self._fade, np.where(self._places < self.samples, self._fade, -self._fade)])

    # the work

    @cached_property
    def _filters(self) -> Filters:
        return Filters(widths(self.rate, self.hz), self.voices, self.period)

    def _rows(self, sounds: np.ndarray, out: np.ndarray) -> None:
        """All rows of sounds [I, samples] into float32 [I, 2, F, frames]."""
        whole = np.zeros((len(sounds), self.period))
        whole[:, : self.samples] = sounds
        whole[:, self._beyond] = sounds[:, self._mirrored] * self._fade
        bins = (np.fft.rfft(whole) / self.period).astype(np.complex64)
        filters, length = self._filters, self.period // self.hop

        def row(k: int) -> None:
            g = filters.response(k)
            seen = bins[:, : len(g)]
            made = narrow.scratch("made", seen.shape, np.complex64)
            narrow.samples(np.multiply(seen, g.astype(np.float32), out=made), length, out[:, :, k])
            if k in filters.rest:
                h = (filters.rest[k] / filters.half[: len(g)]).astype(np.float32)
                more = np.empty_like(out[:, :, k])
                narrow.samples(np.multiply(seen, h, out=made), length, more)
                out[:, 0, k] += more[:, 0]

        for _ in self._each(row):
            pass

    def _back(self, spectrum: np.ndarray, ends: Callable[..., None], done: Callable[..., np.ndarray]) -> np.ndarray:
        """What `done` makes of the half spectrum that all rows sum to. ends: fills the places of the period beyond them."""
        flat = spectrum.reshape(-1, 2, *self.shape)
        out = np.empty((len(flat), self.samples), np.float32)
        for items in self._blocks(len(flat)):
            out[items] = done(self._summed(flat[items], ends))
        return out.reshape(len(spectrum), -1, self.samples)

    def _summed(self, rows: np.ndarray, ends: Callable[..., None]) -> np.ndarray:
        """complex128 [I, period // 2 + 1]: the half spectrum of the real part of all rows [I, 2, F, frames], filtered again."""
        filters = self._filters

        def row(k: int) -> np.ndarray:
            whole = narrow.scratch("whole", (len(rows), 2, self.period // self.hop), np.float32)
            whole[:, :, : self.shape[1]] = rows[:, :, k]
            whole[:, :, self.shape[1] :] = 0
            ends(rows[:, :, k], whole)
            g = filters.response(k).astype(np.float32)
            made = narrow.spectrum(whole, len(g))
            made *= g * filters.half[: len(g)]
            if k in filters.rest:
                whole[:, 1] = 0
                made += narrow.spectrum(whole, len(g)) * filters.rest[k].astype(np.float32)
            return made

        bins = np.zeros((len(rows), self.period // 2 + 1), np.complex128)
        for made in self._each(row):
            bins[:, : made.shape[1]] += made
        return bins

    def _each(self, row: Callable[[int], Any]) -> Iterator[Any]:
        """What `row` returns for each row, in order."""
        asked = np.geterr()  # what is done with values that are too large: a thread begins with numpy's own answer
        with ThreadPoolExecutor(threads(), initializer=lambda: np.seterr(**asked)) as pool:
            yield from pool.map(row, range(len(self.hz)))

    def _blocks(self, items: int) -> Iterator[slice]:
        step = max(1, BLOCK // self.period)
        return (slice(a, min(a + step, items)) for a in range(0, items, step))
