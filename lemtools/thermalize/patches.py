"""The corrector `local`: where stored patches like those of the previous state went, place by place.

What a place becomes in one step hangs on what is near it. So a large state is put together from the successors of stored
patches, each compared alone, as the local machines of lem-els do with noise (Kamb & Ganguli, arXiv 2412.20292; of time
series on lattices Parlitz & Merkwirth, Phys. Rev. Lett. 84, 2000): patches come back where a whole state never does.

A patch has three parts along every axis, margin, block and margin; the block's successor is answered. Blocks overlap by
a third and are blended. Axes are rings; states in one direction have a first axis of length 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import NamedTuple

import torch

from ..rng import generator
from .cells import Cells
from .correctors import FAR, RIDGES, TRIALS, Answer, Corrector, Draws, Previous, fitted, settled
from .states import Known, States, principal

LIMIT = 1 << 20  # patches that are kept of all stored ones
TRIED = 1 << 16  # of them, while the size of patches is chosen; and of those, too, that principal axes are found by
LEAST = 4096  # patches of a memory, however many memories there are
SIZES = (3, 6, 9, 12, 18, 24, 36, 48, 72)  # of patches, among which held-out states choose
WIDE = 1024  # values of such a patch at most
CHOICE = (32, 64, 128)  # neighbours, likewise
PLACES = 3072  # places of the held-out states that choose, but 2 of these or more
EDGE = 0.1  # weight of a patch's outermost places when patches are compared
TOGETHER = 512  # patches that are answered at once
PART = 1 << 14  # patches that are cut out at once


def local(
    known: Known, patch: int | None = None, neighbours: int | None = None, ridge: float | None = None
) -> Corrector:
    """Where patches like those of the previous state went: `Local`, its numbers chosen on held-out states where they are
    not given."""
    return Local(known, patch, neighbours, ridge)


class Local:
    """The next state by locally weighted linear regression, as of `Following`, patch by patch.

    patch: places of a patch along every axis; of an axis that is no longer than that it is the whole one. Where the
    symmetry translate holds along an axis, patches of all its places are one memory; else a block is compared with patches
    of its own place alone. Held-out states choose the size by the few patches of TRIED, then neighbours and ridge.
    """

    def __init__(self, known: Known, patch: int | None, neighbours: int | None, ridge: float | None):
        states = known.states
        sizes = [patch] if patch else sizes_for(states)
        trials = max(2, min(TRIALS, PLACES // math.prod(states.item[1:])))
        usual = neighbours or CHOICE[1], RIDGES[2] if ridge is None else ridge
        if len(sizes) > 1:
            tried = {size: Patches(states, size, TRIED) for size in sizes}
            advance = lambda x, size: tried[size].followed(x, min(usual[0], tried[size].least - 1), usual[1])
            sizes = [settled(known, advance, [(size,) for size in sizes], trials)[0][0]]
        self.memory = Patches(states, sizes[0], LIMIT)
        fewest = self.memory.least - 1
        counts = [neighbours] if neighbours else [k for k in CHOICE if k <= fewest] or [fewest]
        numbers = [(k, r) for k in counts for r in (RIDGES if ridge is None else (ridge,))]
        (self.neighbours, self.ridge), self.error = settled(known, self.memory.followed, numbers, trials)
        self.memory.far = FAR * self.memory.distance(known.held[:: max(len(known.held) // trials, 1)])

    def __call__(self, x: torch.Tensor, previous: Previous, level: torch.Tensor, generators: Draws) -> Answer:
        assert previous is not None  # (the catalogue says that it starts from there)
        return self.memory.followed(previous, self.neighbours, self.ridge), 1


def sizes_for(states: States) -> list[int]:
    """Of SIZES those that are shorter than the longest axis and have no more than WIDE values; else the shortest."""
    longest, (channels, *space) = max(states.item[1:]), states.item
    found = [w for w in SIZES if w < longest and channels * math.prod(min(w, n) for n in space) <= WIDE]
    return found or [min(SIZES[0], longest)]


class Axis(NamedTuple):
    """How patches of `size` lie on an axis of `length` places: a margin, a block and a margin, or all of it."""

    length: int
    size: int

    @property
    def margin(self) -> int:
        return 0 if self.size >= self.length else self.size // 3

    @property
    def block(self) -> int:
        return min(self.size, self.length) - 2 * self.margin

    @property
    def starts(self) -> torch.Tensor:
        """Where blocks begin: evenly, so that neighbours share a third of a block, or a little more."""
        if self.size >= self.length:
            return torch.zeros(1, dtype=torch.int64)
        count = -(-self.length // -(-2 * self.block // 3))
        return torch.arange(count) * self.length // count

    def patch(self, start: torch.Tensor) -> torch.Tensor:
        """[M, places]: the numbers of the places of patches whose blocks begin there [M]."""
        return (start[:, None] + torch.arange(-self.margin, self.block + self.margin)) % self.length

    def inner(self, start: torch.Tensor) -> torch.Tensor:
        """The same of the blocks alone."""
        return (start[:, None] + torch.arange(self.block)) % self.length

    @property
    def taper(self) -> torch.Tensor:
        """Weights of the places of a patch when it is compared: 1 in the block, falling to EDGE."""
        rise = torch.sin(torch.arange(1, self.margin + 1) / (self.margin + 1) * torch.pi / 2) ** 2
        rise = EDGE + (1 - EDGE) * rise
        return torch.cat([rise, torch.ones(self.block), rise.flip(0)])

    @property
    def blend(self) -> torch.Tensor:
        """Weights of the places of a block where several answer, before they are made to add up to 1."""
        return torch.sin((torch.arange(self.block, dtype=torch.float64) + 0.5) / self.block * torch.pi) ** 2


@dataclass
class Chart:
    """The patches of some places: numbers of their states [N], where their blocks begin [N] each way, their principal
    axes float64 [D, Q], and their cells along these."""

    state: torch.Tensor
    rows: torch.Tensor
    cols: torch.Tensor
    axes: torch.Tensor
    cells: Cells


class Patches:
    """Patches of stored states, `limit` at most, drawn evenly over steps, rows and places, and how blocks go on from them.

    size: places along every axis. far: see ``fitted``.
    """

    def __init__(self, states: States, size: int, limit: int):
        channels, *space = states.item
        self.states, self.size, self.far, self.limit = states, size, math.inf, limit
        self.rows, self.cols = (Axis(length, size) for length in ([1] * (2 - len(space)) + space))
        self.stored = states.x.reshape(len(states), channels, self.rows.length, self.cols.length)
        self.taper = (self.rows.taper[:, None] * self.cols.taper)[None].to(states.x)
        self.blend = self.rows.blend[:, None] * self.cols.blend
        self.groups = list(product(self._places(self.rows, -2), self._places(self.cols, -1)))
        total = torch.zeros(self.rows.length, self.cols.length, dtype=torch.float64)
        at = torch.cartesian_prod(self.rows.starts, self.cols.starts)
        where = self.rows.inner(at[:, 0])[:, :, None], self.cols.inner(at[:, 1])[:, None]
        self.total = total.index_put_(where, self.blend.expand(len(at), -1, -1), accumulate=True)

    def _places(self, axis: Axis, number: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """(where blocks begin that are compared together, and where those stored begin that they are compared with)."""
        if number in self.states.moves:
            return [(axis.starts, torch.arange(axis.length))]
        return [(start[None], start[None]) for start in axis.starts]

    @cached_property
    def charts(self) -> list[Chart]:
        """The memory of every group."""
        return [self._chart(rows[1], cols[1], len(self.groups)) for rows, cols in self.groups]

    @property
    def least(self) -> int:
        """Patches of the smallest chart."""
        return min(len(chart.cells) for chart in self.charts)

    def _chart(self, rows: torch.Tensor, cols: torch.Tensor, of: int) -> Chart:
        places = len(rows) * len(cols)
        total = len(self.states.followed) * places
        count = min(total, max(self.limit // of, LEAST))
        ends = torch.arange(count + 1) * total // count  # one of each of as many equal parts
        within = torch.from_numpy(generator(0, 0, 0, "patches").random(count))
        pick = ends[:-1] + (within * ends.diff()).long()
        state, place = self.states.followed[pick // places], pick % places
        row, col = rows[place // len(cols)], cols[place % len(cols)]
        some = slice(None, None, -(-count // TRIED))
        axes = principal(part for _, part in self._cut(state[some], row[some], col[some]))
        flat = torch.empty(count, axes.shape[1])
        for at, part in self._cut(state, row, col):
            flat[at] = (part.double() @ axes).float()
        return Chart(state, row, col, axes, Cells(flat))

    def _cut(self, state: torch.Tensor, row: torch.Tensor, col: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
        """Stored patches [., D], tapered, some at a time."""
        for first in range(0, len(state), PART):
            at = slice(first, first + PART)
            yield at, self._patches(self.stored, state[at], row[at], col[at])

    def _patches(self, x: torch.Tensor, state: torch.Tensor, row: torch.Tensor, col: torch.Tensor) -> torch.Tensor:
        """Of states x [N, C, H, W] the patches [M, D] whose blocks begin at those rows and columns."""
        rows, cols = self.rows.patch(row)[:, None, :, None], self.cols.patch(col)[:, None, None]
        channel = torch.arange(x.shape[1])[:, None, None]
        return (x[state[:, None, None, None], channel, rows, cols] * self.taper.to(x)).flatten(1)

    def _blocks(self, state: torch.Tensor, row: torch.Tensor, col: torch.Tensor) -> torch.Tensor:
        """Blocks [M, C h w] of stored states."""
        rows, cols = self.rows.inner(row)[:, None, :, None], self.cols.inner(col)[:, None, None]
        channel = torch.arange(self.stored.shape[1])[:, None, None]
        return self.stored[state[:, None, None, None], channel, rows, cols].flatten(1)

    def _queries(
        self, x: torch.Tensor
    ) -> Iterator[tuple[Chart, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]]:
        """The patches of states x [R, C, H, W], some at a time: (chart, patches [M, Q], row, and where its block begins)."""
        for (rows, cols), chart in zip(self.groups, self.charts):
            every = torch.cartesian_prod(torch.arange(len(x)), rows[0], cols[0])
            for some in every.split(TOGETHER):
                row, *start = some.unbind(1)
                yield chart, self._patches(x, row, *start) @ chart.axes, row, *start

    def followed(self, x: torch.Tensor, count: int, ridge: float) -> torch.Tensor:
        """The successors of x, float64 [R, D], by `count` neighbours of each patch."""
        x = x.reshape(len(x), *self.stored.shape[1:])
        out = torch.zeros_like(x)
        channel = torch.arange(x.shape[1])[:, None, None]
        for chart, z, row, *start in self._queries(x):
            number, distance, there = chart.cells.nearest(z, count + 1)
            near = number[:, :-1].flatten()
            goal = self._blocks(chart.state[near] + self.states.rows, chart.rows[near], chart.cols[near])
            goal = goal.double().reshape(len(z), count, -1)
            block = fitted(z, there, distance, goal, ridge, self.far)
            block = block.reshape(len(z), x.shape[1], *self.blend.shape) * self.blend
            rows, cols = self.rows.inner(start[0])[:, None, :, None], self.cols.inner(start[1])[:, None, None]
            out.index_put_((row[:, None, None, None], channel, rows, cols), block, accumulate=True)
        return (out / self.total).reshape(len(x), -1)

    def distance(self, x: torch.Tensor) -> float:
        """The farthest that a patch of states x, float64 [R, D], is from its nearest stored one."""
        x = x.reshape(len(x), *self.stored.shape[1:])
        return max(float(chart.cells.nearest(z, 1)[1].max()) for chart, z, *_ in self._queries(x)) ** 0.5
