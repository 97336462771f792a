"""The local machines on a CUDA device: what ``layout`` and ``kernel`` take, and when.

The block of the plan runs on the caller's stream; edges and corners, which are small and wait mostly, on another beside
it. Keys depend on the bank and the patch size alone: those of the last call are kept, where they fit the memory.

A bank's numbers are taken in one of two forms: images of 8 bits, grey or colour, as they are stored; all else as floats,
coordinates less their mean in units in which no window of the bank is longer than LONGEST.

Letters as in ``kernel``: S seeds, C channels, P patch size, I images of a chunk, R rows that have keys of their own, U
queries of a row and seed, Q = U S, T keys of a row, K elements of a key.
"""

from __future__ import annotations

import math
import struct
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch.nn import functional as F

from ...signal import LemError
from ..bank import Bank
from ..local import Level
from ..plan import NOT_FINITE, Axis
from ..sums import EMPTY, LOG2E, Sums
from .corners import Corners
from .kernel import INTERPRETED, LONGEST, Tiling, tiling
from .launches import Form, Launches, extreme, merge, sections

UNIT = 127.5  # a grey level of uint8, in coordinates, is 1 / UNIT
EXACT = 2.0**24  # float32 holds every integer below
WORTH = 1 << 27  # pairs; PyTorch takes 5 to 10 ms for so many
CHANNELS = 16  # more, and a product takes values of 64 columns
ROUNDING = 1e-4  # rounding of logits by less than this is taken as it is


def usable(bank: Bank, device: torch.device, rows: Axis, cols: Axis, seeds: int = 1) -> bool:
    """Whether the kernel takes this bank and plan, and is worth it: on a CUDA device or in Triton's interpreter, items of at
    most CHANNELS channels whose windows are few enough for it to number, and floats in so many pairs that what it saves is
    soon more than the seconds in which it is compiled for each size of patches."""
    fits = 4 * math.prod(bank.item) * rows.size * cols.size < 1 << 31 and bank.item[0] <= CHANNELS
    pairs = seeds * len(bank) * math.prod(len(a.queries) * len(a.keys) + len(a.alone) for a in (rows, cols))
    return (device.type == "cuda" or INTERPRETED) and fits and (stored(bank) or pairs >= WORTH)


def stored(bank: Bank) -> bool:
    """Whether the bank is taken as it is stored, in bytes."""
    return "uint8" in str(bank.images.dtype) and bank.item[0] in (1, 3) and not bank.states


@dataclass(frozen=True)
class Query:
    """x_t in the bank's units from the centre over a, and how it is cut into digits: float16 numbers that sum to u `power`.

    Where the error of a logit by rounding, estimated for keys of middling contrast, is below ROUNDING, no more is done.
    `grid`: where `apart` (see the module ``kernel``), what the first digit is a multiple of.
    """

    u: torch.Tensor  # float64 [S, C, H, W]
    power: float
    scale: float  # logits are scale (u power . k + ratio |k|^2), in powers of two
    digits: int  # 2 or 4, of which the last is zero: products take powers of two
    grid: float
    apart: bool
    unit: float = 1.0  # what the kernel's references are multiples of, exactly as it knows it

    @classmethod
    def of_floats(cls, x: torch.Tensor, level: Level, rows: Axis, cols: Axis, mean: torch.Tensor, unit: float) -> Query:
        """x: float64 [S, C, H, W] in coordinates; mean [C, 1, 1] and unit: of the bank's numbers."""
        blind = level.a**2 / level.variance < 1e-12
        u = torch.zeros_like(x) if blind else x.sub(mean, alpha=level.a).div_(level.a * unit)
        length = longest(x if blind else u, rows, cols)
        if not math.isfinite(length):
            raise LemError(NOT_FINITE)
        if blind:  # every key weighs the same
            return cls(u, 1.0, 0.0, 2, 1.0, True)
        power = 2.0 ** -max(0, math.ceil(math.log2(max(length, 1.0) / LONGEST)))
        scale = level.a**2 / level.variance * LOG2E * unit**2 / power
        return cls(u, power, scale, 2, 1.0, True, struct.unpack("f", struct.pack("f", scale))[0])

    @classmethod
    def of(cls, x: torch.Tensor, level: Level, window: int, centre: tuple[int, ...]) -> Query:
        """x: float64 [S, C, H, W] in coordinates; window: its pixels; centre: the grey levels that are zero."""
        elements = x.shape[1] * window
        if level.a**2 / level.variance < 1e-12:  # every key weighs the same
            if not bool(torch.isfinite(x).all()):
                raise LemError(NOT_FINITE)
            return cls(torch.zeros_like(x), 1.0, 0.0, 2, 0.0, False)
        u = x.sub(coordinates(centre, x.device), alpha=level.a).mul_(UNIT / level.a)
        most, norm = torch.stack([torch.linalg.vector_norm(u, n) for n in (torch.inf, 2)]).tolist()
        if not math.isfinite(norm):
            raise LemError(NOT_FINITE)
        power = 2.0 ** min(10 - math.frexp(max(most, 1.0))[1], 4)  # (beyond, float16 holds no 2048 ratio)
        most, rms = most * power, norm / u.numel() ** 0.5 * power
        scale = level.a**2 / level.variance * LOG2E / UNIT**2 / power
        typical = math.sqrt(elements) * UNIT / 2  # |k|
        product = scale * math.sqrt(elements) * rms * typical  # u.k
        apart = product * (elements / 8 + 1) / EXACT > ROUNDING  # cut off after every 16 elements
        grid = 2.0 ** math.ceil(math.log2(elements * most * extreme(centre) / EXACT)) if apart else 0.0
        left = max(grid / 4, rms / 4096) / 4096  # what two digits leave
        unit = struct.unpack("f", struct.pack("f", scale))[0] if apart else 1.0
        return cls(u, power, scale, 4 if scale * left * typical > ROUNDING else 2, grid, apart, unit)

    @property
    def ratio(self) -> float:
        return -self.power / 2


@lru_cache(maxsize=256)
def coordinates(centre: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """float64 [C, 1, 1] of grey levels."""
    return torch.tensor(centre, dtype=torch.float64, device=device)[:, None, None] / UNIT - 1


def longest(x: torch.Tensor, rows: Axis, cols: Axis) -> float:
    """Of [I, C, H, W] the largest norm of a window; not finite where an element is not."""
    squares = x.square().sum(1, keepdim=True)
    for along, ends in ((cols, (cols.reach, cols.reach, 0, 0)), (rows, (0, 0, rows.reach, rows.reach))):
        squares = F.pad(squares, ends, mode="circular" if along.circular and along.reach else "constant")
    return (float(F.avg_pool2d(squares, (rows.size, cols.size), 1).max()) * rows.size * cols.size) ** 0.5


# Units of banks of floats, by the windows that they are for.
_units: weakref.WeakKeyDictionary[Bank, dict] = weakref.WeakKeyDictionary()


def unit(bank: Bank, rows: Axis, cols: Axis, mean: torch.Tensor) -> float:
    """In coordinates: that in which no window is longer than LONGEST."""
    known = _units.setdefault(bank, {})
    windows = rows.size, cols.size, rows.circular, cols.circular
    if windows not in known:
        count = max(1, (1 << 24) // math.prod(bank.item))
        tiles = bank.tiles(count, torch.float32, mean.device)
        most = max([longest(tile.sub_(mean), rows, cols) for _, tile in tiles], default=0.0)
        known[windows] = most * (1 + 1e-6) / LONGEST or 1.0
    return known[windows]


@lru_cache(maxsize=256)
def launches(
    rows: Axis,
    cols: Axis,
    shape: tuple[int, int, int],
    form: Form,
    seeds: int,
    digits: int,
    apart: bool,
    choose: Callable[..., Tiling],
    device: torch.device,
) -> list[Launches | Corners]:
    """All of a plan, the largest first."""
    found: list[Launches | Corners] = []
    for section in sections(rows, cols):
        members = 1 if section.lone else len(section.across.queries)
        queries = seeds * len(section.along.queries) * members
        plan = choose((section.along.size, section.across.size), len(form.centre), queries, digits, form.planes)
        found.append(Launches(section, shape, form, seeds, digits, apart, plan, device))
    if rows.alone and cols.alone:
        found.append(Corners(rows, cols, seeds, form, apart, device))
    return found


@lru_cache
def stream(device: torch.device) -> torch.cuda.Stream:
    """Beside the caller's, and before it: what runs there is small."""
    return torch.cuda.Stream(device, priority=-1)


# Keys of the last call; of a bank that is gone, none.
_kept: weakref.WeakKeyDictionary[Bank, tuple] = weakref.WeakKeyDictionary()


def forget() -> None:
    """Give up the memory of keys that were kept."""
    _kept.clear()


def run(
    bank: Bank,
    x: torch.Tensor,
    level: Level,
    rows: Axis,
    cols: Axis,
    skip: float = 1e-6,
    memory: int = 1 << 30,
    choose: Callable[..., Tiling] = tiling,
) -> tuple[Sums, torch.Tensor]:
    """The sums of every pixel over a bank for which ``usable`` holds.

    x: x_t float64 [S, C, H, W] in coordinates, on the device of the bank. Returns Sums [1, S H W] in float64, and what
    their values, coordinates, are less, [C, 1, 1].
    """
    channels, x = bank.item[0], x.contiguous()
    if stored(bank):
        form = Form(tuple(int(min(max(round((float(m) + 1) * UNIT), 0), 255)) for m in bank.mean))
        mean, step = coordinates(form.centre, x.device), 1 / UNIT
        query = Query.of(x, level, rows.size * cols.size, form.centre)
    else:
        form, mean = Form((0,) * channels, True), torch.from_numpy(bank.mean)[:, None, None].to(x.device)
        step = unit(bank, rows, cols, mean)
        query = Query.of_floats(x, level, rows, cols, mean, step)
    pixels = rows.length * cols.length - len(rows.alone) * len(cols.alone)
    state = torch.zeros(form.values + 3, len(x) * rows.length * cols.length, dtype=torch.float64, device=x.device)
    seed = 3 * query.digits * (channels * rows.size * cols.size + 16) * max(pixels, 1)  # bytes of its queries, about
    together = max(1, memory // 3 // seed)
    if not len(bank):
        state[0] = EMPTY
    with torch.cuda.device(x.device) if x.device.type == "cuda" else nullcontext():  # where Triton launches
        for first in range(0, len(x) if len(bank) else 0, together):
            u = query.u[first : first + together]
            group = launches(rows, cols, bank.item, form, len(u), query.digits, query.apart, choose, x.device)
            _pass(bank, replace(query, u=u), group, state, first, skip, memory, None if stored(bank) else (mean, step))
    values = state[2:-1].view(form.digits, channels, -1).sum(0).mul_(step)
    return Sums(state[:1], torch.cat([values, state[-1:]]).T[None], state[1:2]), mean


def _pass(
    bank: Bank,
    query: Query,
    group: list[Launches | Corners],
    state: torch.Tensor,
    first: int,
    skip: float,
    memory: int,
    floats: tuple[torch.Tensor, float] | None,
) -> None:
    """The whole bank against some seeds, the first of number `first`, in chunks that keep within the memory. floats: mean
    and unit of the bank's numbers, where it is not taken as stored."""
    device, blocks = query.u.device, [part for part in group if isinstance(part, Launches)]
    corner = sum(part.bytes() for part in group if isinstance(part, Corners))
    queries = [part.query_shape() for part in blocks]
    found = [part.rows * part.queries * (part.values + 3) * part.splits(len(bank))[2] for part in group]
    most = max(1, min(len(bank), memory // 16 // corner if corner else len(bank)))
    scratch = most * corner * max(1, min(len(query.u), memory // 16 // max(1, most * corner)))
    left = memory - memory // 32 - sum(2 * math.prod(q) for q in queries) - 4 * sum(found) - scratch
    item = 8 * math.prod(bank.item) if floats else 0  # (and what makes them)
    most = max(1, min(most, left // max(1, item + sum(part.bytes() for part in blocks))))
    most = min(most, max(1, (1 << 31) // max([1, *(part.bytes() for part in blocks)])))

    main = torch.cuda.current_stream(device) if device.type == "cuda" else None
    side = stream(device) if main and len(group) > 1 else None
    depends = memory, main and main.cuda_stream, *(part.key_layout for part in blocks)
    kept = _kept.pop(bank, None)
    forget()
    if kept and (kept[0] != depends or most < len(bank)):
        kept = None  # (its memory is needed)
    rooms = kept[1] if kept else [part.room(most) for part in blocks]
    laid = [torch.empty(shape, dtype=torch.float16, device=device) for shape in queries]
    starts = torch.full((sum(part.rows * part.queries for part in group),), EMPTY, device=device)
    starts = starts.split([part.rows * part.queries for part in group])
    found = [torch.empty(n, device=device) for n in found]
    box = torch.empty(-(-scratch // 8), dtype=torch.float64, device=device)
    share = skip / -(-len(bank) // most)
    for begin in range(0, len(bank), most):
        if floats:
            mean, unit = floats
            images = bank.part(begin, begin + most, torch.float32, device).sub_(mean).div_(unit).contiguous()
        else:
            images = bank.images[begin : begin + most]
            images = (images if isinstance(images, torch.Tensor) else torch.from_numpy(images)).contiguous()
        if side:
            side.wait_stream(main)
            images.record_stream(side)
        for k, part in enumerate(group):
            with torch.cuda.stream(side) if side and k else nullcontext():
                if isinstance(part, Corners):
                    part.attend(query.u, images, found[k], box, query.scale * query.ratio)
                else:
                    if not begin:
                        part.spread(query, laid[k])
                    if not kept:
                        part.fill(images, rooms[k])
                    part.attend(query, laid[k], images, rooms[k], starts[k], found[k], share)
                unit = 1.0 if isinstance(part, Corners) else query.unit
                merge(part, found[k], starts[k], state, part.splits(len(images))[0], first, unit)
    if side:
        main.wait_stream(side)  # before any of the memory goes back
    if most >= len(bank):
        _kept[bank] = depends, rooms
