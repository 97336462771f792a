"""A share of the plan as launches: which keys are laid out, which queries go against them, where sums belong.

All of it are numbers that do not change from call to call, so they are worked out once; memory is handed in. Letters as
in ``kernel``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import triton

from ..plan import Axis
from . import layout, merging
from .kernel import INTERPRETED, WEIGHTS, Tiling, attend, cdiv, constant, launch, processors, strip_row

SPLITS, MERGED = 64, 64 if INTERPRETED else 16  # shares and queries that are merged at a time
SPREAD = 1 << 15 if INTERPRETED else 1 << 12  # elements of queries that are laid out at a time


@dataclass(frozen=True)
class Section:
    """Queries of a block against its keys; or of `lone` lines, each (place, step along, step across), each its own.

    along, across: axes of the windows; of lone lines, that of the lines and that of their places.
    """

    along: Axis
    across: Axis
    lone: tuple[tuple[int, int, int], ...] = ()

    def lines(self, places: range, device: torch.device) -> torch.Tensor:
        """int32 [R, 3] as in ``layout``; places: of the block across."""
        found = self.lone or ((places[0], self.across.length, 1),)
        return constant(tuple(n for p, *steps in found for n in (p - self.across.reach, *steps)), device)

    def pixels(self, device: torch.device) -> torch.Tensor:
        """int32 [R U], numbers row * W + column of the queries."""
        across = self.lone or tuple((p, self.across.length, 1) for p in self.across.queries)
        return constant(tuple(q * along + p * step for p, along, step in across for q in self.along.queries), device)


@lru_cache(maxsize=64)
def sections(rows: Axis, cols: Axis) -> tuple[Section, ...]:
    """The block first; rows and columns that stand alone together where they are alike: launches cost time."""
    width = cols.length
    lone_rows, lone_cols = tuple((r, 1, width) for r in rows.alone), tuple((c, width, 1) for c in cols.alone)
    edges = [(cols, rows, lone_rows), (rows, cols, lone_cols)]
    edges = [(rows, cols, lone_rows + lone_cols)] if rows == cols else edges
    block = [Section(rows, cols)] if len(rows.queries) and len(cols.queries) else []
    return *block, *(Section(*edge) for edge in edges if edge[2] and len(edge[0].queries))


def extreme(centre: tuple[int, ...]) -> int:
    """The largest |element| of a key."""
    return max(max(c, 255 - c) for c in centre)


@dataclass(frozen=True)
class Form:
    """What the numbers of a bank are. centre: of bytes, the levels that count as zero; of floats zeros. floats: such that no
    window is longer than ``kernel.LONGEST``."""

    centre: tuple[int, ...]
    floats: bool = False

    @property
    def planes(self) -> int:
        """Of keys."""
        return 2 if self.floats else 1

    @property
    def digits(self) -> int:
        """Numbers of 8 bits that make a value: three hold what a float32 does."""
        return 3 if self.floats else 1

    @property
    def values(self) -> int:
        """Numbers of a key that are summed, beside their count."""
        return len(self.centre) * self.digits

    @property
    def width(self) -> int:
        """The same and their count, as a product takes them."""
        return max(8, triton.next_power_of_2(self.values + 1))


@lru_cache(maxsize=256)
def table(
    size: tuple[int, int],
    centre: tuple[int, ...],
    row: int,
    width: int,
    folds: tuple[int, ...],
    device: torch.device,
) -> torch.Tensor:
    """int32 [4, `width`]: as in ``layout``, of windows of that size along and across; lines along are `row` apart. folds: the
    elements that with the next one hold |k|^2."""
    out = torch.zeros(4, width, dtype=torch.int32)
    out[2] = -1
    for d in range(size[0]):
        for c, zero in enumerate(centre):
            first = d * row + c * size[1]
            for e in range(size[1]):
                out[:, first + e] = torch.tensor([d, e, c, zero])
    for first in folds:
        out[3, first : first + 2] = torch.tensor([layout.FOLDED, 1])
    return out.to(device)


class Launches:
    """A section by ``kernel.attend``: `seeds` seeds in `digits` digits against images [C, H, W] of a form."""

    def __init__(
        self,
        section: Section,
        shape: tuple[int, int, int],
        form: Form,
        seeds: int,
        digits: int,
        apart: bool,
        plan: Tiling,
        device: torch.device,
    ):
        self.section, self.plan, self.form, self.device = section, plan, form, device
        self.seeds, self.digits, self.apart = seeds, digits, apart
        self.along, self.across = section.along, section.across
        high, size = self.along.size, self.across.size
        self.channels, self.values, self.plane = len(form.centre), form.values, math.prod(shape[1:])
        self.rows, self.lanes = len(section.lone) or 1, 1 if section.lone else len(self.across.keys)
        self.count = seeds * len(self.along.queries) * (1 if section.lone else len(self.across.queries))
        self.blocks = -(-self.count // plan.block_q)
        self.queries = self.blocks * plan.block_q
        used = self.channels * size
        if form.floats:  # in strips, each with its own share of |k|^2
            self.row, self.fold = strip_row(used + 2), True
            self.elements = self.row * (high - 1) + used + 2
            folds = tuple(d * self.row + used for d in range(high))
        else:
            self.row = strip_row(used) if plan.strip else used
            self.elements = self.row * (high - 1) + used
            self.fold = not plan.strip and used * high * extreme(form.centre) ** 2 < layout.FOLDED**2
            folds = (self.elements,) if self.fold else ()
            self.elements += 2 * self.fold
        self.steps = -(-self.elements // plan.step)
        self.width = plan.step * self.steps
        self.members = len(self.along.keys)
        self.strips = self.members + high - 1 if plan.strip else 0
        self.stored = self.row if plan.strip else self.width  # elements of a row of scratch memory
        self.query_lines, self.key_lines = (section.lines(p, device) for p in (self.across.queries, self.across.keys))
        self.pixels, self.zero = section.pixels(device), constant(form.centre, device)
        self.elements_of_query = table((high, size), form.centre, self.row, self.width, folds, device)
        self.depth, self.wide = 1 if plan.strip else high, triton.next_power_of_2(self.stored)
        self.elements_of_row = table((self.depth, size), form.centre, used, self.wide, (), device)
        self.lengths = self.along.length, self.across.length
        self.turns = {"ALONG": self.along.circular, "ACROSS": self.across.circular}
        self.memo: dict = {}

    @property
    def key_layout(self) -> tuple:
        """What keys depend on beside the images."""
        return self.section, self.form, self.stored, self.strips, self.fold, self.plan.dot

    def bytes(self) -> int:
        """Memory of the keys of an image."""
        rows, keys, *_ = self._sizes(1)
        values = 2 * self.form.width if self.plan.dot else 4 * self.channels + 4
        elements = 2 * self.form.planes * rows * self.stored
        return self.rows * (elements + (0 if self.fold else 4 * (rows + keys)) + keys * values)

    def _sizes(self, images: int) -> tuple[int, int, int, int]:
        """Of a row: rows of scratch memory, keys, elements (whole vectors of 16 bytes, as Triton has it), values."""
        keys, rows = (images * self.lanes * n for n in (self.members, self.strips or self.members))
        filled = 2 * keys + 512 if INTERPRETED else keys  # (there programs go on to the end of their share)
        return rows, keys, -(-(rows * self.stored + self.width) // 16) * 16, -(-filled // 256) * 256

    def room(self, images: int) -> tuple[torch.Tensor, ...]:
        """Memory for keys of so many images: elements, squares of rows, |k|^2, values."""
        rows, _, pitch, padded = self._sizes(images)
        values = (self.rows, padded, self.form.width) if self.plan.dot else (self.rows, self.channels + 1, padded)
        return (
            torch.empty(self.form.planes * self.rows * pitch, dtype=torch.float16, device=self.device),
            torch.empty(0 if self.fold else self.rows * rows, device=self.device),
            torch.empty(0 if self.fold else self.rows * padded, device=self.device),
            torch.empty(values, dtype=WEIGHTS[1] if self.plan.dot else torch.float32, device=self.device),
        )

    def fill(self, images: torch.Tensor, room: tuple[torch.Tensor, ...]) -> None:
        """Lay out the keys of images [I, C, H, W] of the form."""
        plan, first = self.plan, self.along.keys[0] - self.along.reach
        rows, keys, pitch, padded = self._sizes(len(images))
        scratch, squares, bias, values = room
        block = max(1, 4096 // self.wide)
        lines = self.strips or self.members
        place = self.lanes * lines, lines, self.channels * self.plane, self.plane, *self.lengths, first
        centre = self.channels * self.plane, self.plane, first, self.along.reach, self.across.reach
        if self.form.floats:
            launch(
                self.memo,
                layout.expand_floats,
                (cdiv(cdiv(pitch, self.stored), block), self.rows),
                (images, self.elements_of_row, self.key_lines, scratch, rows, pitch, self.rows * pitch, *place),
                ELEMENTS=self.channels * self.across.size,
                ROW=self.stored,
                WIDTH=self.wide,
                **self.turns,
                BLOCK=block,
            )
            launch(
                self.memo,
                layout.centres_of_floats,
                (cdiv(padded, 256), self.rows),
                (images, self.key_lines, values, keys, padded, self.lanes * self.members, self.members, *centre),
                CHANNELS=self.channels,
                DIGITS=self.form.digits,
                WIDTH=self.form.width,
                BLOCK=256,
            )
            return
        launch(
            self.memo,
            layout.expand,
            (cdiv(cdiv(pitch, self.stored), block), self.rows),
            (images, self.elements_of_row, self.key_lines, scratch, squares, rows, pitch, *place),
            8 if self.wide == 128 else 4,  # (a third of the instructions, there)
            ELEMENTS=self.depth * self.channels * self.across.size,
            ROW=self.stored,
            WIDTH=self.wide,
            FOLD=self.fold,
            **self.turns,
            BLOCK=block,
        )
        launch(
            self.memo,
            layout.centres,
            (cdiv(padded, 256), self.rows),
            (
                images,
                self.key_lines,
                self.zero,
                squares,
                values,
                bias,
                keys,
                padded,
                self.lanes * self.members,
                self.members,
                self.strips,
                *centre,
            ),
            CHANNELS=self.channels,
            SIZE=self.along.size,
            WIDTH=self.form.width if plan.dot else 0,
            FOLD=self.fold,
            BLOCK=256,
        )

    def query_shape(self) -> tuple[int, ...]:
        """Of float16 numbers."""
        return self.rows, self.blocks, self.digits, self.plan.block_q, self.width

    def spread(self, query, out: torch.Tensor) -> None:
        """Lay out the queries of a ``fused.Query``: by place across, place along, seed, the last block filled up."""
        plan = self.plan
        block = min(triton.next_power_of_2(self.width), SPREAD // plan.block_q)
        launch(
            self.memo,
            layout.spread,
            (self.blocks * cdiv(self.width, block), self.rows),
            (
                query.u,
                self.elements_of_query,
                self.query_lines,
                out,
                self.count,
                self.blocks,
                len(self.along.queries),
                self.seeds,
                self.channels * self.plane,
                self.plane,
                *self.lengths,
                self.along.queries[0] - self.along.reach,
                query.power,
                query.grid,
                query.ratio,
            ),
            8,
            SIZE=self.width,
            DIGITS=self.digits,
            GRID=self.apart,
            **self.turns,
            BLOCK_Q=plan.block_q,
            BLOCK=block,
        )

    def splits(self, images: int) -> tuple[int, int, int]:
        """Programs that share the keys, tiles of each, and the most programs of fewer images."""
        total = cdiv(images * self.lanes * self.members, self.plan.block_k)
        most = min(total, cdiv(processors(self.device) * self.plan.waves, self.blocks * self.rows))
        tiles = cdiv(total, most)
        return cdiv(total, tiles), tiles, most

    def attend(
        self,
        query,
        queries: torch.Tensor,
        images: torch.Tensor,
        room: tuple[torch.Tensor, ...],
        start: torch.Tensor,
        found: torch.Tensor,
        budget: float,
    ) -> None:
        """What the keys of images in `room` say to `queries`, left in found. budget: share of a sum to be left out."""
        plan, (scratch, _, bias, values) = self.plan, room
        _, keys, pitch, padded = self._sizes(len(images))
        splits, tiles, _ = self.splits(len(images))
        launch(
            self.memo,
            attend,
            (self.blocks, splits, self.rows),
            (
                queries,
                scratch,
                bias,
                values,
                start,
                found,
                self.queries,
                keys,
                padded,
                pitch,
                self.rows * pitch,
                tiles,
                query.scale,
                query.ratio,
                budget / splits,
            ),
            plan.warps,
            GROUP=self.members if plan.strip else 1,
            STRIP=self.strips * self.row if plan.strip else self.width,
            ROW=self.row,
            STEP=plan.step,
            STEPS=self.steps,
            DIGITS=self.digits,
            PLANES=self.form.planes,
            APART=self.apart,
            FOLD=self.fold,
            CHANNELS=self.values,
            WIDTH=self.form.width if plan.dot else 0,
            HALF=WEIGHTS[0],
            RESIDENT=plan.resident,
            SKIP=budget > 0,
            STAGES=plan.stages,
            TILES=tiles if INTERPRETED else 0,
            BLOCK_Q=plan.block_q,
            BLOCK_K=plan.block_k,
        )


def merge(
    part, found: torch.Tensor, start: torch.Tensor, state: torch.Tensor, splits: int, first: int, unit: float
) -> None:
    """What a part found, into state float64 [values + 3, pixels]. first: number of its first seed."""
    launch(
        part.memo,
        merging.merge,
        (cdiv(part.queries, MERGED), part.rows),
        (
            found,
            start,
            part.pixels,
            state,
            splits,
            part.queries,
            part.count,
            part.seeds,
            first,
            state.shape[1],
            part.plane,
            unit,
        ),
        MOST=cdiv(splits, SPLITS) if INTERPRETED else 0,
        PARTS=part.values + 3,
        SPLITS=SPLITS,
        BLOCK=MERGED,
    )
