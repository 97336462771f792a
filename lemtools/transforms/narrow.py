"""Fourier transforms of narrow bands: samples of what has only its first few bins, and the transpose.

A whole transform for each of hundreds of rows costs most of the time of a wavelet transform, and the rows of low
frequencies vary slowly. So a band is transformed to a grid on which it fills a quarter, and interpolated from there
by a sinc of TAPS taps in a Kaiser window (Kaiser 1974). With BETA that is exact to 8e-8 of the amplitude, in the worst
place of the band. The interpolation is a product of matrices: blocks of the grid times one table.
"""

import threading
from functools import lru_cache
from typing import Any

import numpy as np

PRIMES = 2, 3, 5, 7, 11
TAPS, BETA = 20, 15.5  # the best window of twenty taps for a band of a quarter
QUARTER = 4
BLOCK = 128  # samples made of each block of the grid
OUT = int(np.__version__.partition(".")[0]) >= 2  # whether transforms write where they are told to

_kept = threading.local()


def scratch(name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array of this thread, with whatever it held: memory that is freed for every row costs more than the row."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if len(there := _kept.__dict__.get(name, b"")) < size:
        there = _kept.__dict__[name] = np.empty(size, np.uint8)
    return there[:size].view(dtype).reshape(shape)


def smooth(least: int) -> int:
    """The first length from `least` up that splits well: a power of two times at most 256 of small prime factors."""
    twos = 1 << max(0, least.bit_length() - 8)
    quotient = -(-least // twos)
    while not _is_smooth(quotient):
        quotient += 1
    return twos * quotient


def samples(bins: np.ndarray, length: int, out: np.ndarray) -> None:
    """The first samples of sum over k of bins[k] e^{2 pi i k n / length}.

    bins: complex64 [I, K]; of more than `length` those that fall onto one another are added. out: float32
    [I, 2, at most length], to which real and imaginary parts are written.
    """
    items, kept = bins.shape
    if kept > length:
        whole = np.zeros((items, -(-kept // length) * length), np.complex64)
        whole[:, :kept] = bins
        bins, kept = whole.reshape(items, -1, length).sum(1), length
    ratio, group = _ratio(length, kept)
    size = length // ratio
    coarse = np.fft.ifft(bins, size, norm="forward", **_into("coarse", (items, size)))
    count = out.shape[-1]
    if ratio == 1:
        out[:, 0], out[:, 1] = coarse.real[:, :count], coarse.imag[:, :count]
        return
    table = _table(ratio, group)
    taps, made = table.shape
    whole, line = count // made, scratch("line", (items, size + TAPS // 2 - 1 + taps), np.float32)
    rows = scratch("rows", (items, min(whole + 1, size // group), taps), np.float32)
    places = np.arange(1 - TAPS // 2, size + taps) % size
    for part, into in ((coarse.real, out[:, 0]), (coarse.imag, out[:, 1])):
        np.take(part, places, axis=1, out=line)
        rows[:] = np.lib.stride_tricks.sliding_window_view(line, taps, axis=1)[:, : rows.shape[1] * group : group]
        np.matmul(rows[:, :whole], table, out=into[:, : whole * made].reshape(items, whole, made))
        if rest := count - whole * made:
            into[:, -rest:] = rows[:, whole] @ table[:, :rest]


def spectrum(parts: np.ndarray, kept: int) -> np.ndarray:
    """sum over n of (a_n + i b_n) e^{-2 pi i k n / length} for k < kept: the transpose of `samples`.

    parts: float32 [I, 2, length], of a and b. Returns complex64 [I, kept]; beyond `length` bins repeat.
    """
    items, _, length = parts.shape
    if kept > length:
        return np.take(spectrum(parts, length), np.arange(kept) % length, axis=1)
    ratio, group = _ratio(length, kept)
    if ratio > 1:
        table = _table(ratio, group)
        blocks = parts.reshape(items, 2, -1, table.shape[1])
        spread = scratch("spread", (*blocks.shape[:3], len(table)), np.float32)
        parts = _overlapped(np.matmul(blocks, table.T, out=spread), group)
    values = scratch("values", (items, length // ratio), np.complex64)
    values.real, values.imag = parts[:, 0], parts[:, 1]
    made = np.fft.fft(values, **_into("coarse", values.shape))
    return made[:, :kept].astype(np.complex64)


def _into(name: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """Where a transform is to write, as its keyword, for a NumPy that takes it."""
    return {"out": scratch(name, shape, np.complex64)} if OUT else {}


def _is_smooth(n: int) -> bool:
    for prime in PRIMES:
        while n % prime == 0:
            n //= prime
    return n == 1


def _ratio(length: int, kept: int) -> tuple[int, int]:
    """(samples for each place of the grid, places of a block)."""
    ratio = 1
    while length % (2 * ratio) == 0 and length // (2 * ratio) >= QUARTER * kept:
        ratio *= 2
    group = 1
    while group * ratio < BLOCK and length % (2 * group * ratio) == 0:
        group *= 2
    return ratio, group


@lru_cache(64)
def _table(ratio: int, group: int) -> np.ndarray:
    """float32 [taps, group * ratio]: how much each place of the grid adds to the samples of a block.

    The first place is TAPS / 2 - 1 before the block; the number of taps is a multiple of `group`.
    """
    half = TAPS // 2
    taps = -(-(group + TAPS - 1) // group) * group
    x = np.arange(group * ratio) / ratio - (np.arange(taps)[:, None] - (half - 1))
    window = np.i0(BETA * np.sqrt(np.clip(1 - (x / half) ** 2, 0, None))) / np.i0(BETA)
    return np.where(np.abs(x) < half, np.sinc(x) * window, 0).astype(np.float32)


def _overlapped(spread: np.ndarray, group: int) -> np.ndarray:
    """[I, 2, grid] of what blocks add to the places that they reach, [I, 2, blocks, taps]."""
    items, _, blocks, taps = spread.shape
    grid = blocks * group
    line = scratch("line", (items, 2, -(-(grid + taps) // grid) * grid), np.float32)
    line[:] = 0
    for start in range(0, taps, group):
        line[:, :, start : start + grid] += spread[..., start : start + group].reshape(items, 2, grid)
    return np.roll(line.reshape(items, 2, -1, grid).sum(2), 1 - TAPS // 2, axis=-1)
