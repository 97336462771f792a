"""Thoughts: dimensions of the residual stream that the head never reads, added to the input of the next position.

Of a vector [W] that the last block leaves, the first R are read, by the final norm and the head; the last C are thoughts. At
position t + 1 they are added to the last C of what enters the first block:

    x_{t+1} = e_{t+1} + [0, g norm(y_t[R:])],   y_t = blocks(x_0 .. x_t)_t,   x_0 = e_0

with e the embedded tokens. That is a recurrence over positions, of any depth in time (compare the feedback of Fan et al.
2020, arXiv 2002.09402, and Hutchins et al. 2022, arXiv 2203.07852). `one_by_one` computes it as it stands. `all_at_once`
iterates y^k = blocks(e + [0, g norm(shifted y^{k-1})]) K times from y^0 = blocks(e), every position of it at once: by induction
positions 0 .. k of y^k are those of the recurrence, later ones are not.

Shapes: N items, T positions, W width, C thoughts, R = W - C.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..catalogue.thoughts import CARRIES, WAYS, dims, spelled
from ..rng import generator
from .recurrence import recurrence, usable
from .transformer import Cache

GAIN = 2.0  # of the norm at first: a fresh network has thoughts that are alike by .9 to those of the position before; with 1 by .7
Plan = tuple[np.ndarray | None, np.ndarray | None]  # (sources [T, N], kept [T]), see catalogue.thoughts


class Blocks(Protocol):
    """What thoughts go through: nets.lm.Trunk."""

    depth: int
    context: int

    def run(
        self,
        x: torch.Tensor,
        first: int,
        last: int,
        caches: list[Cache] | None = None,
        places: torch.Tensor | None = None,
    ) -> torch.Tensor: ...


class Growing(Cache):
    """Keys and values that gradients pass through: they are joined, never overwritten."""

    def put(self, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.keys is not None:
            k, v = torch.cat([self.keys, k], 2), torch.cat([self.values, v], 2)
        self.keys, self.values, self.used = k, v, k.shape[2]
        return k, v


@dataclass
class Past:
    """What the next position needs of those before it. caches: of every pass, a cache a block, or None where no position
    comes after these; left: of every pass, what the last block left at the last position, [N, 1, W]; place: how many
    positions there were."""

    caches: list[list[Cache] | None]
    left: list[torch.Tensor | None] = field(default_factory=list)
    place: int = 0

    def __post_init__(self) -> None:
        self.left = [None] * len(self.caches)

    def take(self, rows: torch.Tensor) -> None:
        """Go on with these rows [M], any of them as often as wanted."""
        for cache in (cache for caches in self.caches for cache in caches or ()):
            cache.take(rows)
        self.left = [None if left is None else left[rows] for left in self.left]


class Thoughts(nn.Module):
    """width: W; share: of it that is thoughts, rounded as catalogue.thoughts.dims says; by: 'bptt:K' or 'passes:K', None where
    nothing is carried; carry: what arrives, of catalogue.thoughts.CARRIES. LemError for what these are not.

    The norm keeps what arrives at one size, whatever has accumulated: as it is, it grows with every position, tokens are lost
    beside it, and what was learnt fails at positions beyond those of the training (tests/benchmarks/bench_thoughts.py --norm).
    """

    def __init__(self, width: int, share: float, by: str | None, carry: str = "normal"):
        super().__init__()
        self.size = dims(width, share)
        self.readable = width - self.size
        row, self.number = spelled(CARRIES, carry, "--thoughts-carry")
        self.change, self.carries = row.load(), row.carries
        self.way, self.count, self.exact = all_at_once, 0, False
        if self.carries:
            way, self.count = spelled(WAYS, by, "--thoughts-by")
            self.way, self.exact = way.load(), way.exact
        self.broken: Callable[[torch.Tensor, int], torch.Tensor] | None = None  # see breaking.py
        self.norm = nn.RMSNorm(self.size) if self.carries else nn.Identity()
        if self.carries:
            nn.init.constant_(self.norm.weight, GAIN)

    @property
    def passes(self) -> int:
        """How often a position goes through the blocks."""
        return 1 if self.exact else self.count + 1

    @property
    def crosses(self) -> bool:
        """Whether they come from other items of a batch."""
        return self.change(self.number, range(1, 2), 2)[0] is not None

    def past(self, make=None, depth: int = 0) -> Past:
        """For positions that begin; make: what makes a cache, for `depth` blocks of every pass."""
        return Past([[make() for _ in range(depth)] if make else None for _ in range(self.passes)])

    def forward(
        self, trunk: Blocks, e: torch.Tensor, past: Past | None = None, places: torch.Tensor | None = None
    ) -> torch.Tensor:
        """What the last block leaves, [N, T, W], of embedded tokens e [N, T, W], which follow those of `past`; without one they begin,
        and none is to follow. places: as of Trunk.run; thoughts know nothing of them."""
        return self.way(self, trunk, e.to(torch.promote_types(e.dtype, torch.float32)), past, places)

    def entering(self, trunk: Blocks, e: torch.Tensor) -> torch.Tensor:
        """What enters the first block, thoughts added, [N, T, W]; with passes, in the last one."""
        if not self.carries:
            return e
        if self.exact:
            return self.joined(e, None, self(trunk, e), 0)
        y = trunk.run(e, 0, trunk.depth)
        for _ in range(self.count - 1):
            y = trunk.run(self.joined(e, None, y, 0), 0, trunk.depth)
        return self.joined(e, None, y, 0)

    def joined(self, e: torch.Tensor, left: torch.Tensor | None, y: torch.Tensor, place: int) -> torch.Tensor:
        """e [N, T, W] at `place` and behind it, with the thoughts of y [N, T, W], each of the position before, and of `left`, what
        the position before the first one left."""
        before = y[:, :-1] if left is None else torch.cat([left, y[:, :-1]], 1)
        come = self.carried(before, place + e.shape[1] - before.shape[1])
        return e + F.pad(come, (0, 0, e.shape[1] - before.shape[1], 0))

    def carried(self, y: torch.Tensor, place: int) -> torch.Tensor:
        """What y [N, T, W] adds to the positions behind it, of which the first is `place`: [N, T, W], 0 where it is read."""
        came = y[..., self.readable :]
        if self.broken is not None:
            came = self.broken(came, place - 1)
        came = self.norm(came)
        places = range(place, place + y.shape[1])
        which, kept = arriving(self.change, self.number, places, len(y), y.device)
        if which is not None:
            came = came[which, torch.arange(y.shape[1], device=y.device)]
        if kept is not None:
            came = came * kept
        return F.pad(came, (self.readable, 0))


def one_by_one(
    thoughts: Thoughts, trunk: Blocks, e: torch.Tensor, past: Past | None, places: torch.Tensor | None
) -> torch.Tensor:
    """The recurrence. Gradients of thoughts are cut at every K-th position; those of attention pass everywhere, as in any
    transformer."""
    if past is None and thoughts.broken is None and usable(thoughts, e):
        return recurrence(thoughts, trunk, e, places)
    out, past = [], past or thoughts.past(lambda: Growing(trunk.context), trunk.depth)
    for t, x in enumerate(e.split(1, 1)):
        if past.left[0] is not None:
            before = past.left[0] if past.place % thoughts.count else past.left[0].detach()
            x = x + thoughts.carried(before, past.place)
        past.left[0] = trunk.run(x, 0, trunk.depth, past.caches[0], None if places is None else places[:, t : t + 1])
        out.append(past.left[0])
        past.place += 1
    return torch.cat(out, 1)


def all_at_once(
    thoughts: Thoughts, trunk: Blocks, e: torch.Tensor, past: Past | None, places: torch.Tensor | None
) -> torch.Tensor:
    """The passes."""
    y, past = None, past or thoughts.past()
    for k, caches in enumerate(past.caches):
        x = e if k == 0 else thoughts.joined(e, past.left[k - 1], y, past.place)
        if k:
            past.left[k - 1] = y[:, -1:]
        y = trunk.run(x, 0, trunk.depth, caches, places)
    past.place += e.shape[1]
    return y


@torch.compiler.disable
@functools.lru_cache(1 << 10)
def arriving(change, number: int | None, places: range, items: int, device: torch.device):
    """What a carry says, on a device: the items that thoughts come from [N, T], and bool [T, 1], whether they arrive; or None."""
    sources, kept = change(number, places, items)
    with torch.inference_mode(False):  # it is kept for calls to come, of which some learn
        which = None if sources is None else torch.from_numpy(sources.T.copy()).to(device)
        return which, None if kept is None else torch.from_numpy(kept).to(device)[:, None]


def normal(number: int | None, places: range, items: int) -> Plan:
    """Its own of the position before."""
    return None, None


def shuffled(number: int | None, places: range, items: int) -> Plan:
    """Those of another item: all go round by as many items, drawn for the place alone. One item has but its own."""
    if items < 2 or not len(places):
        return None, None
    return (np.arange(items) + np.array([_shift(place, items) for place in places])[:, None]) % items, None


@functools.lru_cache(1 << 16)
def _shift(place: int, items: int) -> int:
    return int(generator(0, place, 0, "thoughts").integers(1, items))


def reset(number: int, places: range, items: int) -> Plan:
    """Nothing at places 0, N, 2 N ..."""
    return None, np.array(places) % number != 0


def none(number: int | None, places: range, items: int) -> Plan:
    """Nothing anywhere."""
    return None, np.zeros(len(places), bool)
