"""The local machines over a bank of uint8 images on a CUDA device: what ``feed`` and ``kernel`` are given, and when.

Letters as in ``kernel``: S seeds, C channels, P patch size, I images of a chunk, R rows that have keys of their own, U
queries of a row and seed, Q = U S, T keys of a row, K elements of a key.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
import triton

from . import feed
from .bank import Bank
from .corners import Corners
from .kernel import INTERPRETED, WEIGHTS, Tiling, attend, strip_row, tiling
from .local import Level
from .plan import Axis
from .sums import EMPTY, LOG2E, Sums

UNIT = 127.5      # a grey level of uint8, in coordinates, is 1 / UNIT
EXACT = 2.0**24   # float32 holds every integer below
ROUNDING = 1e-4   # rounding of logits by less than this is taken as it is


def usable(bank: Bank, device: torch.device, size: int = 1) -> bool:
    """Whether the kernel takes this bank: grey or colour of 8 bits, on a CUDA device or in Triton's interpreter, and of
    images whose P x P windows it can number."""
    fits = 2 * math.prod(bank.item) * size**2 < 1 << 31
    bytes_ = "uint8" in str(bank.images.dtype) and bank.item[0] in (1, 3)
    return (device.type == "cuda" or INTERPRETED) and bytes_ and fits


@dataclass(frozen=True)
class Query:
    """x_t in digits: [2 or 4, S, C, H, W] float16, of u 2^exponent. See the module for `apart`.

    Where the error of a logit by rounding, estimated for keys of middling contrast, is below ROUNDING, no more is done.
    """

    digits: torch.Tensor
    scale: float      # logits are scale (u 2^exponent . k + ratio |k|^2), in powers of two
    ratio: float
    apart: bool

    @classmethod
    def of(cls, x: torch.Tensor, level: Level, size: int, centre: tuple[int, ...]) -> Query:
        """x: float64 [S, C, H, W] in coordinates; centre: the grey levels that are zero."""
        elements = x.shape[1] * size**2
        if level.a**2 / level.variance < 1e-12:  # every key weighs the same
            return cls(torch.zeros(2, *x.shape, dtype=torch.float16, device=x.device), 0.0, 0.0, False)
        u = x.sub(coordinates(centre, x.device), alpha=level.a).mul_(UNIT / level.a)
        most, norm = torch.stack([torch.linalg.vector_norm(u, n) for n in (torch.inf, 2)]).tolist()
        rms = norm / u.numel() ** 0.5
        exponent = 10 - math.frexp(max(most, 1.0))[1]
        u, most, rms = (v * 2.0**exponent for v in (u, most, rms))
        scale = level.a**2 / level.variance * LOG2E / UNIT**2 * 2.0**-exponent
        typical = math.sqrt(elements) * UNIT / 2                             # |k|
        product = scale * math.sqrt(elements) * rms * typical                # u.k
        apart = product * (elements / 8 + 1) / EXACT > ROUNDING              # cut off after every 16 elements
        grid = 2.0 ** math.ceil(math.log2(elements * most * extreme(centre) / EXACT)) if apart else 0.0
        digits, rest, left = [], u, max(grid / 4, rms / 4096)                # left: what a digit leaves
        while len(digits) < 2 or len(digits) < 3 and scale * left * typical > ROUNDING:
            digits.append(((rest / grid).round() * grid if grid and not digits else rest).to(torch.float16))
            rest = rest - digits[-1].double()
            left /= 4096 if len(digits) > 1 else 1
        digits += [torch.zeros_like(digits[0])] * (len(digits) == 3)                # products take powers of two
        return cls(torch.stack(digits), scale, -(2.0 ** (exponent - 1)), apart)

    def some(self, begin: int, end: int) -> Query:
        """Of some of the seeds."""
        return replace(self, digits=self.digits[:, begin:end].contiguous())


def extreme(centre: tuple[int, ...]) -> int:
    """The largest |element| of a key."""
    return max(max(c, 255 - c) for c in centre)


# What is the same in every call stays on the device: a copy to it costs more than a small kernel.


@lru_cache(maxsize=256)
def constant(values: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """int32."""
    return torch.tensor(values, dtype=torch.int32, device=device)


@lru_cache(maxsize=256)
def coordinates(centre: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """float64 [C, 1, 1] of grey levels."""
    return torch.tensor(centre, dtype=torch.float64, device=device)[:, None, None] / UNIT - 1


@lru_cache(maxsize=256)
def table(depth: int, size: int, centre: tuple[int, ...], row: int, width: int, device: torch.device) -> torch.Tensor:
    """int32 [4, `width`]: as in ``feed``, of windows `depth` along and `size` across; lines along are `row` apart."""
    out = torch.zeros(4, width, dtype=torch.int32)
    out[2] = -1
    for d in range(depth):
        for c, zero in enumerate(centre):
            first = d * row + c * size
            for e in range(size):
                out[:, first + e] = torch.tensor([d, e, c, zero])
    return out.to(device)


@lru_cache(maxsize=256)
def places(along: range, across: range, alone: tuple[int, ...], flipped: bool, width: int,
           device: torch.device) -> torch.Tensor:
    """[R, U] numbers row * W + column of queries."""
    here, there = torch.tensor(list(along)), torch.tensor(list(alone or across))
    by = (1, width) if flipped != bool(alone) else (width, 1)  # (what one further along, and across, is)
    return (there[:, None] * by[1] + here * by[0]).reshape(len(alone) or 1, -1).to(device)


class Fused:
    """Queries of a block against its keys; or of rows alone, each against its own (see ``plan``).

    rows, cols: queries and keys are those of the axes' blocks, but of `rows` where alone is given: the rows that are
    queries and keys. flipped: rows and columns have changed places. first: number of the first seed.
    """

    def __init__(self, rows: Axis, cols: Axis, alone: tuple[int, ...], flipped: bool, query: Query,
                 centre: tuple[int, ...], plan: Tiling, first: int = 0):
        self.query, self.plan, self.centre, self.first = query, plan, centre, first
        self.alone, self.flipped, self.size, self.circular = alone, flipped, cols.size, cols.circular
        self.along, self.across = (cols, rows) if alone else (rows, cols)
        self.seeds, self.channels, *self.shape = query.digits.shape[1:]
        self.device = query.digits.device
        self.rows, self.lanes = len(alone) or 1, 1 if alone else len(self.across.keys)
        self.count = self.seeds * len(self.along.queries) * (1 if alone else len(self.across.queries))
        used = self.channels * self.size
        self.row = strip_row(self.size, self.channels) if plan.strip else used
        self.elements = self.row * (self.size - 1) + used
        worst = used * self.size * extreme(centre) ** 2
        self.fold = not plan.strip and worst < feed.FOLDED**2 and -8 <= query.ratio < 0
        self.steps = -(-(self.elements + 2 * self.fold) // plan.step)
        self.width = plan.step * self.steps
        self.blocks = -(-self.count // plan.block_q)
        self.queries = self._queries()
        self.reset()

    def reset(self) -> None:
        shape = (self.rows, self.blocks * self.plan.block_q)
        self.start = torch.full(shape, EMPTY, device=self.device)
        # of skipped, values, count
        self.sums = torch.zeros(self.rows, self.channels + 2, shape[1], dtype=torch.float64, device=self.device)

    def _strides(self) -> tuple[int, int, int, int]:
        """Lengths of an image along and across, and what lies between neighbours."""
        height, width = self.shape
        down = self.flipped == bool(self.alone)
        return (height, width, width, 1) if down else (width, height, 1, width)

    def _begin(self, places: range) -> torch.Tensor:
        """[R] where windows begin, across."""
        return constant(tuple(p - self.size // 2 for p in self.alone or places[:1]), self.device)

    def _queries(self) -> torch.Tensor:
        """[R, blocks, digits, block_q, K] float16; by place across, place along, seed, the last block filled up."""
        plan, digits = self.plan, self.query.digits
        along, across = self.along.queries, self.across.queries
        out = digits.new_empty(self.rows, self.blocks, len(digits), plan.block_q, self.width)
        elements = table(self.size, self.size, self.centre, self.row, self.width, self.device)
        plane, block = math.prod(self.shape), min(triton.next_power_of_2(self.width), 8192 // plan.block_q)
        feed.spread[(self.blocks * triton.cdiv(self.width, block), self.rows)](
            digits, elements, self._begin(across), out, self.count, self.blocks, len(along), self.seeds,
            self.channels * plane, plane, *self._strides(), along[0] - self.size // 2, self.query.ratio,
            ELEMENTS=self.elements, SIZE=self.width, DIGITS=len(digits), FOLD=self.fold, CIRCULAR=self.circular,
            BLOCK_Q=plan.block_q, BLOCK=block)
        return out

    def bytes(self) -> int:
        """Scratch memory that an image of a chunk takes."""
        keys = len(self.along.keys) * self.lanes
        rows, width = (keys + self.lanes * (self.size - 1), self.row) if self.plan.strip else (keys, self.width)
        return self.rows * (rows * (2 * width + 4) + keys * (4 + (16 if self.plan.dot else 4 * self.channels + 4)))

    def add(self, images: torch.Tensor, budget: float, top: bool) -> None:
        """Take in images uint8 [I, C, H, W]. budget: share of a sum that may be left out. top: see ``Tiling``."""
        plan, make, images = self.plan, {"device": self.device}, images.contiguous()
        members, (blocks, queries) = len(self.along.keys), (self.blocks, self.blocks * self.plan.block_q)
        strips = members + self.size - 1 if plan.strip else 0
        keys, lines = len(images) * self.lanes * members, len(images) * self.lanes
        rows, row = (lines * strips, self.row) if plan.strip else (keys, self.width)

        total = triton.cdiv(keys, plan.block_k)
        processors = torch.cuda.get_device_properties(self.device).multi_processor_count if images.is_cuda else 2
        tiles = triton.cdiv(total, min(total, triton.cdiv(processors * plan.waves, blocks * self.rows)))
        splits = triton.cdiv(total, tiles)
        padded = splits * tiles * plan.block_k

        pitch = -(-(rows * row + self.width) // 16) * 16  # whole vectors of 16 bytes, as Triton knows them
        wide = triton.next_power_of_2(row)
        scratch = torch.empty(self.rows * pitch, dtype=torch.float16, **make)
        squares = torch.empty(0 if self.fold else self.rows * rows, **make)
        bias = torch.empty(0 if self.fold else self.rows * padded, **make)
        values = torch.empty((self.rows, padded, 8) if plan.dot else (self.rows, self.channels + 1, padded),
                             dtype=WEIGHTS[1] if plan.dot else torch.float32, **make)
        out = torch.empty(splits, self.rows, self.channels + 3, queries, **make)

        plane, strides = math.prod(self.shape), self._strides()
        begin, first = self._begin(self.across.keys), self.along.keys[0] - self.size // 2
        block, depth = max(1, 4096 // wide), 1 if plan.strip else self.size
        feed.expand[(triton.cdiv(triton.cdiv(pitch, row), block), self.rows)](
            images, table(depth, self.size, self.centre, self.channels * self.size, wide, self.device), begin, scratch,
            squares, rows, pitch, self.lanes * (strips or members), strips or members, self.channels * plane, plane,
            *strides, first, ELEMENTS=depth * self.channels * self.size, ROW=row, WIDTH=wide, FOLD=self.fold,
            CIRCULAR=self.circular, BLOCK=block, num_warps=8 if wide == 128 else 4)  # (a third of the instructions, there)
        feed.centres[(triton.cdiv(padded, 256), self.rows)](
            images, begin, constant(self.centre, self.device), squares, values, bias, keys, padded,
            self.lanes * members, members, strips, self.channels * plane, plane, *strides[2:], first, self.size // 2,
            self.query.ratio, CHANNELS=self.channels, SIZE=self.size, WIDTH=8 if plan.dot else 0, FOLD=self.fold,
            BLOCK=256)
        attend[(blocks, splits, self.rows)](
            self.queries, scratch, bias, values, self.start, out, queries, keys, padded, pitch, tiles,
            self.query.scale, budget / splits, GROUP=members if plan.strip else 1,
            STRIP=strips * self.row if plan.strip else self.width, ROW=self.row, STEP=plan.step, STEPS=self.steps,
            DIGITS=self.queries.shape[2], APART=self.query.apart, FOLD=self.fold, CHANNELS=self.channels,
            WIDTH=8 if plan.dot else 0, HALF=WEIGHTS[0], RESIDENT=plan.resident, TOP=top,
            SKIP=top and budget > 0, STAGES=plan.stages, TILES=tiles if INTERPRETED else 0, BLOCK_Q=plan.block_q,
            BLOCK_K=plan.block_k, num_warps=plan.warps)
        feed.merge[(triton.cdiv(queries, 64), self.rows)](
            out, self.start, self.sums, splits, queries, self.unit, MOST=splits if INTERPRETED else 0,
            PARTS=self.channels + 2, BLOCK=64)

    @property
    def unit(self) -> float:
        """What the kernel's references are multiples of, exactly as it knows it."""
        return float(torch.tensor(self.query.scale, dtype=torch.float32)) if self.query.apart else 1.0

    def sound(self) -> bool:
        """False where a logit lay so far above its reference that a sum was too large for a number."""
        return bool(torch.isfinite(self.sums).all())

    def release(self) -> None:
        """Nothing more is to come: give up the queries."""
        self.queries = self.queries[:0].clone()

    def result(self) -> Sums:
        """Of grey levels from the centre."""
        sums = self.sums[:, :, : self.count]
        return Sums(self.start[:, : self.count].double() * self.unit, sums[:, 1:].transpose(1, 2), sums[:, 0].max())

    def pixels(self, height: int, width: int) -> list[torch.Tensor]:
        """[[R, Q]] numbers (seed * H + row) * W + column of the pixels."""
        place = places(self.along.queries, self.across.queries, self.alone, self.flipped, width, self.device)
        seeds = torch.arange(self.first, self.first + self.seeds, device=self.device)
        return [(place[..., None] + seeds * (height * width)).flatten(1)]


def run(bank: Bank, x: torch.Tensor, level: Level, rows: Axis, cols: Axis, skip: float = 1e-6, memory: int = 1 << 30,
        choose: Callable[[int, int, int, int], Tiling] = tiling) -> tuple[list, list[list[Sums]], torch.Tensor, float]:
    """The sums of every pixel over a bank for which ``usable`` holds, as ``posterior.Local`` gathers them.

    x: x_t float64 [S, C, H, W] in coordinates, on the device of the bank. Returns parts, of which ``pixels(height,
    width)`` tells the pixels; for each a list of one Sums, in float64; and of what values they are: coordinates are
    [C, 1, 1] plus a factor times values.
    """
    centre = tuple(int(min(max(round((float(m) + 1) * UNIT), 0), 255)) for m in bank.mean)
    pixels = rows.length * cols.length - len(rows.alone) * len(cols.alone)
    query = Query.of(x, level, rows.size, centre)
    seed = 3 * len(query.digits) * (x.shape[1] * rows.size**2 + 16) * max(pixels, 1)  # bytes of its queries, about
    together = max(1, memory // 3 // seed)
    parts: list[Fused | Corners] = []
    for first in range(0, len(x), together):
        end = first + together
        group = _parts(query.some(first, end), x[first:end], level, rows, cols, centre, choose, first)
        for part in group:
            _take(part, bank, skip, memory)
        for part in group:
            if isinstance(part, Fused):
                if not part.plan.top and not part.sound():
                    part.reset()
                    _take(part, bank, skip, memory, True)
                part.release()
        parts += group
    return parts, [[part.result()] for part in parts], coordinates(centre, x.device), 1 / UNIT


def _parts(query, x, level, rows, cols, centre, choose, first) -> list[Fused | Corners]:
    """The largest first: the device is busy with it while the others are prepared."""
    parts: list[Fused | Corners] = []
    jobs = (rows, cols, None, False), (rows, cols, rows.alone, False), (cols, rows, cols.alone, True)
    for these, others, alone, flipped in jobs:
        members = len(these.queries) if alone is None else len(alone)
        if members and len(others.queries):
            count = len(x) * len(others.queries) * (members if alone is None else 1)
            plan = choose(rows.size, len(centre), count, len(query.digits))
            parts.append(Fused(these, others, alone or (), flipped, query, centre, plan, first))
    if rows.alone and cols.alone:
        grey = x.sub(coordinates(centre, x.device), alpha=level.a).mul_(UNIT)
        parts.append(Corners(rows, cols, grey, level, UNIT, constant(centre, x.device), query.apart, first))
    return parts


def _take(part: Fused | Corners, bank: Bank, skip: float, memory: int, top: bool = False) -> None:
    """The whole bank, in chunks that keep within the memory. Without a look for the largest logit a first few images,
    looked through with it, say where sums begin."""
    count = max(1, min(len(bank), min(memory // 2, 1 << 31) // part.bytes()))
    blind = isinstance(part, Fused) and not part.plan.top and not top
    begin = min(count, -(-len(bank) // 16)) if blind else 0
    starts = ([0] if begin else []) + list(range(begin, len(bank), count))
    for start, stop in zip(starts, [*starts[1:], len(bank)]):
        images = bank.images[start:stop]
        images = images if isinstance(images, torch.Tensor) else torch.from_numpy(images)
        part.add(images, skip / len(starts), not blind or start == 0)
