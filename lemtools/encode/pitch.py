"""The fundamental frequency of a voice, frame by frame, after Boersma 1993. numpy only.

Paul Boersma, Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a sampled
sound, IFA Proceedings 17, 1993: the autocorrelation of a windowed frame divided by that of the window (equation 9), its
peaks as candidates, and the cheapest path through the candidates of all frames (Viterbi).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

FLOOR, CEILING = 75.0, 600.0  # Hz
WINDOW, STEP = 3 / FLOOR, 0.01  # s
CANDIDATES = 8  # of a frame, beside that of no voice
SILENCE, VOICING = 0.03, 0.45  # thresholds
OCTAVE, JUMP, CHANGE = 0.01, 0.35, 0.14  # costs: of low candidates, of leaps by an octave, of voice that comes or goes
FINE = 64_000  # Hz, the rate of the autocorrelation in which peaks are looked for
MANY = 512  # frames at a time
_TINY = 1e-30


def track(sound: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """(f0 in Hz, 0 where there is no voice; level in dB of full scale), float64 [F], of a sound [T], every STEP seconds.

    f0 lies between FLOOR and CEILING; costs and thresholds are those of the paper's section 3, as published in Praat.
    Frames of WINDOW seconds stand centred in the sound, the first and the last one inside of it.
    """
    peak = float(np.abs(sound - sound.mean()).max())
    parts = [_candidates(frames, rate, peak) for _, frames in chunks(sound, rate)]
    hertz, strength = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    return _path(hertz, strength), levels(sound, rate, WINDOW)


def chunks(sound: np.ndarray, rate: float, seconds: float = WINDOW) -> Iterator[tuple[int, np.ndarray]]:
    """(number of the first, frames [n, W] less their mean under a Hann window), MANY frames at a time.

    The centres are those of frames of WINDOW seconds, for other lengths, too; outside of the sound there are zeros.
    """
    width, step, inner = (max(3, round(s * rate)) for s in (seconds, STEP, WINDOW))
    count = max(1, 1 + (len(sound) - inner) // step)
    first = (len(sound) - (count - 1) * step) / 2 - width / 2
    before = max(0, -int(np.floor(first)))
    padded = np.pad(sound, (before, width + step))
    window = hann(width)
    for start in range(0, count, MANY):
        at = before + np.floor(first).astype(int) + step * np.arange(start, min(start + MANY, count))
        frames = padded[at[:, None] + np.arange(width)]
        yield start, (frames - frames.mean(1, keepdims=True)) * window


def hann(width: int) -> np.ndarray:
    """The window, without its zeros at both ends."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1, width + 1) / (width + 1))


def levels(sound: np.ndarray, rate: float, seconds: float) -> np.ndarray:
    """Power in dB of full scale, [F], under a Hann window of so many seconds, at the places of the frames of `track`."""
    power = [np.sum(frames**2, axis=1) for _, frames in chunks(sound, rate, seconds)]
    energy = np.sum(hann(max(3, round(seconds * rate))) ** 2)
    return 10 * np.log10(np.maximum(np.concatenate(power) / energy, _TINY))


def _candidates(frames: np.ndarray, rate: float, peak: float) -> tuple[np.ndarray, np.ndarray]:
    """(Hz, strength), [n, 1 + CANDIDATES]; the first is that of no voice, 0 Hz. Strength -inf: no candidate."""
    count, width = frames.shape
    size = 1 << int(1.5 * width).bit_length()
    up = max(1, int(np.ceil(FINE / rate)))  # more zeros behind the spectrum: sin x / x between the lags
    correlation = np.fft.irfft(np.abs(np.fft.rfft(frames, size)) ** 2, size * up)
    own = np.fft.irfft(np.abs(np.fft.rfft(hann(width), size)) ** 2, size * up)
    first, last = int(up * rate / CEILING), int(np.ceil(up * rate / FLOOR)) + 1
    here = correlation[:, : last + 1] / np.maximum(correlation[:, :1], _TINY) / (own[: last + 1] / own[0])
    middle, before, after = here[:, first:-1], here[:, first - 1 : -2], here[:, first + 1 :]
    bend = np.where((middle > before) & (middle >= after), before - 2 * middle + after, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        shift = 0.5 * (before - after) / bend
        height = middle - 0.25 * (before - after) * shift
        hertz = up * rate / (first + np.arange(middle.shape[1]) + shift)
    height = np.where(height > 1, 1 / height, height)  # the division may leave more than 1; as in Praat
    valid = np.isfinite(height) & (height > 0.5 * VOICING) & (hertz >= FLOOR) & (hertz <= CEILING)
    cost = OCTAVE * np.log2(np.where(valid, hertz, FLOOR) / FLOOR)
    strength = np.where(valid, height + cost, -np.inf)  # lower ones cost more
    best = np.argsort(-strength, axis=1, kind="stable")[:, :CANDIDATES]
    silent = 2 - (np.abs(frames).max(1) / max(peak, _TINY)) / (SILENCE / (1 + VOICING))
    none = VOICING + np.maximum(0, silent)
    hertz = np.where(valid, hertz, 0.0)
    return (
        np.concatenate([np.zeros((count, 1)), np.take_along_axis(hertz, best, 1)], 1),
        np.concatenate([none[:, None], np.take_along_axis(strength, best, 1)], 1),
    )


def _path(hertz: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """f0 [F] of the path with the greatest strength less its costs."""
    tones = np.log2(np.where(hertz > 0, hertz, 1.0))
    total, came = strength[0], np.zeros(hertz.shape, np.int64)
    for i in range(1, len(hertz)):
        voiced = (hertz[i - 1] > 0)[:, None], (hertz[i] > 0)[None]
        leap = JUMP * np.abs(tones[i - 1][:, None] - tones[i][None])
        cost = np.where(voiced[0] & voiced[1], leap, CHANGE * (voiced[0] ^ voiced[1]))
        over = total[:, None] - cost
        came[i] = over.argmax(0)
        total = over.max(0) + strength[i]
    out, at = np.empty(len(hertz)), int(total.argmax())
    for i in range(len(hertz) - 1, -1, -1):
        out[i] = hertz[i, at]
        at = came[i, at]
    return out
