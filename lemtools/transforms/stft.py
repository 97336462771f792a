"""The short-time Fourier transform of sounds, and its least-squares inverse (Griffin and Lim 1984).

Frame k is the spectrum of the samples around k * hop, weighted by the window; beyond its ends a sound is 0. Not scaled:
a frame is sum_n w[n] x[n] exp(-2 pi i f n / n_fft), as torch.stft has it with pad_mode='constant'.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator

import numpy as np

from ..catalogue import LemError

CHUNK = 1 << 17  # numbers of the frames that are made at a time: they stay in the cache
FEW = 8  # frames that hold a sample: the sum of more would lose digits in float32
LEAST = 3e-3  # of the largest sum of squared windows: where less covers a sample, its errors grow too large

_COSINES = {  # windows as sums of cosines a0 - a1 cos(2 pi n / N) + a2 cos(4 pi n / N) - ... (Harris 1978)
    "hann": (0.5, 0.5),
    "hamming": (0.54, 0.46),
    "blackman": (0.42, 0.5, 0.08),
    "blackmanharris": (0.35875, 0.48829, 0.14128, 0.01168),
    "rect": (1.0,),
}
WINDOWS = (*_COSINES, "sine", "sqrt-hann")


def window(name: str, size: int) -> np.ndarray:
    """float64 [size]: a periodic window, as DFT analysis has it (w[0] comes again at w[size]). LemError for another name."""
    if name not in WINDOWS:
        raise LemError(f"no window {str(name)[:40]!r}; there are {', '.join(WINDOWS)}")
    n = np.arange(size) / size
    if name == "sine":  # that of the MDCT: its middle lies between two samples
        return np.asarray(np.sin(np.pi * (np.arange(size) + 0.5) / size))
    if name == "sqrt-hann":
        return np.asarray(np.sin(np.pi * n))
    return np.asarray(sum((-1) ** k * a * np.cos(2 * np.pi * k * n) for k, a in enumerate(_COSINES[name])))


def frames(samples: int, n_fft: int, hop: int) -> int:
    """How many frames a sound has: 1 + samples // hop, as torch.stft; at hops above n_fft / 4 one more where the last
    samples would else be seen by the edge of a window alone."""
    return 1 + (-(-samples // hop) if 4 * hop > n_fft else samples // hop)


def check(n_fft: int, hop: int, name: str) -> None:
    """LemError for a window that there is not, and for one and a hop that lose samples, or nearly."""
    if n_fft % 2:
        raise LemError(f"a window (n_fft) of {n_fft} samples: it is an even number")
    squared = window(name, n_fft) ** 2
    if not _covers(squared, hop):
        most = bisect.bisect(range(1, n_fft + 1), 0, key=lambda hop: not _covers(squared, hop))
        raise LemError(
            f"a {name} window of {n_fft} samples and a hop of {hop} cannot be inverted: some samples are in no frame, or "
            f"hardly; take a hop of {most} or less"
        )


def _covers(squared: np.ndarray, hop: int) -> bool:
    """Whether windows at a hop hold every sample, by a window's squares; they do at every smaller hop, too."""
    cover = np.zeros(hop)
    for start in range(0, len(squared), hop):
        part = squared[start : start + hop]
        cover[: len(part)] += part
    return hop <= len(squared) and bool(cover.min() >= LEAST * cover.max())


def stft(sound: np.ndarray, weights: np.ndarray, hop: int, first: int = 0, count: int | None = None) -> np.ndarray:
    """complex64 [..., F, frames] of sounds float [..., samples], F = n_fft / 2 + 1.

    weights: the window [n_fft], n_fft even. first, count: of the frames that are wanted; None: all up to the last.
    """
    n_fft, samples = len(weights), sound.shape[-1]
    count = frames(samples, n_fft, hop) - first if count is None else count
    flat = sound.reshape(-1, samples)
    out = np.empty((len(flat), n_fft // 2 + 1, count), np.complex64)
    for row, spectrum in zip(flat, out):
        for start, part in pieces(row, weights, hop, first, count):
            spectrum[:, start : start + len(part)] = part.T
    return out.reshape(*sound.shape[:-1], n_fft // 2 + 1, count)


def pieces(row: np.ndarray, weights: np.ndarray, hop: int, first: int, count: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (number of its first frame less `first`, complex64 [frames, F]), a chunk of one sound [samples] after the other."""
    n_fft, half = len(weights), len(weights) // 2
    weights = weights.astype(np.float32)
    step = max(1, CHUNK // n_fft)
    for start in range(0, count, step):
        many = min(step, count - start)
        begin = (first + start) * hop - half
        end = begin + (many - 1) * hop + n_fft
        piece = row[max(begin, 0) : max(end, 0)].astype(np.float32, copy=False)
        if begin < 0 or end > len(row):
            piece = np.pad(piece, (max(-begin, 0), end - max(begin, 0) - len(piece)))
        framed = np.lib.stride_tricks.sliding_window_view(piece, n_fft)[::hop] * weights
        yield start, np.fft.rfft(framed, axis=1).astype(np.complex64, copy=False)


def istft(spectrum: np.ndarray, weights: np.ndarray, hop: int, samples: int) -> np.ndarray:
    """float32 [..., samples]: the sounds whose frames are nearest to complex [..., F, frames], in the least-squares sense.

    Frame 0 is centred at sample 0. Overlapping windows, divided by the sum of their squares.
    """
    n_fft, count = len(weights), spectrum.shape[-1]
    flat = spectrum.reshape(-1, *spectrum.shape[-2:])
    out = np.empty((len(flat), samples), np.float32)
    step = max(1, CHUNK // n_fft)
    for each, sound in zip(flat, out):
        sound[:] = overlapped(
            (
                np.fft.irfft(np.ascontiguousarray(each[:, start : start + step].T), n_fft, axis=1)
                for start in range(0, count, step)
            ),
            weights,
            hop,
            count,
            samples,
        )
    return out.reshape(*spectrum.shape[:-2], samples)


def overlapped(parts: Iterator[np.ndarray], weights: np.ndarray, hop: int, count: int, samples: int) -> np.ndarray:
    """float [samples] of frames [n, n_fft] that come in parts, `count` in all."""
    n_fft, half = len(weights), len(weights) // 2
    blocks = -(-n_fft // hop)
    total = np.zeros((count + blocks - 1, hop), np.float32 if blocks <= FEW else np.float64)
    narrow, at = weights.astype(np.float32), 0
    for part in parts:
        part = part.astype(np.float32, copy=False) * narrow
        for block in range(blocks):
            piece = part[:, block * hop : (block + 1) * hop]
            total[at + block : at + block + len(part), : piece.shape[1]] += piece
        at += len(part)
    within = np.zeros((blocks, hop))
    within.reshape(-1)[:n_fft] = weights**2
    whole, ends = (
        range(blocks - 1, count),
        (*range(min(blocks - 1, len(total))), *range(max(blocks - 1, count), len(total))),
    )
    if len(whole):  # of the blocks that all frames reach the sum of squared windows is the same
        total[whole.start : whole.stop] *= _over(within.sum(axis=0))
    for row in ends:
        total[row] *= _over(within[max(0, row - count + 1) : row + 1].sum(axis=0))
    sound = total.reshape(-1)[half : half + samples]
    return sound if len(sound) == samples else np.pad(sound, (0, samples - len(sound)))


def _over(cover: np.ndarray) -> np.ndarray:
    """float32: 1 over it; 0 where nothing is."""
    return np.divide(1, cover, out=np.zeros_like(cover), where=cover > 1e-12).astype(np.float32)
