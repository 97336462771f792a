"""The local machines over a bank of uint8 images on a CUDA device: what ``kernel`` is given, and what it brings back.

Letters as in ``kernel``: S seeds, C channels, P patch size, I images of a chunk, R rows that have keys of their own, U
queries of a row and seed, Q = U S, T keys of a row, K elements of a key.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
import triton
from torch.nn import functional as F

from .bank import Bank
from .kernel import FOLDED, INTERPRETED, WEIGHTS, Tiling, attend, expand, strip_row, tiling
from .local import Level
from .plan import Axis
from .sums import EMPTY, LOG2E, Sums

UNIT = 127.5      # a grey level of uint8, in coordinates, is 1 / UNIT
EXACT = 2.0**24   # float32 holds every integer below
ROUNDING = 1e-4   # rounding of logits by less than this is taken as it is


def usable(bank: Bank, device: torch.device) -> bool:
    """Whether the kernel takes this bank: grey or colour of 8 bits, on a CUDA device or in Triton's interpreter."""
    return (device.type == "cuda" or INTERPRETED) and "uint8" in str(bank.images.dtype) and bank.item[0] in (1, 3)


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
        u = units(x, level.a, centre) / level.a
        most, rms = torch.stack([u.abs().amax(), u.square().mean().sqrt()]).tolist()
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


def units(x: torch.Tensor, a: float, centre: tuple[int, ...]) -> torch.Tensor:
    """a times grey levels from the centre, for x_t in coordinates."""
    shift = torch.tensor([a * (c / UNIT - 1) for c in centre], dtype=x.dtype, device=x.device)
    return (x - shift[:, None, None]) * UNIT


def extreme(centre: tuple[int, ...]) -> int:
    """The largest |element| of a key."""
    return max(max(c, 255 - c) for c in centre)


@lru_cache(maxsize=256)
def index(places: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Kept, since copies to the device cost more than small kernels."""
    return torch.tensor(places, device=device)


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
        self.seeds, self.channels = query.digits.shape[1:3]
        self.rows, self.lanes = len(alone) or 1, 1 if alone else len(self.across.keys)
        self.count = self.seeds * len(self.along.queries) * (1 if alone else len(self.across.queries))
        used = self.channels * self.size
        self.row = strip_row(self.size, self.channels) if plan.strip else used
        self.elements = self.row * (self.size - 1) + used
        worst = used * self.size * extreme(centre) ** 2
        self.fold = not plan.strip and worst < FOLDED**2 and -8 <= query.ratio < 0
        self.steps = -(-(self.elements + 2 * self.fold) // plan.step)
        self.width = plan.step * self.steps
        self.queries = self._queries()
        self.reset()

    def reset(self) -> None:
        shape = (self.rows, self.queries.shape[1] * self.plan.block_q)
        self.start = torch.full(shape, EMPTY, device=self.queries.device)
        # skipped, values, count
        self.sums = torch.zeros(*shape, self.channels + 2, dtype=torch.float64, device=self.queries.device)

    def _queries(self) -> torch.Tensor:
        """[R, blocks, digits, block_q, K] float16; queries by column, row, seed, the last block filled up."""
        x = extend(self.query.digits.flatten(0, 1), self.size // 2, self.circular).unflatten(0, (-1, self.seeds))
        x = x.transpose(3, 4) if self.flipped else x
        view = x.unfold(3, self.size, 1).unfold(4, self.size, 1)  # [D, S, C, rows, columns, P, P]
        along, across = self.along.queries, self.across.queries
        if self.alone:
            view = view[:, :, :, :, along[0] : along[-1] + 1].index_select(3, index(self.alone, x.device))
            view = view.permute(0, 3, 4, 1, 6, 2, 5)[:, :, None]
        else:
            view = view[:, :, :, along[0] : along[-1] + 1, across[0] : across[-1] + 1]
            view = view.permute(0, 4, 3, 1, 5, 2, 6)[:, None]  # [D, R, across, along, S, P, C, P]
        blocks, used = -(-self.count // self.plan.block_q), self.channels * self.size
        out = view.new_zeros(*view.shape[:2], blocks * self.plan.block_q, self.width)
        for d in range(self.size):
            part = out[:, :, : self.count, d * self.row : d * self.row + used]
            part.unflatten(3, (self.channels, self.size)).unflatten(2, view.shape[2:5]).copy_(view[..., d, :, :])
        if self.fold:
            out[0, :, :, self.elements] = self.query.ratio * FOLDED
            out[0, :, :, self.elements + 1] = self.query.ratio
        return out.unflatten(2, (blocks, -1)).permute(1, 2, 0, 3, 4).contiguous()

    def bytes(self) -> int:
        """Scratch memory that an image of a chunk takes."""
        keys = len(self.along.keys) * self.lanes
        rows, width = (keys + self.lanes * (self.size - 1), self.row) if self.plan.strip else (keys, self.width)
        return self.rows * (rows * (2 * width + 4) + keys * (28 + 2 * self.channels))

    def add(self, images: torch.Tensor, budget: float, top: bool) -> None:
        """Take in images uint8 [I, C, H, W]. budget: share of a sum that may be left out. top: see ``Tiling``."""
        plan, device, count = self.plan, images.device, len(images)
        ends = extend(images, self.size // 2, self.circular, self.centre)
        plane, line = ends.shape[2] * ends.shape[3], ends.shape[3]
        down, right = (1, line) if self.flipped else (line, 1)
        along, across = (right, down) if self.alone else (down, right)
        first = self.along.keys[0] * along + (0 if self.alone else self.across.keys[0] * across)
        begin = index(tuple(first + r * across for r in self.alone) or (first,), device)
        members = len(self.along.keys)
        places = members + self.size - 1 if plan.strip else members

        length, padding = count * self.lanes * places, self.row if plan.strip else self.width
        pitch = -(-length * padding // 16) * 16  # whole vectors of 16 bytes, as Triton knows them
        scratch = torch.empty(self.rows * pitch + self.width, dtype=torch.float16, device=device)
        scratch[-self.width :] = 0               # (what lies beyond the last key is read, and has no weight)
        scratch[: self.rows * pitch].view(self.rows, pitch)[:, length * padding :] = 0
        squares = torch.empty(0 if self.fold else self.rows * length, device=device)
        wide = triton.next_power_of_2(padding)
        block = max(1, 4096 // wide)
        table, centre = self._table(plane, along, across, wide, device)
        expand[(triton.cdiv(length, block), self.rows)](
            ends, table, centre, scratch, squares, begin, length, pitch, self.lanes * places, places,
            self.channels * plane, across, along, ROW=padding, WIDTH=wide,
            ELEMENTS=self.channels * self.size if plan.strip else self.elements,
            FOLD=self.fold, BLOCK=block)

        keys, blocks = count * self.lanes * members, self.queries.shape[1]
        total, queries = triton.cdiv(keys, plan.block_k), blocks * plan.block_q
        processors = torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 2
        tiles = triton.cdiv(total, min(total, triton.cdiv(processors * plan.waves, blocks * self.rows)))
        splits = triton.cdiv(total, tiles)
        padded = splits * tiles * plan.block_k
        values, bias = self._values(images, padded, keys), self._bias(squares, places, padded)
        out = torch.empty(splits, self.rows, self.channels + 3, queries, device=device)
        attend[(blocks, splits, self.rows)](
            self.queries, scratch, bias, values, self.start, out, queries, keys, padded, pitch, tiles,
            self.query.scale, budget / splits, GROUP=members if plan.strip else 1,
            STRIP=places * self.row if plan.strip else self.width, ROW=self.row, STEP=plan.step, STEPS=self.steps,
            DIGITS=self.queries.shape[2], APART=self.query.apart, FOLD=self.fold, CHANNELS=self.channels,
            WIDTH=values.shape[2] if plan.dot else 0, HALF=WEIGHTS[0], RESIDENT=plan.resident, TOP=top,
            SKIP=top and budget > 0, STAGES=plan.stages, TILES=tiles if INTERPRETED else 0, BLOCK_Q=plan.block_q,
            BLOCK_K=plan.block_k, num_warps=plan.warps)
        self._merge(out)

    def _table(self, plane: int, along: int, across: int, wide: int,
               device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the elements of a row of scratch, where they lie in an image and what is zero there."""
        window = range(1) if self.plan.strip else range(self.size)
        places = [(d, c, e) for d in window for c in range(self.channels) for e in range(self.size)]
        fill = (0,) * (wide - len(places))
        table = tuple(d * along + c * plane + e * across for d, c, e in places)
        return tuple(index(t + fill, device).int() for t in (table, tuple(self.centre[c] for _, c, _ in places)))

    def _bias(self, squares: torch.Tensor, places: int, padded: int) -> torch.Tensor:
        """[R, padded] what |k|^2 adds to a product, of the last key also beyond it; empty where the keys hold it."""
        if self.fold:
            return squares
        windows = squares.view(-1, places).unfold(1, self.size, 1).sum(2) if self.plan.strip else squares
        bias = windows.view(self.rows, -1) * self.query.ratio
        return torch.cat([bias, bias[:, -1:].expand(-1, padded - bias.shape[1])], 1)

    def _values(self, images: torch.Tensor, padded: int, keys: int) -> torch.Tensor:
        """Centre pixels and ones, zeros beyond the keys: [R, C + 1, padded], or [R, padded, 8] for products."""
        pixels = images.transpose(2, 3) if self.flipped else images
        along, across = self.along.keys, self.across.keys
        if self.alone:
            pixels = pixels[..., along[0] : along[-1] + 1].index_select(2, index(self.alone, images.device))
            pixels = pixels.permute(2, 1, 0, 3)
        else:
            pixels = pixels[:, :, along[0] : along[-1] + 1, across[0] : across[-1] + 1].permute(1, 0, 3, 2)[None]
        pixels = pixels.flatten(2).short() - index(self.centre, images.device).short()[:, None]  # [R, C, T]
        if not self.plan.dot:
            out = torch.zeros(self.rows, self.channels + 1, padded, device=images.device)
            out[:, :-1, :keys], out[:, -1, :keys] = pixels, 1
            return out
        out = torch.zeros(self.rows, padded, 8, dtype=WEIGHTS[1], device=images.device)
        out[:, :keys, : self.channels], out[:, :keys, self.channels] = pixels.transpose(1, 2), 1
        return out

    @property
    def unit(self) -> float:
        """What the kernel's references are multiples of, exactly as it knows it."""
        return float(torch.tensor(self.query.scale, dtype=torch.float32)) if self.query.apart else 1.0

    def _merge(self, out: torch.Tensor) -> None:
        """Take in what the programs found, each relative to its own reference."""
        new = torch.maximum(self.start, out[:, :, 0].amax(0))
        kept = torch.exp2((self.start.double() - new.double()) * self.unit)
        factor = torch.exp2((out[:, :, 0].double() - new.double()) * self.unit)
        self.sums = self.sums * kept[..., None] + (out[:, :, 1:].double() * factor[:, :, None]).sum(0).transpose(1, 2)
        self.start = new

    def sound(self) -> bool:
        """False where a logit lay so far above its reference that a sum was too large for a number."""
        return bool(torch.isfinite(self.sums).all())

    def release(self) -> None:
        """Nothing more is to come: give up the queries."""
        self.queries = self.queries[:0].clone()

    def result(self, mean: torch.Tensor) -> Sums:
        """mean: float64 [C], in coordinates, what values are relative to."""
        sums = self.sums[:, : self.count]
        return Sums(self.start[:, : self.count].double() * self.unit, shifted(sums[..., 1:], self.centre, mean),
                    float(sums[..., 0].max()))

    def pixels(self, height: int, width: int) -> list[torch.Tensor]:
        """[[R, Q]] numbers (seed * H + row) * W + column of the pixels."""
        rows = torch.tensor(self.alone or list(self.along.queries))
        cols = torch.tensor(list(self.along.queries if self.alone else self.across.queries))
        place = cols * width + rows[:, None] if self.flipped else rows[:, None] * width + cols
        place = place if self.alone else place.T.reshape(1, -1)
        seeds = self.first + torch.arange(self.seeds)
        return [(place[..., None] + seeds * (height * width)).flatten(1)]


def shifted(sums: torch.Tensor, centre: tuple[int, ...], mean: torch.Tensor) -> torch.Tensor:
    """Sums [..., C + 1] of grey levels from the centre as those of coordinates from the mean."""
    shift = torch.tensor([c / UNIT - 1 for c in centre], dtype=torch.float64, device=sums.device) - mean
    return torch.cat([sums[..., :-1] / UNIT + shift * sums[..., -1:], sums[..., -1:]], -1)


def extend(images: torch.Tensor, reach: int, circular: bool, fill: tuple[int, ...] = ()) -> torch.Tensor:
    """[M, C, H, W] with `reach` more pixels on every side: those of the other side, or fill[C], or zeros."""
    height, width = images.shape[2:]
    if circular:
        rows, cols = (index(tuple(k % n for k in range(-reach, n + reach)), images.device) for n in (height, width))
        return images.index_select(2, rows).index_select(3, cols)
    out = images.new_zeros(*images.shape[:2], height + 2 * reach, width + 2 * reach)
    if fill:
        out += index(fill, images.device).to(images.dtype)[:, None, None]
    out[:, :, reach : reach + height, reach : reach + width] = images
    return out


class Corners:
    """All pixels of which both coordinates stand alone: each against the same place of every image.

    Plain PyTorch: box sums of squared differences, in float64 where ``Query`` finds float32 too coarse.
    """

    def __init__(self, rows: Axis, cols: Axis, x: torch.Tensor, level: Level, centre: tuple[int, ...], apart: bool,
                 first: int = 0):
        """x: float64 [S, C, H, W] in coordinates."""
        self.rows, self.cols, self.size, self.centre, self.first = rows.alone, cols.alone, rows.size, centre, first
        self.lines, self.inner = zip(*(self._near(axis, x.device) for axis in (rows, cols)))
        self.dtype = torch.float64 if apart else torch.float32
        self.x = self._crop(units(x, level.a, centre)).to(self.dtype)
        self.a, self.factor = level.a, -0.5 / level.variance * LOG2E / UNIT**2
        reference = torch.full((len(rows.alone) * len(cols.alone), len(x)), EMPTY, dtype=torch.float64, device=x.device)
        self.sums = Sums(reference, torch.zeros(*reference.shape, x.shape[1] + 1, dtype=torch.float64, device=x.device))

    @staticmethod
    def _near(axis: Axis, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Lines that windows of the axis' lone coordinates reach, and where these are among them."""
        near = range(-axis.reach, axis.reach + 1)
        lines = sorted({k + d for k in axis.alone for d in near if 0 <= k + d < axis.length})
        return index(tuple(lines), device), index(tuple(lines.index(k) for k in axis.alone), device)

    def _crop(self, images: torch.Tensor) -> torch.Tensor:
        return images.index_select(2, self.lines[0]).index_select(3, self.lines[1])

    def bytes(self) -> int:
        return self.dtype.itemsize * (4 * len(self.x) + self.x.shape[1]) * self.x[0, 0].numel()

    def add(self, images: torch.Tensor, budget: float, top: bool) -> None:
        """As of ``Fused``; nothing is left out."""
        part = self._crop(images).to(self.dtype) - index(self.centre, images.device)[:, None, None]
        values = part.index_select(2, self.inner[0]).index_select(3, self.inner[1]).permute(2, 3, 0, 1).flatten(0, 1)
        values = torch.cat([values, torch.ones_like(values[..., :1])], 2)  # [U, I, C + 1]
        # [S, I, h, w]
        squared = sum((self.x[:, None, c] - self.a * part[:, c]).square_() for c in range(part.shape[1]))
        for dim, window, pad in ((2, (self.size, 1), (self.size // 2, 0)), (3, (1, self.size), (0, self.size // 2))):
            squared = F.avg_pool2d(squared, window, 1, pad, divisor_override=1).index_select(dim, self.inner[dim - 2])
        logits = squared.permute(2, 3, 0, 1).flatten(0, 1).mul(self.factor)  # [U, S, I]
        reference = logits.amax(2)
        sums = torch.bmm(torch.exp2(logits.sub_(reference[..., None])).double(), values.double())
        self.sums = self.sums.merge(Sums(reference.double(), sums))

    def result(self, mean: torch.Tensor) -> Sums:
        """As of ``Fused``."""
        return Sums(self.sums.reference, shifted(self.sums.sums, self.centre, mean))

    def pixels(self, height: int, width: int) -> list[torch.Tensor]:
        """As of ``Fused``."""
        place = (torch.tensor(self.rows)[:, None] * width + torch.tensor(self.cols)).reshape(-1, 1)
        return [place + (self.first + torch.arange(len(self.x))) * (height * width)]


def run(bank: Bank, x: torch.Tensor, level: Level, rows: Axis, cols: Axis, mean: torch.Tensor, skip: float = 1e-6,
        memory: int = 1 << 30, choose: Callable[[int, int, int], Tiling] = tiling) -> tuple[list, list[list[Sums]]]:
    """The sums of every pixel over a bank for which ``usable`` holds, as ``posterior.Local`` gathers them.

    x: x_t float64 [S, C, H, W] in coordinates, on the device of the bank. mean: float64 [C], what values are to be
    relative to. Returns parts, of which ``pixels(height, width)`` tells the pixels, and for each a list of one Sums, in
    float64.
    """
    centre = tuple(int(min(max(round((float(m) + 1) * UNIT), 0), 255)) for m in bank.mean)
    pixels = rows.length * cols.length - len(rows.alone) * len(cols.alone)
    seed = 5 * x.shape[1] * rows.size**2 * max(pixels, 1)  # bytes of a seed's queries, about
    together = max(1, memory // 3 // seed)
    parts: list[Fused | Corners] = []
    for first in range(0, len(x), together):
        group = _parts(x[first : first + together], level, rows, cols, centre, choose, first)
        for part in group:
            _take(part, bank, skip, memory)
        for part in group:
            if isinstance(part, Fused):
                if not part.plan.top and not part.sound():
                    part.reset()
                    _take(part, bank, skip, memory, True)
                part.release()
        parts += group
    return parts, [[part.result(mean)] for part in parts]


def _parts(x, level, rows, cols, centre, choose, first) -> list[Fused | Corners]:
    """The largest first: the device is busy with it while the others are prepared."""
    parts: list[Fused | Corners] = []
    query = Query.of(x, level, rows.size, centre)
    jobs = (rows, cols, None, False), (rows, cols, rows.alone, False), (cols, rows, cols.alone, True)
    for these, others, alone, flipped in jobs:
        members = len(these.queries) if alone is None else len(alone)
        if members and len(others.queries):
            count = len(x) * len(others.queries) * (members if alone is None else 1)
            plan = choose(rows.size, len(centre), count)
            parts.append(Fused(these, others, alone or (), flipped, query, centre, plan, first))
    if rows.alone and cols.alone:
        parts.append(Corners(rows, cols, x, level, centre, query.apart, first))
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
