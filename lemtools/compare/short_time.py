"""Metrics of sound that go frame by frame: segmental SNR, the multi-resolution STFT distance. One float64 value an item.

Sound is [N,C,T]. Frames are made a chunk at a time, so that a long sound needs little memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .sound import sounds

FRAME, STEPS = 0.030, 4  # segmental SNR: seconds a frame; a new one starts every quarter of it
LEAST, MOST = -10.0, 35.0  # dB that a frame counts at most
RESOLUTIONS = ((512, 50, 240), (1024, 120, 600), (2048, 240, 1200))  # samples: FFT, hop, window
FLOOR = 1e-8  # powers below it count as it
_CHUNK = 1 << 20  # numbers in a chunk of frames


def _frames(x: np.ndarray, size: int, hop: int) -> Iterator[np.ndarray]:
    """Chunks [n, size] of the whole frames of x [T], T >= size, every hop samples."""
    views = np.lib.stride_tricks.sliding_window_view(x, size)[::hop]
    step = max(1, _CHUNK // size)
    for i in range(0, len(views), step):
        yield views[i : i + step]


def segmental_snr(a: np.ndarray, b: np.ndarray, *, rate: float) -> np.ndarray:
    """Segmental signal-to-noise ratio of each sound [N] in dB, in [-10, 35]. `segsnr[30ms]`.

    The mean over frames of 10 log10(sum (w a)^2 / sum (w (a-b))^2), each frame's value limited to [-10, 35] dB, as
    Hansen and Pellom (1998) have it, with the frames of Loizou's code (Speech Enhancement, 2007): 30 ms at `rate` Hz,
    Hann windows, a new one every quarter, whole frames only (a sound shorter than one is extended by zeros). Frames and
    channels count alike. A frame in which the original is all zero has no ratio and is left out; one that was recalled
    exactly counts 35. nan for a silent sound.
    """
    a, b = sounds(a, b, "segmental SNR")
    size = max(STEPS, round(FRAME * rate))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1, size + 1) / (size + 1))
    result = np.full(len(a), np.nan)
    for i, (x, y) in enumerate(zip(a, b)):
        total, count = 0.0, 0
        for p, q in zip(x, y):
            p, q = (np.pad(v.astype(np.float64), (0, max(0, size - len(v)))) for v in (p, q))
            for one, error in zip(_frames(p, size, size // STEPS), _frames(p - q, size, size // STEPS)):
                signal, noise = (np.einsum("ij,ij->i", v * window, v * window) for v in (one, error))
                signal, noise = signal[signal > 0], noise[signal > 0]
                with np.errstate(divide="ignore"):
                    total += np.clip(10 * np.log10(signal) - 10 * np.log10(noise), LEAST, MOST).sum()
                count += len(signal)
        result[i] = total / count if count else np.nan
    return result


def multi_resolution_stft(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Multi-resolution STFT distance of each sound [N], dimensionless, 0 when equal.

    `mr_stft[512,1024,2048]`. Yamamoto, Song and Kim (2020, Parallel WaveGAN), equations 5 to 7: the mean over three
    resolutions of the spectral convergence | |A| - |B| | / | |A| | (Frobenius norms; A of the original) and of the mean
    of |log |A| - log |B||, natural logarithms. FFTs of 512, 1024 and 2048 samples, Hann windows of 240, 600 and 1200
    (periodic, in the middle of the FFT), hops of 50, 120 and 240: samples, whatever the rate. Frames are centred, the
    ends reflected, powers below 1e-8 count as that, as in auraloss. The mean over channels. It does not see phases.
    """
    a, b = sounds(a, b, "multi-resolution STFT")
    result = np.empty(len(a))
    for i, (x, y) in enumerate(zip(a, b)):
        result[i] = np.mean([_distance(p, q, *at) for p, q in zip(x, y) for at in RESOLUTIONS])
    return result


def _distance(p: np.ndarray, q: np.ndarray, n_fft: int, hop: int, size: int) -> float:
    """Spectral convergence and log magnitude distance at one resolution, added."""
    before = (n_fft - size) // 2
    window = np.pad(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size), (before, n_fft - size - before))
    mode = "reflect" if len(p) > 1 else "edge"
    p, q = (np.pad(v.astype(np.float64), n_fft // 2, mode=mode) for v in (p, q))
    error = energy = logs = 0.0
    count = 0
    for pair in zip(_frames(p, n_fft, hop), _frames(q, n_fft, hop)):
        x, y = (_magnitudes(frames * window) for frames in pair)
        error, energy = error + np.sum((x - y) ** 2), energy + np.sum(x * x)
        logs, count = logs + np.abs(np.log(x) - np.log(y)).sum(), count + x.size
    return float(np.sqrt(error / energy) + logs / count)


def _magnitudes(frames: np.ndarray) -> np.ndarray:
    z = np.fft.rfft(frames)
    return np.sqrt(np.maximum(z.real**2 + z.imag**2, FLOOR))
