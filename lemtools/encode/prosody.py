"""How something is said, in six numbers that can be read: pitch and its range, level, tilt, rate, voiced share. numpy only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..signal import LemError, Signal
from .contract import Encoder
from .pitch import STEP, chunks, levels, track

FEATURES = {  # name: unit
    "f0_median": "semitones above 100 Hz",
    "f0_range": "semitones",
    "level": "dB of full scale",
    "tilt": "dB an octave",
    "rate": "syllables a second",
    "voiced": "share",
}
LEAST_RATE, LEAST_SECONDS = 8_000, 0.1
BELOW = 25.0  # dB under the loudest frames: what is quieter is no speech
DIP = 2.0  # dB between two syllables
SMOOTH = 0.064  # s, the window of the level in which syllables are counted
CENTRES = 200 * 2 ** (np.arange(13) / 3)  # Hz, third-octave bands: 200 Hz to 3.2 kHz
FEWEST = 5  # voiced frames, for percentiles of their f0


class Prosody(Encoder):
    """Audio [N, C, T] at 8 kHz or more -> embedding [N, 6]: the features of FEATURES, of the mean of the channels.

    Speech lasts from the first to the last frame (40 ms, every 10 ms) within 25 dB of the loudest 1 % of them.
    f0_median: median f0 of its voiced frames, in semitones above 100 Hz. f0_range: from their 10th percentile to their
    90th, in semitones. level: mean power of the frames within those 25 dB, in dB of full scale (a sine of amplitude 1
    has -3). tilt: slope of the mean spectrum of its voiced frames, a straight line through the density in 13
    third-octave bands from 200 Hz to 3.2 kHz, in dB an octave (white noise has 0). rate: syllable nuclei a second of
    speech, found as peaks of the level with a dip of 2 dB between them, in voiced frames (de Jong and Wempe 2009).
    voiced: the share of its frames that are voiced. f0 as of `pitch.track`, from 75 to 600 Hz. Nothing depends on the
    other sounds of a batch. LemError for less than .1 s, for silence, and where fewer than 5 frames are voiced.
    """

    name = "prosody"

    def encode(self, signal: Signal) -> list[Signal]:
        names = signal.names or [f"item {i}" for i in range(len(signal))]
        rows = []
        for sound, name in zip(signal.data, names):
            try:
                rows.append(features(sound.mean(0, dtype=np.float64), signal.rate))
            except ValueError as error:
                raise LemError(f"{name}: {error}" if len(signal) > 1 else str(error)) from error
        data = np.array(rows, np.float32).reshape(len(rows), len(FEATURES))
        return [replace(signal, kind="embedding", data=data, rate=None)]

    def record(self, signal: Signal) -> dict:
        return {"features": list(FEATURES), "units": list(FEATURES.values())}


def features(sound: np.ndarray, rate: float | None) -> list[float]:
    """The six numbers of one sound [T]. ValueError where one of them is undefined."""
    if rate is None:
        raise ValueError("a sound without its sample rate")
    if rate < LEAST_RATE:
        raise ValueError(f"{rate:g} Hz; prosody needs {LEAST_RATE} Hz or more, for its spectral tilt")
    if len(sound) < LEAST_SECONDS * rate:
        raise ValueError(f"{len(sound) / rate:.4g} s of sound; prosody needs {LEAST_SECONDS:g} s or more")
    if not np.isfinite(sound).all():
        raise ValueError("a value that is not finite")
    if not (sound != sound[0]).any():
        raise ValueError("silence; prosody needs speech")
    f0, loud = track(sound, rate)
    speech = loud > np.quantile(loud, 0.99) - BELOW
    first, last = np.flatnonzero(speech)[[0, -1]]
    f0, loud, speech = (x[first : last + 1] for x in (f0, loud, speech))
    voiced = f0 > 0
    if voiced.sum() < FEWEST:
        raise ValueError(f"{voiced.sum()} voiced frames of 10 ms, too few for a pitch; prosody needs speech")
    tones = 12 * np.log2(f0[voiced] / 100)
    low, middle, high = np.quantile(tones, (0.1, 0.5, 0.9))
    smooth = levels(sound, rate, SMOOTH)[first : last + 1]
    return [
        float(middle),
        float(high - low),
        float(10 * np.log10(np.mean(10 ** (loud[speech] / 10)))),
        tilt(sound, rate, first + np.flatnonzero(voiced)),
        nuclei(smooth, voiced) / (len(f0) * STEP),
        float(voiced.mean()),
    ]


def tilt(sound: np.ndarray, rate: float, frames: np.ndarray) -> float:
    """Slope in dB an octave of the mean power density of frames, by their numbers, in third-octave bands."""
    total: np.ndarray | float = 0.0
    size = 0
    for start, windowed in chunks(sound, rate):
        chosen = frames[(frames >= start) & (frames < start + len(windowed))] - start
        size = 4 << (windowed.shape[1] - 1).bit_length()  # bins narrow enough for the lowest band
        total = total + np.sum(np.abs(np.fft.rfft(windowed[chosen], size)) ** 2, axis=0)
    hertz = np.arange(size // 2 + 1) * rate / size
    bands = [(hertz >= c * 2 ** (-1 / 6)) & (hertz < c * 2 ** (1 / 6)) for c in CENTRES]
    density = np.array([np.mean(np.asarray(total)[band]) for band in bands])
    if not (density > 0).all():
        raise ValueError("no energy in a band from 200 Hz to 3.2 kHz: its spectral tilt is undefined")
    return float(np.polyfit(np.log2(CENTRES), 10 * np.log10(density), 1)[0])


def nuclei(level: np.ndarray, voiced: np.ndarray) -> int:
    """Syllable nuclei in a level [F] in dB: voiced peaks within BELOW of the loudest, a dip of DIP dB or more between."""
    least, count = level.max() - BELOW, 0
    for top in _peaks(level):
        count += bool(level[top] > least and voiced[max(0, top - 1) : top + 2].any())
    return count


def _peaks(level: np.ndarray) -> Iterator[int]:
    """Places of the peaks that rise by DIP above the lowest value since the one before, and fall as far after.

    Before the first and after the last value there is none, so that there is always a peak.
    """
    top, bottom, rising = 0, level[0], True
    for i, value in enumerate(level):
        if rising:
            top = i if value > level[top] else top
            if value < level[top] - DIP:
                yield top
                bottom, rising = value, False
        else:
            bottom = min(bottom, value)
            if value > bottom + DIP:
                top, rising = i, True
    if rising:
        yield top
