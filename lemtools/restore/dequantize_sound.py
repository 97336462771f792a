"""Quantised sound recalled by STFT shrinkage, the result inside the quantisation bins.

One round of expectation propagation between the bins and a locally stationary Gaussian prior (the linear part of vector
approximate message passing: Rangan, Schniter, Fletcher 2019, algorithm 2):

1. each sample ~ N(0, s) in its bin, s the local power, found by EM: its posterior mean m and variance v;
2. what the bin says beyond the prior, as a sample in white noise: noise 1/(1/v - 1/s), value m/v times that.  Loud
   passages get mid-bin and width^2 / 12; quiet ones that only flip between the two central bins get far smaller values;
3. Wiener filtering of those in STFTs of three window lengths, weighted sample by sample by their own predicted error;
4. what the filter says beyond step 2 is the new prior of each sample; the answer is its posterior mean in the bin.

No parameter depends on the clip.  SHRINK, QUIET and the smoothing widths were set on ESC-10 folds 1-4.
"""

from __future__ import annotations

import numpy as np

from .gaps import fill_gaps

WINDOWS = (0.0116, 0.0464, 0.186)  # seconds; 512, 2048 and 8192 samples at 44.1 kHz
SHRINK = 2.5  # noise powers taken from the smoothed spectrum; above 1, as that is itself noisy
QUIET = 0.003  # power, in squared bin widths, of a passage that never leaves the two central bins
NODES, WEIGHTS = np.polynomial.legendre.leggauss(12)


def dequantize(lo: np.ndarray, hi: np.ndarray, rate: float, observed: np.ndarray | None = None) -> np.ndarray:
    """The sound x [C, T], lo <= x <= hi, that the bins and a locally stationary Gaussian prior make likely.

    lo, hi [C, T]: finite bounds of every sample, in the units of the sound; rate in Hz; observed bool, broadcastable to
    them: the others are ignored and interpolated from the result (`fill_gaps`).  Returns lo's dtype.
    Errors: ValueError where the shapes differ or some observed hi < lo.
    """
    lo, hi = np.asarray(lo), np.asarray(hi)
    seen = np.broadcast_to(True if observed is None else np.asarray(observed, bool), lo.shape)
    if lo.shape != hi.shape or lo.ndim != 2:
        raise ValueError(f"lo and hi must both be [C, T], got {lo.shape} and {hi.shape}")
    if not (hi >= lo)[seen].all():
        raise ValueError("every observed sample needs lo <= hi")
    if not seen.any():
        return np.zeros_like(lo)
    low, high = lo.astype(np.float64), hi.astype(np.float64)
    if not seen.all():
        half = np.mean((high - low)[seen]) / 2
        middle = fill_gaps(np.where(seen, (low + high) / 2, 0), seen, rate)
        low, high = np.where(seen, low, middle - half), np.where(seen, high, middle + half)
    x = np.stack([_recall(a, b, rate) for a, b in zip(low, high)])
    if not seen.all():
        x = fill_gaps(x, seen, rate)
    x = x.astype(lo.dtype)
    return np.where(seen, np.clip(x, lo, hi), x)


def truncated_normal(
    lo: np.ndarray, hi: np.ndarray, mean: np.ndarray | float, variance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of N(mean, variance) given that it lies in [lo, hi], by 12-node Gauss-Legendre quadrature.

    A standard deviation below 1/20 of the width counts as 1/20: narrower peaks would fall between the nodes.
    """
    centre, half = (lo + hi) / 2, (hi - lo) / 2
    variance = np.maximum(np.maximum(variance, (half / 10) ** 2), 1e-60)
    nearest = (np.clip(mean, lo, hi) - mean) ** 2
    mass, first, second = np.zeros((3,) + lo.shape)
    for node, weight in zip(NODES, WEIGHTS):
        p = weight * np.exp((nearest - (centre + half * node - mean) ** 2) / (2 * variance))
        mass += p
        first += p * node
        second += p * node * node
    first /= mass
    return centre + half * first, half**2 * np.maximum(second / mass - first**2, 0)


def _recall(lo: np.ndarray, hi: np.ndarray, rate: float) -> np.ndarray:
    """One channel [T]; the numbers are the module's steps."""
    width2 = (hi - lo) ** 2
    tiny = max(1e-6 * float(width2.max()), 1e-60)
    local = _samples(WINDOWS[0], rate)

    power = np.maximum(_smooth(((lo + hi) / 2) ** 2 - width2 / 4, local), QUIET * width2 + tiny)  # 1
    for _ in range(4):
        m, v = truncated_normal(lo, hi, 0.0, power)
        power = np.maximum(_smooth(m * m + v, local), tiny)
    m, v = truncated_normal(lo, hi, 0.0, power)
    v = np.clip(_smooth(v, local), tiny / 4, 0.98 * power)

    noise = 1 / (1 / v - 1 / power)  # 2
    seen = m / v * noise

    filtered = [_wiener(seen, noise, _samples(w, rate)) for w in WINDOWS]  # 3
    values, risks = np.array([z for z, _ in filtered]), np.array([_smooth(r, 4 * local) for _, r in filtered])
    risks = np.maximum(risks, 1e-6 * noise)
    weight = (risks / risks.min(0)) ** -2.0
    weight /= weight.sum(0)
    z, risk = (weight * values).sum(0), np.clip((weight * risks).sum(0), 1e-3 * noise, 0.98 * noise)

    prior = 1 / (1 / risk - 1 / noise)  # 4
    return truncated_normal(lo, hi, (z / risk - seen / noise) * prior, prior)[0]


def _wiener(x: np.ndarray, noise: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """x [T] in noise of variance noise [T], filtered in an STFT of n samples, hop n/4; also the error variance [T].

    The gain S / (S + N) comes from the spectrum smoothed over 5 frames and 3 bins less SHRINK N, then, as in the second
    pass of empirical Wiener filters, from the power that the first pass kept, smoothed over 3 frames.
    """
    hop = n // 4
    window = np.sqrt((0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(n) + 0.5) / n)) / 2)  # squares at hop n/4 add up to 1
    spectrum = np.fft.rfft(_frames(x, n, hop) * window)
    level = (_frames(noise, n, hop) @ window**2)[:, None] + 1e-60
    power = np.maximum(_blur(_blur(np.abs(spectrum) ** 2, 2, 0), 1, 1) - SHRINK * level, 0)
    gain = power / (power + level)
    power = _blur(np.abs(gain * spectrum) ** 2 + gain * level, 1, 0)
    gain = power / (power + level)
    value = _overlap_add(np.fft.irfft(gain * spectrum, n) * window, hop, len(x))
    risk = gain.mean(1, keepdims=True) * level / (window @ window)
    return value, _overlap_add(risk * window**2, hop, len(x))


def _samples(seconds: float, rate: float) -> int:
    return max(16, 2 ** round(np.log2(seconds * rate)))


def _frames(x: np.ndarray, n: int, hop: int) -> np.ndarray:
    """All frames [F, n] that touch x [T], zero outside; the first starts n - hop samples before it."""
    count = -(-(len(x) + n) // hop) + 1
    padded = np.zeros((count - 1) * hop + n)
    padded[n - hop : n - hop + len(x)] = x
    return np.lib.stride_tricks.sliding_window_view(padded, n)[::hop]


def _overlap_add(frames: np.ndarray, hop: int, length: int) -> np.ndarray:
    count, n = frames.shape
    x = np.zeros((count + n // hop) * hop)
    for start in range(0, n, hop):
        x[start : start + count * hop] += frames[:, start : start + hop].ravel()
    return x[n - hop : n - hop + length]


def _smooth(x: np.ndarray, n: int) -> np.ndarray:
    """x [T] averaged under a Hann window of n samples, normalised at the ends; rounding below zero is cut."""
    size = 1 << int(len(x) + n).bit_length()
    window = np.fft.rfft(np.hanning(n + 2)[1:-1], size)

    def convolve(v: np.ndarray) -> np.ndarray:
        return np.fft.irfft(np.fft.rfft(v, size) * window, size)[n // 2 : n // 2 + len(v)]

    return np.maximum(convolve(x) / convolve(np.ones(len(x))), 0)


def _blur(power: np.ndarray, radius: int, axis: int) -> np.ndarray:
    kernel = np.hanning(2 * radius + 3)[1:-1]
    index = np.arange(power.shape[axis])
    return sum(
        k * np.take(power, np.clip(index + shift, 0, len(index) - 1), axis)
        for shift, k in zip(range(-radius, radius + 1), kernel / kernel.sum())
    )
