"""The front ends of mel bands, their logarithms, and cepstra: spectra without phases."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from ..catalogue import LemError
from . import griffin_lim, mel, stft
from .short import Windowed

FLOOR = 1e-6  # added to mel bands before their logarithm is taken


@dataclass(frozen=True)
class Mel(Windowed):
    """Power in mel bands: mel.filters of the squared magnitudes of the short-time spectrum, [N, C, bands, frames].

    `decode` finds phases by Griffin-Lim: the sound has the bands, nearly, but is not the one that was encoded.
    """

    bands: int = 80

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("bands", 1, 4096)
        mel.filters(self.bands, self.n_fft, self.rate)

    is_complex = False

    @functools.cached_property
    def bank(self) -> np.ndarray:
        """float32 [bands, n_fft / 2 + 1]: the filters."""
        return mel.filters(self.bands, self.n_fft, self.rate)

    @property
    def shape(self) -> tuple[int, int]:
        return self.bands, self.count

    @property
    def hz(self) -> np.ndarray:
        return mel.corners(self.bands, self.rate)[1:-1]

    def encode(self, sound: np.ndarray) -> np.ndarray:
        self.check_sound(sound)
        out = np.empty((*sound.shape[:2], *self.shape), np.float32)
        bank = self.bank.T.astype(np.float64)
        for each, spectra in zip(sound, out):
            weights = self.weights * self.gain(each)
            for row, found in zip(each, spectra):
                for start, part in stft.pieces(row, weights, self.hop, self.first, self.count):
                    found[:, start : start + len(part)] = self.of_mels(np.square(np.abs(part)) @ bank).T
        return out

    def decode(self, spectrum: np.ndarray) -> np.ndarray:
        self.check_spectrum(spectrum)
        out = np.empty((*spectrum.shape[:2], self.sounding), np.float32)
        for each, sounds in zip(spectrum, out):
            for k, found in enumerate(each):
                mels = np.maximum(self.to_mels(found.T.astype(np.float64)).T, 0)
                magnitudes = np.sqrt(mel.power(mels, self.bank))
                sounds[k] = griffin_lim.sound(magnitudes, self.weights, self.hop, self.sounding)
        return out

    def of_mels(self, mels: np.ndarray) -> np.ndarray:
        """[frames, F] of mel bands [frames, bands]."""
        return mels

    def to_mels(self, rows: np.ndarray) -> np.ndarray:
        """Mel bands [frames, bands] of [frames, F]; some may lie a little below 0."""
        return rows


@dataclass(frozen=True)
class LogMel(Mel):
    """Natural logarithms of mel bands + FLOOR."""

    def of_mels(self, mels: np.ndarray) -> np.ndarray:
        return np.asarray(np.log(mels + FLOOR))

    def to_mels(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(np.exp(np.minimum(rows, 80)) - FLOOR)


@dataclass(frozen=True)
class MFCC(LogMel):
    """Mel-frequency cepstra: the first coefficients of the orthonormal cosine transform of log-mels."""

    coefficients: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("coefficients", 1, self.bands)

    @property
    def shape(self) -> tuple[int, int]:
        return self.coefficients, self.count

    @property
    def hz(self) -> np.ndarray:
        raise LemError("the rows of mfcc are cepstral coefficients, not frequencies; log-mel has bands")

    def of_mels(self, mels: np.ndarray) -> np.ndarray:
        return np.asarray(super().of_mels(mels) @ mel.cosines(self.coefficients, self.bands).T)

    def to_mels(self, rows: np.ndarray) -> np.ndarray:
        return super().to_mels(rows @ mel.cosines(self.coefficients, self.bands))
