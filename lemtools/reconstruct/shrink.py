"""`restore.smooth.dequantize` on a GPU: batches of images, in PyTorch. What it computes, and every constant, stands there.

Shapes: N items of C channels, or their N * C planes; of the blocks of a plane `rows` and `cols`; a block's two axes last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch.nn.functional import avg_pool2d

from ..progress import steps
from ..restore.blocks import dct_matrix
from ..restore.smooth import (
    BLOCKS,
    GATE,
    GATE_RADIUS,
    LEVEL,
    OPPONENT,
    RADII,
    ROWS,
    S_STEPS,
    T_MAX,
    T_STEPS,
    Pass,
    bin_table,
    passes,
)
from ..restore.steps import one_by_one
from .dream import budget

PLANES = 100  # bytes that a value of an image takes besides its blocks
LIVE = 5  # arrays as large as the blocks' coefficients at a time
PIECE = 1 << 30  # bytes for blocks, enough to keep a GPU busy; more only where one strip of an image needs it


def on(device: torch.device) -> Callable[..., np.ndarray] | None:
    """`dequantize` on a GPU; None on a CPU, where NumPy's is the faster one."""
    return None if device.type == "cpu" else partial(dequantize, device=device)


def dequantize(
    lo: np.ndarray,
    hi: np.ndarray,
    start: np.ndarray | None,
    step: float,
    *,
    device: torch.device,
    memory: float | None = None,
) -> np.ndarray:
    """As `smooth.dequantize`, of a batch: arrays [N,C,H,W], each item as it is alone, but for rounding.

    memory: bytes that this may take on the device; None: half of what is free. Items too large for it are NumPy's.
    """
    memory = budget(device) if memory is None else memory
    strip = lo.shape[1] * max(_strip(lo.shape[3], side) for side in BLOCKS)
    some = int(min(0.75 * memory / (PLANES * lo[:1].size), 0.25 * memory / strip, max(1, PIECE / strip)))
    if not some:
        return one_by_one(lo, hi, start, step)
    out = np.empty(lo.shape, np.float32)
    for first in steps(range(0, len(lo), some), "items"):
        chosen = slice(first, first + some)
        given = (None if x is None else np.ascontiguousarray(x[chosen], np.float32) for x in (lo, hi, start))
        with torch.inference_mode():
            low, high, x = (None if x is None else torch.from_numpy(x).to(device) for x in given)
            out[chosen] = _batch(low, high, x, step, min(0.25 * memory, PIECE)).cpu().numpy()
    return out


def _batch(lo, hi, start, step: float, memory: float) -> torch.Tensor:
    width = (hi - lo + step).clamp_(min=1e-4)
    precision = (1 / width).mean(1)
    plans = [passes(mean) for mean in (1 / precision.mean((1, 2))).tolist()]
    reach = (width * LEVEL).sqrt_()
    low = lo - step / 2 - torch.where(lo <= 0, reach, 0)
    high = hi + step / 2 + torch.where(hi >= 1, 2 * reach, 0)
    del reach
    x = _first(low, high, width) if start is None else torch.clamp(start, low, high)
    del width
    kinds = [tuple(p.sides for p in plan) for plan in plans]
    for kind in dict.fromkeys(kinds):
        if len(set(kinds)) == 1:
            x = _passes(x, low, high, precision, plans, memory)
            continue
        some = [i for i, other in enumerate(kinds) if other == kind]
        x[some] = _passes(x[some], low[some], high[some], precision[some], [plans[i] for i in some], memory)
    return torch.clamp(x, lo, hi)


def _passes(x, low, high, precision, plans: list[list[Pass]], memory: float) -> torch.Tensor:
    """Items whose passes take blocks of the same sides."""
    matrix = torch.from_numpy(OPPONENT).to(x.device) if x.shape[1] == len(OPPONENT) else None
    back = None if matrix is None else matrix.T
    numbers = torch.tensor([[p[1:] for p in plan] for plan in plans], device=x.device).movedim(0, 2)
    blocks: dict[int, _Blocks] = {}
    for p, (threshold, colour, floor, slope, gain) in steps(
        list(zip(plans[0], numbers[..., None, None, None])), "passes"
    ):
        for side in p.sides:
            if side not in blocks:
                blocks[side] = _Blocks(precision, side, memory)
        differ = torch.ones_like(colour) if matrix is None else colour
        thresholds = threshold * torch.cat([torch.ones_like(colour), *[differ] * (x.shape[1] - 1)], 1)
        m, weight = _vote([blocks[side] for side in p.sides], _rotate(matrix, x), thresholds)
        x = x + _rotate(back, m).sub_(x).mul_(gain)
        kept = 1 / (weight[:, :1] if matrix is not None else weight)
        del m, weight
        sd = kept.mul_(slope**2).add_(floor**2).sqrt_().mul_(blocks[p.sides[0]].noise_pixels)
        x = bin_mean(x, sd, low, high)
    return x


class _Blocks:
    """All blocks of one side over images that share one map of noise scales by item; precision [N,H,W]: 1 / scale."""

    def __init__(self, precision: torch.Tensor, side: int, memory: float):
        self.side, self.step = side, BLOCKS[side]
        self.over, self.margin = side // self.step, side - self.step
        self.shape, self.memory = precision.shape[1:], memory
        self.rows, self.cols = (-(-(n + self.margin) // self.step) for n in self.shape)
        self.dct = torch.from_numpy(dct_matrix(side)).to(precision.device)
        cells = avg_pool2d(self.padded(precision), self.step)
        self.noise = 1 / avg_pool2d(cells, self.over, 1)
        self.noise_pixels = self.pixels(self.spread(self.noise) / self.over**2)[:, None]

    def padded(self, planes: torch.Tensor) -> torch.Tensor:
        """Mirrored at the borders, to whole cells of step x step pixels; the blocks are the squares of over^2 cells."""
        for axis, (n, blocks) in enumerate(zip(self.shape, (self.rows, self.cols)), 1):
            length = (blocks + self.over - 1) * self.step
            planes = _mirrored(planes, axis, self.margin, length - n - self.margin)
        return planes

    def pixels(self, cells: torch.Tensor) -> torch.Tensor:
        """[M, cell rows, cell columns], or these times step -> [M,H,W]."""
        for axis, (n, blocks) in enumerate(zip(self.shape, (self.rows, self.cols)), 1):
            if cells.shape[axis] == blocks + self.over - 1:
                cells = cells.repeat_interleave(self.step, axis)
            cells = cells.narrow(axis, self.margin, n)
        return cells

    def spread(self, w: torch.Tensor) -> torch.Tensor:
        """Sums of w [M, rows, cols] over the blocks that cover a cell: [M, cell rows, cell columns]."""
        out = w.new_zeros(len(w), self.rows + self.over - 1, self.cols)
        for y in range(self.over):
            out[:, y : y + self.rows] += w
        w, out = out, w.new_zeros(*out.shape[:2], self.cols + self.over - 1)
        for x in range(self.over):
            out[..., x : x + self.cols] += w
        return out

    def pieces(self, planes: int) -> Iterator[tuple[int, int, int]]:
        """(first row of blocks, rows, these in how many strips): energies are averaged within strips of ROWS."""
        strip = planes * _strip(self.shape[1], self.side)
        most, whole = max(1, int(self.memory / strip)) * ROWS, self.rows // ROWS * ROWS
        for first in range(0, whole, most):
            rows = min(most, whole - first)
            yield first, rows, rows // ROWS
        if self.rows > whole:
            yield whole, self.rows - whole, 1

    def transform(self, planes: torch.Tensor) -> torch.Tensor:
        """The DCT of all blocks of padded planes, [M, rows, cols, side, side]."""
        down = planes.unfold(1, self.side, self.step) @ self.dct.T
        return down.unfold(2, self.side, self.step) @ self.dct.T

    def add_back(self, c: torch.Tensor, total: torch.Tensor) -> None:
        """Add the blocks with these coefficients to what lies under them, total [M, cell rows * step, cell columns * step]."""
        planes, rows, cols = c.shape[:3]
        across = (c @ self.dct).unflatten(-1, (self.over, self.step))
        lines = c.new_zeros(planes, rows, cols + self.over - 1, self.side, self.step)
        for x in range(self.over):
            lines[:, :, x : x + cols] += across[..., x, :]
        down = (lines.mT @ self.dct).unflatten(-1, (self.over, self.step))
        cells = total.view(planes, -1, self.step, cols + self.over - 1, self.step)
        for y in range(self.over):
            cells[:, y : y + rows] += down[..., y, :].permute(0, 1, 4, 2, 3)

    def shrink(self, z: torch.Tensor, thresholds: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(estimate, weight) of z, all [N,C,H,W]; thresholds [N,C,1,1] in noise scales."""
        planes = self.padded(z.flatten(0, 1))
        cubes = (self.noise[:, None] * thresholds).flatten(0, 1) ** 3
        total, weight = torch.zeros_like(planes), torch.empty_like(cubes)
        for first, rows, strips in self.pieces(len(planes)):
            here, under = (
                slice(first, first + rows),
                slice(first * self.step, (first + rows + self.over - 1) * self.step),
            )
            c = self.transform(planes[:, under])
            e = c * c
            _neighbours(e.view(len(planes) * strips, rows // strips, *e.shape[2:]))
            tmp = e.sqrt()
            e *= tmp
            torch.add(e, cubes[:, here, :, None, None], out=tmp)
            e /= tmp
            e[..., 0, 0] = 1  # the mean of a block is kept
            c *= e
            w = self.side**2 / torch.mul(e, e, out=tmp).sum((3, 4))
            del e, tmp
            c *= w[..., None, None]
            weight[:, here] = w
            self.add_back(c, total[:, under])
        weights = self.spread(weight)
        total = self.pixels(total).div_(self.pixels(weights))
        return total.view_as(z), self.pixels(weights / self.over**2).view_as(z)


def _strip(width: int, side: int) -> int:
    """Bytes for ROWS rows of blocks of a plane."""
    return ROWS * -(-(width + side) // BLOCKS[side]) * side**2 * 4 * LIVE


def _neighbours(e: torch.Tensor) -> None:
    """Average e [M, rows, cols, ...] with weights 1-2-1 over adjacent blocks in both directions, in place; 2-1 at the ends."""
    for axis in (1, 2):
        n = e.shape[axis]
        if n == 1:
            continue
        pair = e.narrow(axis, 0, n - 1) + e.narrow(axis, 1, n - 1)
        for end, its in ((0, 0), (n - 1, n - 2)):
            e.select(axis, end).add_(pair.select(axis, its)).div_(3)
        inner = e.narrow(axis, 1, n - 2)
        torch.add(pair.narrow(axis, 0, n - 2), pair.narrow(axis, 1, n - 2), out=inner)
        inner.mul_(0.25)


def _vote(blocks: list[_Blocks], z: torch.Tensor, thresholds: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The estimates of several block sizes, averaged by their weights; and the mean weight."""
    if len(blocks) == 1:
        return blocks[0].shrink(z, thresholds)
    total, weights = torch.zeros_like(z), torch.zeros_like(z)
    for b in blocks:
        estimate, weight = b.shrink(z, thresholds)
        weights += weight
        total += estimate.mul_(weight)
    return total.div_(weights), weights.div_(len(blocks))


def _rotate(matrix: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
    return x if matrix is None else (matrix @ x.flatten(2)).view_as(x)


def bin_mean(mean: torch.Tensor, sd: torch.Tensor, lo: torch.Tensor, hi: torch.Tensor) -> torch.Tensor:
    """`smooth.bin_mean`, by the same table and the same operations: of equal arguments it is equal to the last bit."""
    width = (hi - lo).clamp_(min=1e-6)
    centre = (lo + hi) * 0.5
    t = (mean - centre).div_(width).add_(T_MAX).mul_((T_STEPS - 1) / (2 * T_MAX)).add_(0.5)
    index = t.clamp_(0, T_STEPS - 1).int()
    s = (sd / width).clamp_(max=1).mul_(S_STEPS - 1).add_(0.5)
    index += s.int().mul_(T_STEPS)
    del t, s
    out = torch.from_numpy(bin_table()).to(mean.device).flatten()[index.long()]
    return out.mul_(width).add_(centre)


def _mirrored(x: torch.Tensor, axis: int, before: int, after: int) -> torch.Tensor:
    """Padded with its mirror image, the border repeated, as often as it takes."""
    lines = np.pad(np.arange(x.shape[axis]), (before, after), mode="symmetric")
    return x.index_select(axis, torch.from_numpy(lines).to(x.device))


def _box(x: torch.Tensor, radius: int) -> torch.Tensor:
    """Mean over (2 radius + 1)^2 pixels of x [N,C,H,W], mirrored at the borders."""
    side = 2 * radius + 1
    x = avg_pool2d(_mirrored(x, 2, radius, radius), (side, 1), 1)
    return avg_pool2d(_mirrored(x, 3, radius, radius), (1, side), 1)


def _first(low: torch.Tensor, high: torch.Tensor, width: torch.Tensor) -> torch.Tensor:
    """Middle of the bins; where bands of a shading are wide, a wide mean projected onto the bins."""
    centre = (low + high) * 0.5
    x = centre
    for radius in RADII:
        x = torch.clamp(_box(x, radius), low, high)
    edges = centre.diff(dim=2, prepend=centre[:, :, :1]) ** 2 + centre.diff(dim=3, prepend=centre[..., :1]) ** 2
    share = (2 - _box(edges / width**2, GATE_RADIUS) / GATE).clamp_(0, 1)
    return centre + share * (x - centre)
