"""The local machines in plain PyTorch, on any device: exact sums over all admissible patches, tile by tile.

    x0_hat(u) = sum_i w_i v_i,    w = softmax_i(-|q(u) - a k_i|^2 / 2 b^2)

q(u): the window around pixel u of x_t; k_i, v_i: window and centre pixel of the training patches that ``plan`` admits.
Of the squared distance only a q.k / b^2 - a^2 |k|^2 / 2 b^2 differs among patches. It comes from products of *strips*
of as many rows as a window has and `columns` columns, in which |k|^2 is one more element, summed over the strips of a
window along the diagonals of query and key column: windows in one product where they are small, and as many times fewer
operations as a window has columns where they are large (columns = 1). Where both coordinates of a pixel stand alone, its few distances are box sums of squared
differences. Nothing of the size of all pairs is ever in memory.

Letters: S seeds, C channels, P rows of a patch, I images of a tile, R rows whose queries share keys (1 for a block, of which
all rows do), N rows of a block, W columns of strips, K elements of a strip and 1, Q queries, T keys, U pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from .plan import Axis
from .sums import LOG2E, Sums

TILE = {"cpu": 1 << 20, "cuda": 1 << 26}  # pairs of a tile: fewer, and calls cost more than sums; what fills a GPU
GROUP = 16  # images that are unfolded together
PASS = 20  # a pass over the pairs costs as much as so many operations of a product
TINY = 1e-40  # a number that float32 holds with fewer digits only


@dataclass(frozen=True)
class Level:
    """Noise level of a call. The logit of a pair is gain q.k + bias |k|^2, in powers of two."""

    a: float
    variance: float

    @property
    def gain(self) -> float:
        return self.a / self.variance * LOG2E

    @property
    def bias(self) -> float:
        return -0.5 * self.a**2 / self.variance * LOG2E


@dataclass(frozen=True)
class Pairing:
    """Every column of a block against every column; of rows a block, or a run of rows each against itself (`alone`).

    flipped: rows and columns have changed places.
    """

    rows: Axis
    cols: Axis
    alone: range = range(0)
    flipped: bool = False


def runs(places: tuple[int, ...]) -> list[range]:
    """Neighbouring numbers as ranges."""
    breaks = [k for k in range(1, len(places)) if places[k] != places[k - 1] + 1]
    return [range(places[i], places[j - 1] + 1) for i, j in zip([0, *breaks], [*breaks, len(places)]) if i < j]


def pairings(rows: Axis, cols: Axis) -> list[Pairing]:
    """All pairs of which at least one coordinate belongs to a block."""
    edges = [
        Pairing(r, c, run, flipped)
        for r, c, flipped in ((rows, cols, False), (cols, rows, True))
        if len(c.queries)
        for run in runs(r.alone)
    ]
    return edges + ([Pairing(rows, cols)] if len(rows.queries) and len(cols.queries) else [])


def round_about(pairing: Pairing) -> bool:
    """Whether every column is a query and a key, and windows go round: so may their sums."""
    return pairing.cols.circular and len(pairing.cols.keys) == pairing.cols.length


def columns(pairing: Pairing, channels: int) -> int:
    """Columns that a product takes together: all of a window or one, whichever costs less."""
    size, high = pairing.cols.size, pairing.rows.size
    whole = 2 * (channels * high * size + 1)
    passes = size.bit_length() - 1 + size.bit_count() - 1
    beyond = 0 if round_about(pairing) else size - 1
    spread = (1 + beyond / len(pairing.cols.queries)) * (1 + beyond / len(pairing.cols.keys))
    return size if whole <= spread * (2 * (channels * high + 1) + PASS * passes) else 1


def extended(images: torch.Tensor, pairing: Pairing, of_keys: bool, round_about: bool) -> torch.Tensor:
    """Images [., ., rows, columns, ...] with what their windows see beyond the border; round_about: of rows alone."""
    for dim, axis in ((2, pairing.rows), (3, pairing.cols))[: 1 if round_about else 2]:
        reach, size = axis.reach, images.shape[dim]
        if axis.circular and reach and (not of_keys or len(axis.keys) == axis.length):
            images = torch.cat([images.narrow(dim, size - reach, reach), images, images.narrow(dim, 0, reach)], dim)
    if pairing.alone:  # the rows that the windows of the run hold, zeros beyond the border
        low, high = pairing.alone[0] - pairing.rows.reach, pairing.alone[-1] + pairing.rows.reach + 1
        size = images.shape[2]
        images = images.narrow(2, max(low, 0), min(high, size) - max(low, 0))
        images = F.pad(images, (0, 0) * (images.ndim - 3) + (max(-low, 0), max(high - size, 0)))
    return images


def sliding(x: torch.Tensor, dim: int, size: int) -> torch.Tensor:
    """Sums over `size` neighbours along a dimension, which gets shorter by size - 1; by doubling."""
    power, span, total, length = x, 1, None, 0
    while True:
        if size & 1:
            if total is None:
                total, length = power, span
            else:
                count = x.shape[dim] - length - span + 1
                total, length = total.narrow(dim, 0, count) + power.narrow(dim, length, count), length + span
        size >>= 1
        if not size:
            return total
        count = power.shape[dim] - span
        power, span = power.narrow(dim, 0, count) + power.narrow(dim, span, count), 2 * span


def diagonals(products: torch.Tensor, terms: int, lane: int, circular: bool = False) -> torch.Tensor:
    """Sums over `terms` neighbours along the diagonal of query column (dim 1) and key column (dim 3, `lane` elements
    each), by doubling: [R, W, Q, W * lane] -> [R, W - terms + 1, Q, (W - terms + 1) * lane]; circular: the same shape."""
    add = turned if circular else shifted
    power, span, total, length = products, 1, None, 0
    while True:
        if terms & 1:
            total, length = (power, span) if total is None else (add(total, power, length, lane), length + span)
        terms >>= 1
        if not terms:
            return total
        power, span = add(power, power, span, lane), 2 * span


def shifted(a: torch.Tensor, b: torch.Tensor, shift: int, lane: int) -> torch.Tensor:
    """a[., c, ., k] + b[., c + shift, ., k + shift], where both are there."""
    size = (a.shape[0], min(a.shape[1], b.shape[1] - shift), a.shape[2], min(a.shape[3], b.shape[3] - shift * lane))
    begin = b.storage_offset() + shift * (b.stride(1) + lane)  # (a view by its numbers costs less than by four slices)
    return a.as_strided(size, a.stride()) + b.as_strided(size, b.stride(), begin)


def turned(a: torch.Tensor, b: torch.Tensor, shift: int, lane: int) -> torch.Tensor:
    """The same where columns go round."""
    out, width = torch.empty_like(a), a.shape[1]
    parts = ((0, width - shift, shift), (width - shift, width, shift - width))  # (from, to, shift)
    for low, high, by in parts:
        for left, right, across in parts:
            left, right, across = left * lane, right * lane, across * lane
            there = b[:, low + by : high + by, :, left + across : right + across]
            torch.add(a[:, low:high, :, left:right], there, out=out[:, low:high, :, left:right])
    return out


class Tiles:
    """The tiles of a pairing over the images that are added; x: [S, C, H, W]."""

    def __init__(self, pairing: Pairing, x: torch.Tensor, level: Level, tile: int, track: bool):
        self.pairing, self.like, self.track = pairing, x, track
        self.seeds, self.channels = x.shape[:2]
        self.wide = columns(pairing, self.channels)
        self.terms = pairing.cols.size // self.wide
        self.turns = round_about(pairing) and self.terms > 1
        view = extended(x.transpose(2, 3) if pairing.flipped else x, pairing, False, self.turns)
        view = view.unfold(2, pairing.rows.size, 1).unfold(3, self.wide, 1)  # [S, C, rows, W, P, wide]
        query = view.permute(2, 3, 0, 1, 4, 5).flatten(3) * level.gain  # [rows, W, S, K - 1]
        query = torch.cat([query, torch.full_like(query[..., :1], level.bias)], 3)
        query = query[:, :, None] if pairing.alone else query.transpose(0, 1)[None]  # [R, W, N, S, K]
        query = query.flatten(2, 3)  # [R, W, N S, K]
        shared, self.across = query.shape[:2]
        keys = len(pairing.cols.keys) + (0 if self.turns else pairing.cols.size - self.wide)
        line = shared * self.across * keys  # pairs of a row of keys and a row of the queries of one seed
        self.lines = (
            1 if pairing.alone else max(1, min(len(pairing.rows.keys), tile // line))
        )  # rows of keys of a product
        self.together = 1  # images of a product: as many keys as queries make the quickest
        if self.lines == len(pairing.rows.keys) or pairing.alone:
            self.together = max(1, min(GROUP, tile // (line * self.lines), round(tile**0.5 / (keys * self.lines))))
        self.chunk = max(1, tile // (line * self.lines * self.together))
        self.queries = [q.flatten(1, 2) for q in query.split(self.chunk, 2)]

    def start(self) -> list[Sums]:
        outer = self.across if self.turns else self.across - self.terms + 1
        sizes = [(q.shape[0], q.shape[1] // self.across * outer) for q in self.queries]
        return [Sums.empty(*size, self.channels, self.like, self.track) for size in sizes]

    def add(self, sums: list[Sums], images: torch.Tensor, first: int, skip: float) -> None:
        """Take in images [M, C, H, W], of which the first has the number `first`."""
        whole = len(images) // self.together * self.together
        for part, begin, together in (
            (images[:whole], first, self.together),
            (images[whole:], first + whole, len(images) - whole),
        ):
            if len(part):
                self.add_groups(sums, part, begin, together, skip)

    def add_groups(self, sums: list[Sums], images: torch.Tensor, first: int, together: int, skip: float) -> None:
        """The same, `together` images a product."""
        pairing = self.pairing
        images = images.transpose(2, 3) if pairing.flipped else images
        images = images.unflatten(0, (-1, together)).permute(0, 2, 3, 4, 1).contiguous()  # [G, C, rows, columns, I]
        view = extended(images, pairing, True, self.turns)
        last = view.shape[2] - pairing.rows.size + 1
        for row in range(0, last, last if pairing.alone else self.lines):
            lines = last if pairing.alone else min(self.lines, last - row)
            self.add_lines(sums, view.narrow(2, row, lines + pairing.rows.size - 1), images, row, lines, first, skip)

    def add_lines(
        self, sums: list[Sums], view: torch.Tensor, images: torch.Tensor, row: int, lines: int, first: int, skip: float
    ) -> None:
        """The same for keys `row` ... `row + lines - 1` of the rows of keys; view: the lines of their windows."""
        pairing, together = self.pairing, images.shape[4]
        height, width = images.shape[3:1:-1] if pairing.flipped else images.shape[2:4]
        pixels = view.unfold(2, pairing.rows.size, 1).unfold(3, self.wide, 1)  # [G, C, rows, W, I, P, wide]
        squares = sliding(sliding(view.square().sum(1), 1, pairing.rows.size), 2, self.wide)  # [G, rows, W, I]
        groups, _, rows, across = pixels.shape[:4]
        lead = (groups, rows) if pairing.alone else (groups,)
        lanes = (across, together) if pairing.alone else (across, rows, together)
        keys = images.new_empty(*lead, self.queries[0].shape[2], *lanes)  # [G, R, K, W, N, I], of R and N the one
        parts = pixels.permute(0, 2, 1, 5, 6, 3, 4) if pairing.alone else pixels.permute(0, 1, 5, 6, 3, 2, 4)
        inner = keys.narrow(len(lead), 0, keys.shape[len(lead)] - 1)
        inner.unflatten(len(lead), (self.channels, pairing.rows.size, self.wide)).copy_(parts)
        keys.select(len(lead), -1).copy_(squares if pairing.alone else squares.transpose(1, 2))
        keys = keys.flatten(len(lead) + 1)
        keys = keys if pairing.alone else keys[:, None]  # [G, R, K, W N I]
        lane = keys.shape[3] // across
        values = self.centres(images, row, lines)
        values = torch.cat([values, torch.ones_like(values[:, :, :1])], 2)
        places = None
        if self.track:
            places = torch.arange(height * width, device=images.device).view(1, 1, height, width, 1)
            places = places.transpose(2, 3) if pairing.flipped else places
            places = self.centres(places, row, lines)[0, :, 0]  # [R, T of one image]
        for g in range(groups):
            numbers = None
            if self.track:
                image = torch.arange(first + g * together, first + (g + 1) * together, device=images.device)
                numbers = (places[..., None] + image * (height * width)).flatten(1)
            for queries, state in zip(self.queries, sums):
                logits = torch.bmm(queries, keys[g]).unflatten(1, (self.across, -1))
                logits = diagonals(logits, self.terms, lane, self.turns).flatten(1, 2)
                state.add(logits, values[g], skip, numbers)

    def centres(self, images: torch.Tensor, row: int, lines: int) -> torch.Tensor:
        """[G, R, C, T] centre pixels of the keys of images [G, C, rows, columns, I], in the order of the keys."""
        pairing = self.pairing
        rows = (pairing.alone or pairing.rows.keys)[row : row + lines]
        images = images.roll(-pairing.cols.reach, 3) if self.turns else images  # sums begin at a window's first column
        pixels = images[:, :, rows[0] : rows[-1] + 1, pairing.cols.keys[0] : pairing.cols.keys[-1] + 1]
        if pairing.alone:
            return pixels.permute(0, 2, 1, 3, 4).flatten(3)
        return pixels.permute(0, 1, 3, 2, 4).flatten(2)[:, None]

    def pixels(self, height: int, width: int) -> list[torch.Tensor]:
        """For every state, [R, Q] numbers (seed * H + row) * W + column of the pixels it is about."""
        pairing, cols = self.pairing, torch.tensor(list(self.pairing.cols.queries))
        cols = cols.roll(-pairing.cols.reach) if self.turns else cols
        rows = torch.tensor(list(self.pairing.alone or self.pairing.rows.queries))
        rows = rows[:, None, None] if pairing.alone else rows[None, None]
        place = cols[:, None] * width + rows if pairing.flipped else rows * width + cols[:, None]  # [R, columns, N]
        place = (place[..., None] + torch.arange(self.seeds) * (height * width)).flatten(2)
        return [part.flatten(1) for part in place.split(self.chunk, 2)]


class Alone:
    """A rectangle of pixels of which both coordinates stand alone: each against the same place of every image. reach: of
    a window, along rows and columns."""

    def __init__(self, rows: range, cols: range, reach: tuple[int, int], x: torch.Tensor, level: Level, track: bool):
        self.rows, self.cols, self.reach, self.level, self.track = rows, cols, reach, level, track
        self.crop = tuple(slice(max(r[0] - n, 0), r[-1] + n + 1) for r, n in zip((rows, cols), reach))
        self.inner = tuple(slice(r[0] - c.start, r[-1] - c.start + 1) for r, c in zip((rows, cols), self.crop))
        self.x = x[:, :, *self.crop]

    def start(self) -> list[Sums]:
        seeds, channels = self.x.shape[:2]
        return [Sums.empty(len(self.rows) * len(self.cols), seeds, channels, self.x, self.track)]

    def add(self, sums: list[Sums], images: torch.Tensor, first: int, skip: float) -> None:
        """As of ``Tiles``."""
        height, width = images.shape[2:]
        part = images[:, :, *self.crop]
        values = part[:, :, *self.inner].permute(2, 3, 1, 0).flatten(0, 1)  # [U, C, I]
        values = torch.cat([values, torch.ones_like(values[:, :1])], 1)
        squared = ((self.x[:, None] - self.level.a * part) ** 2).sum(2)  # [S, I, h, w]
        for dim, inner, reach in zip((2, 3), self.inner, self.reach):
            squared = box(squared, dim, reach)[(slice(None),) * dim + (inner,)]
        logits = squared.permute(2, 3, 0, 1).flatten(0, 1).mul(-0.5 / self.level.variance * LOG2E)
        numbers = None
        if self.track:
            image = torch.arange(first, first + len(images), device=images.device)
            place = self.pixels(height, width)[0][:, :1].to(images.device)  # of the first seed: within an image
            numbers = place + image * (height * width)
        sums[0].add(logits, values, skip, numbers)

    def pixels(self, height: int, width: int) -> list[torch.Tensor]:
        """As of ``Tiles``."""
        rows, cols = torch.tensor(list(self.rows)), torch.tensor(list(self.cols))
        place = (rows[:, None] * width + cols).reshape(-1, 1)
        return [place + torch.arange(len(self.x)) * (height * width)]


@contextmanager
def flushed() -> Iterator[None]:
    """In it this thread takes numbers below 1e-38 for zero: weights that small change no sum, and cost ten times as much as
    any other."""
    before = float(torch.tensor([TINY]) * 1.0) == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def box(x: torch.Tensor, dim: int, reach: int) -> torch.Tensor:
    """Sums over 2 reach + 1 neighbours along a dimension, zeros beyond the ends; no sum is made by subtraction."""
    length = x.shape[dim]
    out = x.clone()
    for shift in range(1, min(reach, length - 1) + 1):
        out.narrow(dim, 0, length - shift).add_(x.narrow(dim, shift, length - shift))
        out.narrow(dim, shift, length - shift).add_(x.narrow(dim, 0, length - shift))
    return out
