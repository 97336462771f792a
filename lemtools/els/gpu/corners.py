"""All pixels of which both coordinates stand alone: each against the same place of every image. Two Triton kernels.

Squared differences are summed over the rows of a window, then over its columns; no sum is made by subtraction, so that nothing
cancels. Letters: S seeds, C channels, P patch size, I images, R rows and V columns that stand alone, W columns reached.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ..plan import Axis
from ..sums import EMPTY
from .kernel import INTERPRETED, cdiv, constant, launch, processors
from .launches import Form

AT_ONCE = 4  # channels that a program sums
EMPTY_, AT_ONCE_ = tl.constexpr(EMPTY), tl.constexpr(AT_ONCE)


@triton.jit
def _value(at, inside, centre, plane, c, CHANNELS: tl.constexpr):
    """Channel c of pixels, 0 beyond the last."""
    value = tl.load(at + c * plane, mask=inside & (c < CHANNELS), other=0).to(tl.float32)
    return value - tl.load(centre + c, mask=c < CHANNELS, other=0)


@triton.jit(do_not_specialize=["images", "seed", "count"])
def down(
    u,
    bank,
    rows,
    reached,
    centre,
    out,
    images,
    seed,
    height,
    width,
    count,
    SIZE: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDE: tl.constexpr,
):
    """out[s, i, r, w] = |u - k|^2 over channels and the rows of the window around rows[r], at column reached[w].

    u: float64 [S, C, H, W], in units of the bank from `centre`, int32 [C]; seeds from `seed` on. bank: [I, C, H, W]. out:
    float32 or float64.
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    r, s = tl.program_id(1), tl.program_id(2)
    w = tl.arange(0, WIDE)
    used = (i < images)[:, None] & (w < count)[None, :]
    column = tl.load(reached + w, mask=w < count, other=0)
    plane = height * width
    from_u = u + (seed + s).to(tl.int64) * CHANNELS * plane + column
    from_bank = bank + i.to(tl.int64)[:, None] * CHANNELS * plane + column[None, :]
    first = tl.load(rows + r) - SIZE // 2
    total = tl.zeros([BLOCK, WIDE], out.dtype.element_ty)
    for d in range(SIZE):
        row = first + d
        if (row >= 0) & (row < height):
            for c in tl.static_range(CHANNELS):
                at = c * plane + row * width
                query = (tl.load(from_u + at) + tl.load(centre + c)).to(total.dtype)
                key = tl.load(from_bank + at, mask=used, other=0).to(total.dtype)
                total += (query[None, :] - key) * (query[None, :] - key)
    place = ((s.to(tl.int64) * images + i)[:, None] * tl.num_programs(1) + r) * count + w[None, :]
    tl.store(out + place, total, mask=used)


@triton.jit(do_not_specialize=["images", "tiles", "count", "lone", "seeds", "seed"])
def across(
    squares,
    bank,
    rows,
    windows,
    centre,
    out,
    images,
    tiles,
    count,
    lone,
    seeds,
    seed,
    height,
    width,
    factor,
    SIZE: tl.constexpr,
    CHANNELS: tl.constexpr,
    VALUES: tl.constexpr,
    BLOCK: tl.constexpr,
    LONE: tl.constexpr,
    TILES: tl.constexpr,
):
    """Sums of the pixels of row rows[r] over `tiles` tiles of images, of logits `factor` times |u - k|^2.

    squares: as ``down`` leaves them, [s, I, R, `count`]. windows: int32 [3, `lone`]: of each its column, and where its
    window begins and ends among the columns reached. out: [splits, R, VALUES + 3, `lone` S] as of ``kernel.attend``, where
    values may have more digits: those are zero here. A program sums AT_ONCE channels.
    """
    groups: tl.constexpr = (CHANNELS + AT_ONCE_ - 1) // AT_ONCE_
    split, r = tl.program_id(0), tl.program_id(1)
    blocks = tl.cdiv(lone, LONE)
    first = tl.program_id(2) % groups * AT_ONCE_
    s = tl.program_id(2) // groups // blocks
    v = tl.program_id(2) // groups % blocks * LONE + tl.arange(0, LONE)
    column = tl.load(windows + v, mask=v < lone, other=0)
    begin = tl.load(windows + lone + v, mask=v < lone, other=0)
    end = tl.load(windows + 2 * lone + v, mask=v < lone, other=0)
    plane = height * width
    pixel = tl.load(rows + r) * width + column
    ref = tl.zeros([LONE], tl.float32) + EMPTY_
    n = tl.zeros([LONE], tl.float32)
    s0, s1, s2, s3 = n, n, n, n
    for t in range(TILES if TILES else tiles):
        i = (split * tiles + t) * BLOCK + tl.arange(0, BLOCK)
        inside = (i < images)[:, None] & (v < lone)[None, :]
        from_squares = squares + ((s.to(tl.int64) * images + i) * tl.num_programs(1) + r)[:, None] * count
        square = tl.zeros([BLOCK, LONE], squares.dtype.element_ty)
        for d in range(SIZE):
            used = inside & (begin + d < end)[None, :]
            square += tl.load(from_squares + (begin + d)[None, :], mask=used, other=0.0)
        logit = tl.where(inside, square * factor, EMPTY_)
        higher = tl.maximum(ref, tl.max(logit, 0).to(tl.float32))
        less = tl.exp2(ref - higher)
        weight = tl.exp2((logit - higher.to(square.dtype)[None, :]).to(tl.float32))
        weight = tl.where(inside, weight, 0.0)
        ref = higher
        at = bank + i.to(tl.int64)[:, None] * CHANNELS * plane + pixel[None, :]
        n = n * less + tl.sum(weight, 0)
        s0 = s0 * less + tl.sum(weight * _value(at, inside, centre, plane, first, CHANNELS), 0)
        if CHANNELS > 1:
            s1 = s1 * less + tl.sum(weight * _value(at, inside, centre, plane, first + 1, CHANNELS), 0)
        if CHANNELS > 2:
            s2 = s2 * less + tl.sum(weight * _value(at, inside, centre, plane, first + 2, CHANNELS), 0)
        if CHANNELS > 3:
            s3 = s3 * less + tl.sum(weight * _value(at, inside, centre, plane, first + 3, CHANNELS), 0)
    queries = lone * seeds
    to = out + (split * tl.num_programs(1) + r).to(tl.int64) * (VALUES + 3) * queries + v * seeds + seed + s
    keep = v < lone
    tl.store(to, ref, mask=keep)
    tl.store(to + queries, tl.zeros([LONE], tl.float32), mask=keep)
    tl.store(to + (2 + first) * queries, s0, mask=keep)
    if CHANNELS > 1:
        tl.store(to + (3 + first) * queries, s1, mask=keep & (first + 1 < CHANNELS))
    if CHANNELS > 2:
        tl.store(to + (4 + first) * queries, s2, mask=keep & (first + 2 < CHANNELS))
    if CHANNELS > 3:
        tl.store(to + (5 + first) * queries, s3, mask=keep & (first + 3 < CHANNELS))
    for d in tl.static_range(CHANNELS, VALUES):
        tl.store(to + (2 + d) * queries, tl.zeros([LONE], tl.float32), mask=keep)
    tl.store(to + (VALUES + 2) * queries, n, mask=keep)


class Corners:
    """Numbers of such a part, of `seeds` seeds. apart: in float64, where float32 is too coarse."""

    def __init__(self, rows: Axis, cols: Axis, seeds: int, form: Form, apart: bool, device: torch.device):
        self.seeds, self.channels, self.values, self.device = seeds, len(form.centre), form.values, device
        self.size = rows.size, cols.size
        self.dtype = torch.float64 if apart else torch.float32
        self.height, self.width, self.rows, self.lone = rows.length, cols.length, len(rows.alone), len(cols.alone)
        self.count = self.queries = self.lone * seeds
        near = range(-cols.reach, cols.reach + 1)
        reached = sorted({c + d for c in cols.alone for d in near if 0 <= c + d < cols.length})
        ends = [[sum(k < c + d for k in reached) for c in cols.alone] for d in (-cols.reach, cols.reach + 1)]
        self.wide, self.plane = len(reached), rows.length * cols.length
        self.tables = [constant(tuple(t), device) for t in (rows.alone, reached, [*cols.alone, *ends[0], *ends[1]])]
        self.centre = constant(form.centre, device)
        self.pixels = constant(tuple(r * cols.length + c for r in rows.alone for c in cols.alone), device)
        self.columns = min(32, max(2, triton.next_power_of_2(self.lone)))  # of a tile, and images of it
        self.block = 1024 // self.columns
        self.memo: dict = {}

    def bytes(self) -> int:
        """Scratch memory that an image of a chunk and a seed take."""
        return self.rows * self.wide * self.dtype.itemsize

    def splits(self, images: int) -> tuple[int, int, int]:
        """Programs that share the images, tiles of each, and the most programs of fewer images."""
        total = cdiv(images, self.block)
        most = min(total, cdiv(8 * processors(self.device), self.rows * self.seeds))
        tiles = cdiv(total, most)
        return cdiv(total, tiles), tiles, most

    def attend(
        self, u: torch.Tensor, images: torch.Tensor, found: torch.Tensor, scratch: torch.Tensor, factor: float
    ) -> None:
        """What images [I, C, H, W] of the form say, left in found. scratch: float64, for as many seeds as it holds."""
        scratch = scratch.view(self.dtype)
        splits, tiles, _ = self.splits(len(images))
        rows, reached, windows = self.tables
        wide = max(2, triton.next_power_of_2(self.wide))
        tall, share = max(1, 1024 // wide), max(1, scratch.numel() // (len(images) * self.rows * self.wide))
        for seed in range(0, self.seeds, share):
            seeds = min(share, self.seeds - seed)
            launch(
                self.memo,
                down,
                (cdiv(len(images), tall), self.rows, seeds),
                (u, images, rows, reached, self.centre, scratch, len(images), seed, self.height, self.width, self.wide),
                SIZE=self.size[0],
                CHANNELS=self.channels,
                BLOCK=tall,
                WIDE=wide,
            )
            launch(
                self.memo,
                across,
                (splits, self.rows, seeds * cdiv(self.lone, self.columns) * cdiv(self.channels, AT_ONCE)),
                (
                    scratch,
                    images,
                    rows,
                    windows,
                    self.centre,
                    found,
                    len(images),
                    tiles,
                    self.wide,
                    self.lone,
                    self.seeds,
                    seed,
                    self.height,
                    self.width,
                    factor,
                ),
                SIZE=self.size[1],
                CHANNELS=self.channels,
                VALUES=self.values,
                BLOCK=self.block,
                LONE=self.columns,
                TILES=tiles if INTERPRETED else 0,
            )
