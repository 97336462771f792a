"""Distortion of sound: SNR, over gaps too, SI-SDR, log-spectral distance. One float64 value an item.

Sound is [N,C,T]. SNR and SI-SDR take the channels of an item as one long signal (one gain for all of them); the
log-spectral distance is a mean over channels.
"""

from __future__ import annotations

import numpy as np

from .distortion import paired, sqnr


def sounds(a: np.ndarray, b: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
    """The two arrays, checked: of one shape, [N,C,T]. ValueError, which says what needs it."""
    a, b = paired(a, b)
    if a.ndim != 3:
        raise ValueError(f"{what} needs sound [N,C,T], not shape {a.shape}")
    return a, b


def _decibels(ratio: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return 10 * np.log10(ratio)


def snr(a: np.ndarray, b: np.ndarray, *, where: np.ndarray | None = None) -> np.ndarray:
    """Signal-to-noise ratio of each sound [N] in dB, 10 log10(sum a^2 / sum (a-b)^2); inf when equal. `snr`.

    where: bool, a's shape: the samples over which both sums go (None: all); an item without any gets nan. 0 dB is what
    silence gets. nan for a silent original that was not recalled exactly.
    """
    a, b = sounds(a, b, "SNR")
    if where is None:
        return sqnr(a, b)
    found = sqnr(np.where(where, a, 0), np.where(where, b, 0))
    return np.where(where.reshape(len(a), -1).any(axis=1), found, np.nan)


def snr_gaps(a: np.ndarray, b: np.ndarray, *, gaps: np.ndarray) -> np.ndarray:
    """Signal-to-noise ratio of each sound [N] in dB, gap by gap, then the mean over gaps. `snr_gaps`.

    gaps: bool, a's shape, True where a sample is missing. A gap is a run of moments at which at least one channel is
    missing; its ratio is that of its missing samples, all channels together, and each gap counts once, whatever its
    length. Decibels are averaged, as in the literature on inpainting (Mokry and Rajmic 2020). A gap in a silent original
    has no ratio and is left out; one that was recalled exactly makes the mean inf. nan for an item without gaps.
    """
    a, b = sounds(a, b, "SNR over gaps")
    if gaps.shape != a.shape:
        raise ValueError(f"shapes differ: items {a.shape}, gaps {gaps.shape}")
    result = np.full(len(a), np.nan)
    for i, (x, y, missing) in enumerate(zip(a, b, gaps)):
        edges = np.flatnonzero(np.diff(missing.any(axis=0), prepend=False, append=False))
        if not len(edges):
            continue
        x = np.where(missing, x, 0).astype(np.float64)
        y = np.where(missing, y, 0).astype(np.float64)
        sums = (np.einsum("ct,ct->t", v, v) for v in (x, x - y))
        signal, noise = (np.add.reduceat(np.append(v, 0), edges)[::2] for v in sums)  # of each gap, not what is between
        signal, noise = signal[signal > 0], noise[signal > 0]
        if len(signal):
            with np.errstate(divide="ignore"):
                result[i] = np.mean(10 * np.log10(signal) - 10 * np.log10(noise))
    return result


def si_sdr(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Scale-invariant signal-to-distortion ratio of each sound [N] in dB; inf when exact up to a gain. `si_sdr`.

    Le Roux et al. 2019, eq. 3, each channel's mean removed from both. With one gain, the result follows from three
    sums: the target is the projection of b on a, the distortion what is left. nan for a constant original,
    -inf for a recalled sound without any of the original in it.
    """
    a, b = sounds(a, b, "SI-SDR")
    result = np.empty(len(a))
    for i, (x, y) in enumerate(zip(a, b)):
        x = x - x.mean(axis=1, keepdims=True, dtype=np.float64)
        y = y - y.mean(axis=1, keepdims=True, dtype=np.float64)
        energy = np.einsum("ct,ct->", x, x)
        target = np.einsum("ct,ct->", x, y) / energy * x if energy else np.full_like(x, np.nan)
        y -= target
        kept, rest = np.einsum("ct,ct->", target, target), np.einsum("ct,ct->", y, y)
        result[i] = -np.inf if kept == 0 else np.inf if rest == 0 else _decibels(kept / rest)
    return result


def _log_power(x: np.ndarray, n_fft: int, hop: int) -> np.ndarray:
    """[frames, n_fft//2+1] power in dB of one channel, floor 1e-10; zeros are appended until frames cover the end."""
    frames = 1 + max(0, -(-(len(x) - n_fft) // hop))
    x = np.pad(x.astype(np.float64), (0, (frames - 1) * hop + n_fft - len(x)))
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    z = np.fft.rfft(np.lib.stride_tricks.sliding_window_view(x, n_fft)[::hop] * hann)
    return _decibels(np.maximum(z.real**2 + z.imag**2, 1e-10))


def log_spectral_distance(a: np.ndarray, b: np.ndarray, *, n_fft: int = 1024, hop: int = 256) -> np.ndarray:
    """Log-spectral distance of each sound [N] in dB, 0 when equal. `lsd[hann1024,hop256]`.

    Rms over frequency of the difference of the two log power spectra, then the mean over frames and channels.
    Short-time spectra: periodic Hann window of n_fft samples, unnormalised FFT, every hop samples, no centring; powers
    below 1e-10 count as 1e-10 (a full-scale sine has about 6.6e4, so the floor lies some 148 dB below it).
    """
    a, b = sounds(a, b, "log-spectral distance")
    if not 0 < hop <= n_fft:
        raise ValueError(f"need 0 < hop <= n_fft, got hop {hop}, n_fft {n_fft}")
    result = np.empty(len(a))
    for i, (x, y) in enumerate(zip(a, b)):
        distances = []
        for p, q in zip(x, y):
            d = _log_power(p, n_fft, hop) - _log_power(q, n_fft, hop)
            distances.append(np.sqrt(np.mean(d * d, axis=1)).mean())
        result[i] = np.mean(distances)
    return result
