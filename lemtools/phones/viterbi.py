"""The best path of a given sequence of segments through emissions (Viterbi 1967), with least durations and optional segments.

Shapes: N items, T frames, S symbols of the emissions, L segments of a sequence, J states: a segment of least duration d is a
chain of d states, of which the last may be stayed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch

from ..signal import LemError

STAY, STEP, SKIP = range(3)


class Segments(NamedTuple):
    """What an item says, in order: segments of a symbol each.

    symbols: columns of the emissions. least: frames that each lasts at least, from 1. optional: which may be left out; no two
    in a row are. costs: what is taken from a path's score where it enters each; () for nothing.
    """

    symbols: Sequence[int]
    least: Sequence[int]
    optional: Sequence[bool]
    costs: Sequence[float] = ()


class Path(NamedTuple):
    """What was found. frames int64 [N, T]: which segment a frame belongs to, -1 behind the end of an item. scores [N]: the sum of
    the emissions along the path, in their own type."""

    frames: torch.Tensor
    scores: torch.Tensor

    def spans(self, item: int, segments: int) -> torch.Tensor:
        """int64 [L, 2]: the first frame of each segment and the first one behind it; a segment left out begins and ends where
        the next one begins."""
        there = self.frames[item][self.frames[item] >= 0]
        ends = torch.searchsorted(there, torch.arange(segments, device=there.device), right=True)
        return torch.stack([torch.cat([ends.new_zeros(1), ends[:-1]]), ends], 1)


def ctc(labels: Sequence[int], blank: int = 0) -> Segments:
    """Labels with a blank before, between and behind them (Graves et al. 2006); only between two equal ones it must be there."""
    symbols, optional = [blank], [True]
    for at, label in enumerate(labels):
        symbols += [label, blank]
        optional += [False, at + 1 == len(labels) or labels[at + 1] != label]
    return Segments(symbols, [1] * len(symbols), optional)


class _States(NamedTuple):
    """Segments of all items as chains of states, padded to J [N, J]: the symbol that a state emits, its segment, whether it may
    be stayed in, and how far before it the state lies from which an optional segment is left out (0: none is), and what it costs to enter."""

    symbol: torch.Tensor
    segment: torch.Tensor
    stays: torch.Tensor
    skip: torch.Tensor
    starts: torch.Tensor
    ends: torch.Tensor
    costs: torch.Tensor


def _chains(items: Sequence[Segments], device: torch.device, dtype: torch.dtype, open_end: bool) -> _States:
    rows = []
    for number, (symbols, least, optional, costs) in enumerate(items):
        if not len(symbols) == len(least) == len(optional) or not symbols:
            raise LemError(f"item {number}: no segments, or not a least duration and a choice for each")
        if min(least) < 1 or any(a and b for a, b in pairwise(optional)):
            raise LemError(f"item {number}: a segment shorter than a frame, or two optional ones in a row")
        count, length = torch.as_tensor(least), len(symbols)
        segment = torch.repeat_interleave(torch.arange(length), count)
        place = torch.arange(len(segment)) - (count.cumsum(0) - count)[segment]
        free = torch.as_tensor(optional)
        before = torch.cat([torch.zeros(1, dtype=torch.bool), free[:-1]])  # the segment before may be left out
        over = torch.cat([torch.zeros(1, dtype=torch.long), count[:-1]]) + 1
        skip = torch.where((place == 0) & before[segment] & (segment > 1), over[segment], 0)
        starts = (place == 0) & ((segment == 0) | (segment == 1) & before[segment])
        last = place == count[segment] - 1
        ends = last & ((segment == length - 1) | (segment == length - 2) & bool(optional[-1])) | open_end
        cost = torch.where(place == 0, torch.as_tensor(costs or [0.0] * length, dtype=dtype)[segment], 0)
        rows.append((torch.as_tensor(symbols)[segment], segment, last, skip, starts, ends, cost))
    pad = torch.nn.utils.rnn.pad_sequence
    return _States(*(pad(list(column), batch_first=True).to(device) for column in zip(*rows)))


def viterbi(
    emissions: torch.Tensor,
    items: Sequence[Segments],
    lengths: Sequence[int] | torch.Tensor | None = None,
    open_end: bool = False,
) -> Path:
    """The path of the largest sum of emissions, less what its segments cost, exactly.

    emissions: [N, T, S], logarithms (or any scores), float32 or float64; the sums are of the same type. lengths: frames of each
    item, T where none are given; what lies behind them does not count. Of paths that are equally good the one that enters its last
    segments earliest is taken (on a CPU), and one that ends before a last optional segment rather than in it.

    Raises LemError for an item with fewer frames than its segments need.
    """
    n, most, _ = emissions.shape
    states = _chains(items, emissions.device, emissions.dtype, open_end)
    size = torch.as_tensor([most] * n if lengths is None else lengths, device=emissions.device)
    low = torch.finfo(emissions.dtype).min / 4
    arange = torch.arange(states.symbol.shape[1], device=emissions.device).expand_as(states.symbol)
    skipped = (arange - states.skip).clamp_min(0)
    score = torch.where(states.starts, emissions[:, 0].gather(1, states.symbol) - states.costs, low)
    back = torch.zeros((most, *states.symbol.shape), dtype=torch.uint8, device=emissions.device)
    shortest = int(size.min())
    for t in range(1, most):
        stay = torch.where(states.stays, score, low)
        step = torch.nn.functional.pad(score[:, :-1], (1, 0), value=low)
        skip = torch.where(states.skip > 0, score.gather(1, skipped), low)
        best, move = torch.stack([stay, step - states.costs, skip - states.costs]).max(0)
        best = (best + emissions[:, t].gather(1, states.symbol)).clamp_min(low)
        if t >= shortest:
            going = (t < size)[:, None]
            best, move = torch.where(going, best, score), torch.where(going, move, STAY)
        score, back[t] = best, move
    final = torch.where(states.ends, score, low)
    scores, state = final.max(1)
    if (bad := (scores <= low / 2).nonzero()).numel():
        item = int(bad[0])
        need = sum(d for d, free in zip(items[item].least, items[item].optional) if not free)
        raise LemError(f"item {item}: {int(size[item])} frames are too few for what it says ({need} at least)")
    return Path(_traced(back, state, states, size), scores)


def _traced(back: torch.Tensor, state: torch.Tensor, states: _States, size: torch.Tensor) -> torch.Tensor:
    """int64 [N, T]: the segments of the frames, from the moves [T, N, J] and the last states [N]. (Step by step numpy is faster.)"""
    moves, at, skip, segment = (x.cpu().numpy() for x in (back, state, states.skip, states.segment))
    rows = np.arange(len(at))
    found = np.empty((len(at), len(moves)), np.int64)
    for t in range(len(moves) - 1, -1, -1):
        found[:, t] = segment[rows, at]
        move = moves[t, rows, at]
        at = at - np.where(move == SKIP, skip[rows, at], move == STEP)
    beyond = np.arange(len(moves)) >= size.cpu().numpy()[:, None]
    return torch.from_numpy(np.where(beyond, -1, found)).to(back.device)
