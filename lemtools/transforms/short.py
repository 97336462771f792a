"""The front end of the short-time Fourier transform."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..catalogue import LemError
from . import stft
from .contract import Front

MOST = 1 << 20  # samples of a window


@dataclass(frozen=True)
class Windowed(Front):
    """Windows of n_fft samples (even), every hop samples; the first is centred at sample 0, and beyond its ends a sound is 0.

    window_fn: of stft.WINDOWS. rms: each sound is brought to it before, all channels together; None: left as it is.
    middle: of the frames only so many are kept, the middle ones; None: all.

    Raises LemError for settings that cannot be, and for a window and hop that cannot be inverted.
    """

    n_fft: int
    hop: int
    window_fn: str = "hann"
    rms: float | None = None
    middle: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("n_fft", 2, MOST)
        self._whole("hop", 1, MOST)
        stft.check(self.n_fft, self.hop, self.window_fn)
        if self.rms is not None:
            self._number("rms", self.rms, 1e-30, 1e30)  # float32 holds neither less nor more with all its digits
        if self.middle is not None:
            self._whole("middle", 1)
            if self.middle > self.all_frames:
                raise LemError(
                    f"{self.samples} samples make {self.all_frames} frames, not {self.middle}; --length S:pad makes them longer"
                )

    @property
    def weights(self) -> np.ndarray:
        """float64 [n_fft]: the window."""
        return stft.window(self.window_fn, self.n_fft)

    @property
    def all_frames(self) -> int:
        """Frames of the whole sound."""
        return stft.frames(self.samples, self.n_fft, self.hop)

    @property
    def first(self) -> int:
        """The first frame that is kept."""
        return 0 if self.middle is None else (self.all_frames - self.middle) // 2

    @property
    def count(self) -> int:
        """Frames that are kept."""
        return self.all_frames if self.middle is None else self.middle

    @property
    def sounding(self) -> int:
        """Of cut frames: from the centre of the first to that of the last, or to the end of the sound."""
        if self.middle is None:
            return self.samples
        return max(1, min((self.middle - 1) * self.hop, self.samples - self.first * self.hop))

    @property
    def frame_seconds(self) -> float:
        return self.hop / self.rate

    def gain(self, sound: np.ndarray) -> float:
        """What brings a sound [C, samples] to `rms`. LemError for silence."""
        if self.rms is None:
            return 1.0
        found = float(np.sqrt(np.square(sound, dtype=np.float64).mean()))
        if found == 0:
            raise LemError(f"silent: it cannot be brought to an rms of {self.rms:g}; leave it out")
        return self.rms / found

    def observed_frames(self, observed: np.ndarray) -> np.ndarray:
        if observed.shape[-1] != self.samples:
            raise LemError(f"{observed.shape[-1]} samples, not the {self.samples} of this front end")
        within = np.flatnonzero(self.weights)  # (a sample under a 0 of the window is in no frame)
        begin = (self.first + np.arange(self.count)) * self.hop - self.n_fft // 2 + within[0]
        ends = np.clip([begin, begin + within[-1] + 1 - within[0]], 0, self.samples)
        lost = np.zeros((*observed.shape[:-1], self.samples + 1), np.int64)
        np.cumsum(~observed, axis=-1, out=lost[..., 1:])
        return np.asarray(lost[..., ends[1]] == lost[..., ends[0]])


@dataclass(frozen=True)
class ShortTime(Windowed):
    """A complex spectrum. compress: P, magnitudes become |c|^P, phases stay."""

    compress: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._number("compress", self.compress, 0, 1)

    is_complex = True

    @property
    def shape(self) -> tuple[int, int]:
        return self.n_fft // 2 + 1, self.count

    @property
    def hz(self) -> np.ndarray:
        return np.arange(self.shape[0]) * (self.rate / self.n_fft)

    @property
    def zero(self) -> np.ndarray:
        """The imaginary parts of DC and Nyquist."""
        found = np.zeros((2, self.shape[0]), bool)
        found[1, [0, -1]] = True
        return found

    def encode(self, sound: np.ndarray) -> np.ndarray:
        self.check_sound(sound)
        n, c, _ = sound.shape
        out = np.empty((n, c, 2, *self.shape), np.float32)
        weights = self.weights
        for each, spectra in zip(sound, out):
            gain = self.gain(each)
            for row, (real, imaginary) in zip(each, spectra):
                for start, part in stft.pieces(row, weights * gain, self.hop, self.first, self.count):
                    part = compressed(part, self.compress)
                    real[:, start : start + len(part)] = part.real.T
                    imaginary[:, start : start + len(part)] = part.imag.T
        return out.reshape(n, 2 * c, *self.shape)

    def decode(self, spectrum: np.ndarray) -> np.ndarray:
        self.check_spectrum(spectrum)
        n, pairs, rows, count = spectrum.shape
        out = np.empty((n, pairs // 2, self.sounding), np.float32)
        step = max(1, stft.CHUNK // self.n_fft)
        weights = self.weights
        for spectra, sounds in zip(spectrum, out):
            for k in range(len(sounds)):
                parts = (self._frames(spectra[2 * k : 2 * k + 2, :, s : s + step]) for s in range(0, count, step))
                sounds[k] = stft.overlapped(parts, weights, self.hop, count, self.sounding)
        return out

    def adjoint(self, spectrum: np.ndarray) -> np.ndarray:
        self.check_spectrum(spectrum)
        if self.compress != 1 or self.rms is not None:
            raise LemError(f"{self.encoder} is not linear where it compresses magnitudes or sets the rms of a sound")
        n, pairs, _, count = spectrum.shape
        out = np.zeros((n * pairs // 2, self.samples), np.float32)
        weights = self.weights.astype(np.float32)
        start, step = self.first * self.hop - self.n_fft // 2, max(1, stft.CHUNK // self.n_fft)
        for pair, sound in zip(spectrum.reshape(len(out), 2, *self.shape), out):
            whole = np.zeros((count - 1) * self.hop + self.n_fft, np.float32)
            for first in range(0, count, step):
                bins = (pair[0, :, first : first + step] + 1j * pair[1, :, first : first + step]).T
                bins[:, 1:-1] /= 2  # these stand for two bins of the whole spectrum
                for k, frame in enumerate(np.fft.irfft(bins, self.n_fft, axis=1, norm="forward"), first):
                    whole[k * self.hop : k * self.hop + self.n_fft] += frame * weights
            there = whole[max(0, -start) : self.samples - start]
            sound[max(0, start) : max(0, start) + len(there)] = there
        return out.reshape(n, pairs // 2, self.samples)

    @property
    def plain(self) -> ShortTime:
        return replace(self, compress=1.0, rms=None)

    def expanded(self, spectrum: np.ndarray) -> np.ndarray:
        return _powered(spectrum, 1 / self.compress)

    def squeezed(self, spectrum: np.ndarray) -> np.ndarray:
        return _powered(spectrum, self.compress)

    @property
    def emphasis(self) -> np.ndarray:
        """A row of a real sound stands for its mirror image, too, but for the first and the last."""
        found = np.full(self.shape[0], 2, np.float32)
        found[[0, -1]] = 1
        return found

    def cover(self, observed: np.ndarray) -> np.ndarray:
        squared, start = self.weights**2, self.first * self.hop - self.n_fft // 2
        whole = np.zeros(max(0, -start) + self.samples + self.n_fft)
        for k, held in enumerate(self.emphasis.astype(np.float64) @ observed):
            begin = max(0, start) + k * self.hop
            whole[begin : begin + self.n_fft] += held * squared
        return whole[max(0, -start) :][: self.samples]

    def _frames(self, pair: np.ndarray) -> np.ndarray:
        """float32 [frames, n_fft] of real and imaginary parts [2, F, frames]."""
        part = np.empty(pair.shape[:0:-1], np.complex64)
        part.real, part.imag = pair[0].T, pair[1].T
        return np.fft.irfft(compressed(part, 1 / self.compress), self.n_fft, axis=1)


def _powered(spectrum: np.ndarray, power: float) -> np.ndarray:
    """float32 [N, 2C, ...]: magnitudes of complex pairs to a power, phases kept."""
    if power == 1:
        return spectrum
    pairs = spectrum.reshape(len(spectrum), -1, 2, *spectrum.shape[2:])
    part = compressed((pairs[:, :, 0] + 1j * pairs[:, :, 1]).astype(np.complex64), power)
    return np.stack([part.real, part.imag], 2).reshape(spectrum.shape)


def compressed(part: np.ndarray, power: float) -> np.ndarray:
    """complex64: magnitudes to a power, phases kept."""
    if power == 1:
        return part
    magnitude = np.abs(part)
    gain = np.power(magnitude, power - 1, out=np.zeros_like(magnitude), where=magnitude > 0)
    return part * gain
