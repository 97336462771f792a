"""Cepstra as the acoustic models of CMU Sphinx have them (its front end, version 5, written anew and compared with it).

13 mel-frequency cepstra of Hamming windows of 410 samples at 16 kHz, every 10 ms, pre-emphasised by .97, with the noise taken
out of the mel bands (power-normalised cepstra's medium-time suppression: Kim & Stern 2012); less their means over the sound, with
their first and second differences beside them.
"""

from __future__ import annotations

import numpy as np

from ..transforms.mel import cosines

RATE = 16_000  # Hz
WINDOW, N_FFT = 410, 512  # samples
HOP = 160  # samples from a frame to the next
BANDS, LOW, HIGH = 25, 130.0, 6800.0  # filters, and the frequencies in Hz between which they lie
CEPSTRA, LIFTER = 13, 22
MIDDLE = (WINDOW - HOP) / 2 / RATE  # s by which the middle between frames k - 1 and k lies behind k hops
CHUNK = 1 << 13  # frames at a time

SMOOTH, RISE, FALL = 0.7, 0.995, 0.5  # how much of the power before stays, and of an envelope below it
FORGET, MASKED, GAIN, NEIGHBOURS = (
    0.85,
    0.2,
    20.0,
    4,
)  # of peaks; the least gain is 1 / GAIN; bands averaged on each side


def _filters() -> np.ndarray:
    """float64 [BANDS, N_FFT / 2 + 1]: triangles of area 1 on the scale 2595 log10(1 + f / 700), their corners at bins."""
    low, high = (2595 * np.log10(1 + f / 700) for f in (LOW, HIGH))
    edges = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    step = RATE / N_FFT
    edges = np.floor(edges / step + 0.5) * step
    bins = np.arange(N_FFT // 2 + 1) * step
    left, middle, right = (edges[i : i + BANDS, None] for i in range(3))
    slopes = np.minimum((bins - left) / (middle - left), (right - bins) / (right - middle))
    return np.asarray(np.maximum(slopes, 0) * 2 / (right - left))


def bands(sound: np.ndarray) -> np.ndarray:
    """float64 [frames, BANDS]: the power in mel bands of a sound [T] at 16 kHz, full scale 1.

    Frame k begins at sample k * HOP; the last one reaches behind the sound, where zeros are. No sound has no frames.
    """
    count = 1 + max(0, (len(sound) - WINDOW) // HOP + 1) if len(sound) else 0
    found = np.empty((count, BANDS))
    if not count:
        return found
    wave = sound.astype(np.float64) * 32768
    wave[1:] -= 0.97 * wave[:-1]
    framed = np.lib.stride_tricks.sliding_window_view(
        np.pad(wave, (0, (count - 1) * HOP + WINDOW - len(wave))), WINDOW
    )[::HOP]
    bank = _filters().T
    for at in range(0, count, CHUNK):
        found[at : at + CHUNK] = (
            np.square(np.abs(np.fft.rfft(framed[at : at + CHUNK] * np.hamming(WINDOW), N_FFT))) @ bank
        )
    return found


def _under(power: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """The lower envelope, a frame on."""
    keep = np.where(power >= floor, RISE, FALL)
    return np.asarray(keep * floor + (1 - keep) * power)


def denoised(power: np.ndarray) -> np.ndarray:
    """float64 [frames, BANDS]: powers of bands times the gain that takes steady noise out of them."""
    gains, band = np.empty_like(power), np.arange(BANDS)
    low, high = np.maximum(band - NEIGHBOURS, 0), np.minimum(band + NEIGHBOURS, BANDS - 1)
    smooth, noise = power[:1].sum(0), power[:1].sum(0) / GAIN
    floor, peak = noise, np.zeros(BANDS)
    for row, gain in zip(power, gains):
        smooth = SMOOTH * smooth + (1 - SMOOTH) * row
        noise = _under(smooth, noise)
        speech = np.maximum(smooth - noise, 1)
        floor = _under(speech, floor)
        peak = peak * FORGET
        heard = np.where(speech < FORGET * peak, peak * MASKED, speech)
        peak = np.maximum(peak, speech)
        heard = np.maximum(heard, floor)
        gain[:] = np.where(heard < GAIN * smooth, heard / np.maximum(smooth, 1e-30), GAIN)
    total = np.pad(np.cumsum(np.maximum(gains, 1 / GAIN), 1), ((0, 0), (1, 0)))
    return np.asarray(power * (total[:, high + 1] - total[:, low]) / (high + 1 - low))


def cepstra(power: np.ndarray) -> np.ndarray:
    """float64 [frames, CEPSTRA] of powers of bands [frames, BANDS]."""
    lift = 1 + LIFTER / 2 * np.sin(np.pi * np.arange(CEPSTRA) / LIFTER)
    return np.asarray(np.log(power + 1e-4) @ (cosines(CEPSTRA, BANDS).T * lift))


def features(cepstrum: np.ndarray) -> np.ndarray:
    """float32 [frames, 3, CEPSTRA]: cepstra [frames, CEPSTRA] less their means, their differences over 4 frames, and the
    differences of those over 2."""
    if not len(cepstrum):
        return np.empty((0, 3, CEPSTRA), np.float32)
    wide = np.pad(cepstrum - cepstrum.mean(0, keepdims=True), ((3, 3), (0, 0)), "edge")

    def moved(by: int) -> np.ndarray:
        return wide[3 + by : len(wide) - 3 + by]

    change = [moved(0), moved(2) - moved(-2), (moved(3) - moved(-1)) - (moved(1) - moved(-3))]
    return np.stack(change, 1, dtype=np.float32)
