"""De-quantisation and denoising of images without training: DCT shrinkage of overlapping blocks inside the bins.

One pass estimates every pixel from its neighbourhood and then asks its bin:

1. *Estimate.* Every overlapping block is taken to the DCT domain, each coefficient c is multiplied by
   g = e^(3/2) / (e^(3/2) + t^3), where e is c^2 averaged 1-2-1 over the neighbouring blocks and t a multiple of the bin
   width, and the blocks are averaged with weights 1 / sum g^2 (Guleryuz 2007, weighted overcomplete denoising).
   Blocks of several sizes vote together with the same weights.
2. *Bin.* The estimate contains the pixel's own, quantised value; what its neighbours alone say is further from it,
   hence the step is extended by a factor (`gain`). The pixel becomes the mean of a Gaussian around that point cut off
   at its bin.

The next pass starts from there with a lower threshold. Values saturate at 0 and 1 in photographs (on BSDS400, 55 % of
what lies in the first of 64 bins is exactly 0, and 85 % in the last exactly 1), so these two bins are taken to be open:
the Gaussian reaches beyond and the result is clipped. Where bands of a shading are wider than a block, the first pass
starts from a wide mean projected onto the bins. The numbers here were set on BSDS400. Colour is taken to luminance
and two colour differences (orthonormal), where the differences are smoothed more (in coarse bins).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..progress import steps
from .blocks import dct_matrix

LEVEL = 1 / 255  # distance of neighbouring 8-bit values
OPPONENT = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]], np.float32) / np.sqrt(np.array([[3], [2], [6]], np.float32))
ROWS = 16  # rows of blocks worked on at a time: the buffers stay in the cache
T_STEPS, S_STEPS, T_MAX, S_MIN = 1025, 65, 2.5, 0.02  # table of `bin_mean`, in bin widths
GATE, GATE_RADIUS = 0.1, 16  # mean squared step between neighbours, in bin widths, up to which bands are bridged
RADII = (16, 8, 4)  # of the means that bridge them, coarse to fine
BLOCKS = {4: 1, 8: 2, 16: 4}  # block side: step between blocks


class Pass(NamedTuple):
    """One pass; threshold and the two parts of the estimate's error in units of the bin width."""

    sides: tuple[int, ...]  # block sides that vote
    threshold: float
    colour: float  # factor on the threshold for colour differences
    floor: float  # error sd where nothing is kept
    slope: float  # added error sd (in squares) where every coefficient is kept
    gain: float  # extension of the step


def passes(width: float) -> list[Pass]:
    """The schedule for bins of this width (full scale 1)."""
    if width < 0.025:  # 6 bits and more: nearly white noise, two passes do
        return [Pass((8, 4, 16), 0.4 * 0.9**i, 1, 0.05, 0.25, 1.6) for i in range(2)]
    colour = 1.25 + 30 * width**2
    return [Pass((8, 4, 16) if i == 3 else (8,), 0.4 * 0.78**i, colour, 0.1, 0.25, 1.9) for i in range(4)]


def _both_axes(matrix: np.ndarray, x: np.ndarray, tmp: np.ndarray, out: np.ndarray) -> None:
    """out = matrix x matrix^T for every block of x [n*n, R, B]; tmp and out have x's shape and are overwritten.

    Few columns at a time, so that BLAS stays on this thread: waking others costs more than these products.
    """
    n = len(matrix)
    part = 131072 // (n * n)
    a, b = x.reshape(n, -1), tmp.reshape(n, -1)
    for j in range(0, a.shape[1], part):
        np.matmul(matrix, a[:, j : j + part], out=b[:, j : j + part])
    planes, done = tmp.reshape(n, n, -1), out.reshape(n, n, -1)
    for j in range(0, planes.shape[2], part):
        np.matmul(matrix, planes[:, :, j : j + part], out=done[:, :, j : j + part])


def _neighbours(e: np.ndarray, tmp: np.ndarray) -> None:
    """Average e [K,R,B] with weights 1-2-1 over adjacent blocks in both directions, in place; 2-1 at the ends."""
    for axis in (1, 2):
        if e.shape[axis] == 1:
            continue
        a, pair = np.moveaxis(e, axis, 0), np.moveaxis(tmp, axis, 0)[:-1]
        np.add(a[:-1], a[1:], out=pair)
        a[0] += pair[0]
        a[-1] += pair[-1]
        a[0] /= 3
        a[-1] /= 3
        np.add(pair[:-1], pair[1:], out=a[1:-1])
        a[1:-1] *= 0.25


class _Blocks:
    """All blocks of one side over planes [C,H,W] that share one map of noise scales.

    The padded image is kept as cells [C, step, step, rows, columns] of step x step pixels, so that pixel (y, x) of all
    blocks is one window of it.
    """

    def __init__(self, shape: tuple[int, int, int], side: int, precision: np.ndarray):
        """precision [H,W]: 1 / noise scale of each pixel."""
        self.side, self.step = side, BLOCKS[side]
        self.shape, self.over = shape, side // self.step
        self.margin = side - self.step
        self.rows, self.cols = (-(-(n + self.margin) // self.step) for n in shape[1:])
        size = side * side * min(ROWS, self.rows) * self.cols
        self.buffers = [np.empty(size, np.float32) for _ in range(3)]
        cells = self.cells(precision[None])[0].mean((0, 1))
        k = self.over
        windows = np.lib.stride_tricks.sliding_window_view(cells, (k, k))
        # the harmonic mean: a lost pixel (a bin of full width) must not make a block of well-known ones coarse
        self.noise = (1 / windows.mean((2, 3))).astype(np.float32)
        self.noise_pixels = self.pixels(self.spread(self.noise[None]) / (k * k))[0]

    def cells(self, z: np.ndarray) -> np.ndarray:
        s, (hc, wc) = self.step, (self.rows + self.over - 1, self.cols + self.over - 1)
        ends = [(self.margin, n * s - size - self.margin) for n, size in zip((hc, wc), self.shape[1:])]
        padded = np.pad(z, ((0, 0), *ends), mode="symmetric")
        return np.ascontiguousarray(padded.reshape(len(z), hc, s, wc, s).transpose(0, 2, 4, 1, 3))

    def pixels(self, cells: np.ndarray) -> np.ndarray:
        """[C, 1 or step, 1 or step, rows, columns] -> [C,H,W]."""
        c, s, m = len(cells), self.step, self.margin
        cells = np.broadcast_to(cells, (c, s, s, *cells.shape[3:]))
        image = cells.transpose(0, 3, 1, 4, 2).reshape(c, cells.shape[3] * s, cells.shape[4] * s)
        return image[:, m : m + self.shape[1], m : m + self.shape[2]]

    def spread(self, w: np.ndarray) -> np.ndarray:
        """Sum of w [C, rows, cols] over the blocks that cover a cell: [C,1,1, cell rows, cell columns]."""
        out = np.zeros((len(w), 1, 1, self.rows + self.over - 1, self.cols + self.over - 1), np.float32)
        for y in range(self.over):
            for x in range(self.over):
                out[:, 0, 0, y : y + self.rows, x : x + self.cols] += w
        return out

    def windows(self, first: int, rows: int):
        """For each pixel of a block, row-major: where the cells keep it, for blocks in rows first .. first + rows."""
        s = self.step
        for y in range(self.side):
            for x in range(self.side):
                yield y % s, x % s, slice(first + y // s, first + y // s + rows), slice(x // s, x // s + self.cols)

    def transform(self, cells: np.ndarray, first: int, gathered: np.ndarray, tmp: np.ndarray, out: np.ndarray) -> None:
        """DCT of the rows of blocks from `first`, [side*side, rows, cols]; `out` may be `gathered`."""
        for plane, window in zip(gathered, self.windows(first, gathered.shape[1])):
            plane[...] = cells[window]
        _both_axes(dct_matrix(self.side), gathered, tmp, out)

    def shrink(self, z: np.ndarray, thresholds: list[float], pilot: np.ndarray | None = None):
        """Shrink z [C,H,W]; thresholds per channel in noise scales. Returns (estimate, weight), both [C,H,W];
        1 / weight is the share of the coefficients' noise that was kept.

        With a pilot estimate the gain is Wiener's, e / (e + t^2) with the energy e of the pilot.
        """
        n = self.side**2
        cells = self.cells(z)
        guide = cells if pilot is None else self.cells(pilot)
        total = np.zeros_like(cells)
        weight = np.empty((len(z), self.rows, self.cols), np.float32)
        for first in steps(range(0, self.rows, ROWS), "rows"):
            r = min(ROWS, self.rows - first)
            e, c, tmp = (b[: n * r * self.cols].reshape(n, r, self.cols) for b in self.buffers)
            for ch, threshold in enumerate(thresholds):
                t = self.noise[first : first + r] * np.float32(threshold)
                self.transform(guide[ch], first, tmp, e, c)
                np.multiply(c, c, out=e)
                _neighbours(e, tmp)
                if pilot is None:
                    np.sqrt(e, out=tmp)
                    e *= tmp
                    np.add(e, t**3, out=tmp)
                else:
                    np.add(e, t**2, out=tmp)
                e /= tmp
                e[0] = 1  # the mean of a block is kept
                if pilot is not None:
                    self.transform(cells[ch], first, c, tmp, c)
                c *= e
                w = weight[ch, first : first + r]
                np.einsum("kij,kij->ij", e, e, out=w)
                np.divide(n, w, out=w)
                c *= w
                _both_axes(dct_matrix(self.side).T, c, tmp, e)
                for plane, window in zip(e, self.windows(first, r)):
                    total[ch][window] += plane
        weights = self.spread(weight)
        total /= weights
        return self.pixels(total), self.pixels(weights / self.over**2)


def _rotate(matrix: np.ndarray | None, x: np.ndarray) -> np.ndarray:
    return x if matrix is None else (matrix @ x.reshape(len(x), -1)).reshape(x.shape)


def _vote(blocks: list[_Blocks], z: np.ndarray, thresholds: list[float], pilot: np.ndarray | None = None):
    """The estimates of several block sizes, averaged by their weights; and the mean weight."""
    if len(blocks) == 1:
        return blocks[0].shrink(z, thresholds, pilot)
    total, weights = np.zeros_like(z), np.zeros_like(z)
    for b in steps(blocks, "block sizes"):
        estimate, weight = b.shrink(z, thresholds, pilot)
        weights += weight
        total += estimate * weight
    total /= weights
    return total, weights / np.float32(len(blocks))


@lru_cache(maxsize=1)
def bin_table() -> np.ndarray:
    """Mean of N(t, s^2) cut off at [-1/2, 1/2], for s (rows, 0 .. 1) and t (columns, -T_MAX .. T_MAX)."""
    u = (np.arange(64, dtype=np.float32) + 0.5) / 64 - 0.5
    t = np.linspace(-T_MAX, T_MAX, T_STEPS, dtype=np.float32)
    out = np.empty((S_STEPS, T_STEPS), np.float32)
    for i, s in enumerate(np.maximum(np.linspace(0, 1, S_STEPS), S_MIN)):
        e = (u[None] - t[:, None]) ** 2 * np.float32(-0.5 / s**2)
        np.exp(e - e.max(1, keepdims=True), out=e)
        out[i] = (e @ u) / e.sum(1)
    return out


def bin_mean(mean: np.ndarray, sd: np.ndarray, lo: np.ndarray, hi: np.ndarray) -> np.ndarray:
    """Mean of a Gaussian cut off at a bin: E[v | v in [lo, hi]], v ~ N(mean, sd^2), all broadcastable float32.

    From a table, to .01 of the bin's width where sd >= .05 widths; sd beyond one width counts as one width.
    """
    width = np.maximum(hi - lo, np.float32(1e-6))
    centre = (lo + hi) * np.float32(0.5)
    t = (mean - centre) / width
    t += T_MAX
    t *= (T_STEPS - 1) / (2 * T_MAX)
    t += 0.5
    index = np.clip(t, 0, T_STEPS - 1, out=t).astype(np.int32)
    s = np.minimum(sd / width, 1)
    s *= S_STEPS - 1
    s += 0.5
    index += s.astype(np.int32) * T_STEPS
    out = bin_table().ravel()[index]
    out *= width
    out += centre
    return out


def _box(x: np.ndarray, radius: int) -> np.ndarray:
    """Mean over (2 radius + 1)^2 pixels of x [C,H,W], mirrored at the borders."""
    for axis in (1, 2):
        ends = [(radius + 1, radius) if a == axis else (0, 0) for a in range(3)]
        total = np.moveaxis(np.pad(x, ends, mode="symmetric").cumsum(axis, dtype=np.float64), axis, 0)
        side = 2 * radius + 1
        x = np.moveaxis((total[side:] - total[:-side]) / side, 0, axis).astype(np.float32)
    return x


def _first(low: np.ndarray, high: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Middle of the bins; where steps between neighbours are small and rare, hence bands of a shading wider than
    any block, a wide mean projected onto the bins, coarse to fine."""
    centre = (low + high) * np.float32(0.5)
    x = centre
    for radius in RADII:
        x = np.clip(_box(x, radius), low, high)
    steps = np.diff(centre, axis=1, prepend=centre[:, :1]) ** 2 + np.diff(centre, axis=2, prepend=centre[:, :, :1]) ** 2
    share = np.clip(2 - _box(steps / width**2, GATE_RADIUS) / np.float32(GATE), 0, 1)
    return centre + share * (x - centre)


def dequantize(lo: np.ndarray, hi: np.ndarray, start: np.ndarray | None = None, step: float = LEVEL) -> np.ndarray:
    """Estimate an image from the bins its values lie in.

    lo, hi: [C,H,W] float32 in [0,1], the least and the greatest value each pixel can have; widths may differ by pixel.
    start: optional first estimate [C,H,W] (for lost pixels, lo = 0 and hi = 1); made from the bins otherwise.
    step: distance of neighbouring possible values (1/255 for 8-bit originals, 0 for continuous ones).
    Returns [C,H,W] float32 with lo <= x <= hi: an approximate posterior mean, not rounded.
    Raises ValueError for shapes that differ or are not [C,H,W], and for lo > hi.
    """
    lo, hi = np.asarray(lo, np.float32), np.asarray(hi, np.float32)
    if lo.ndim != 3 or lo.size == 0 or lo.shape != hi.shape or (start is not None and np.shape(start) != lo.shape):
        shapes = f"{lo.shape}, {hi.shape}, {None if start is None else np.shape(start)}"
        raise ValueError(f"lo, hi and start must share one shape [C,H,W] that is not empty, got {shapes}")
    if not (lo <= hi).all():
        raise ValueError("lo must not exceed hi (nor be NaN)")
    width = np.maximum(hi - lo + np.float32(step), np.float32(1e-4))
    precision = (1 / width).mean(0)
    # Saturation: how far the first and the last bin reach beyond the scale grows more slowly than their width.
    reach = np.sqrt(width * np.float32(LEVEL))
    low = lo - np.float32(step / 2) - np.where(lo <= 0, reach, 0)
    high = hi + np.float32(step / 2) + np.where(hi >= 1, 2 * reach, 0)
    matrix = OPPONENT if len(lo) == 3 else None
    blocks: dict[int, _Blocks] = {}
    x = _first(low, high, width) if start is None else np.clip(np.asarray(start, np.float32), low, high)
    for p in steps(passes(float(1 / precision.mean())), "passes"):
        for side in p.sides:
            if side not in blocks:
                blocks[side] = _Blocks(lo.shape, side, precision)
        thresholds = [p.threshold] + [p.threshold * (p.colour if matrix is not None else 1)] * (len(lo) - 1)
        estimate, weight = _vote([blocks[side] for side in p.sides], _rotate(matrix, x), thresholds)
        m = _rotate(None if matrix is None else matrix.T, estimate)
        x += np.float32(p.gain) * (m - x)
        kept = (1 / weight[:1]) if matrix is not None else 1 / weight  # colour differences add little error
        sd = np.sqrt(np.float32(p.slope**2) * kept + np.float32(p.floor**2))
        sd *= blocks[p.sides[0]].noise_pixels
        x = bin_mean(x, sd, low, high)
    return np.clip(x, lo, hi)


def denoise(y: np.ndarray, sigma: float) -> np.ndarray:
    """Remove white Gaussian noise of standard deviation sigma (full scale 1) from y [C,H,W] float32.

    One pass of shrinkage makes the pilot of an empirical Wiener filter (Ghael, Sayeed and Baraniuk 1997).
    Returns [C,H,W] float32, not clipped. Raises ValueError for another shape or sigma < 0.
    """
    y = np.asarray(y, np.float32)
    if y.ndim != 3 or y.size == 0:
        raise ValueError(f"an image must be [C,H,W], got {y.shape}")
    if not sigma >= 0:
        raise ValueError(f"sigma must be >= 0, got {sigma}")
    if sigma == 0:
        return y.copy()
    matrix = OPPONENT if len(y) == 3 else None
    precision = np.full(y.shape[1:], 1 / sigma, np.float32)
    blocks = [_Blocks(y.shape, side, precision) for side in (8, 16)]
    z = _rotate(matrix, y)
    pilot, _ = _vote(blocks, z, [1.8] * len(y))
    estimate, _ = _vote(blocks, z, [1.0] * len(y), pilot)
    return _rotate(None if matrix is None else matrix.T, estimate)
