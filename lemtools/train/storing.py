"""A trained language model's embedding, up-projection and head at few bits, and what a text then costs: the search for the
best at each size. Networks of all arms go through the same search, so that none has float32 where another has two bits.

Every part is kept in each of the WAYS by itself, and the text measured; of each part the lower convex hull of bits and loss is
kept. Were losses to add up, the best choice for all parts at once would go along these hulls, the steepest step of any
part first (Shoham & Gersho 1988). The choices on that way are then tried as they are, on the text that chooses; which of them is best at a
size is decided there, and its loss is that of another text.

Stored bits are those of packed codes, scales and codebooks at 16 bits a number; of codes that were drawn and never learnt, those of the
seed. The trunk, which all arms have alike, is not
among them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from ..codes import packed_size
from ..nets import build
from ..nets.model import Model
from ..nets.packed import Packed
from ..signal import LemError
from ..vq.residual import RVQ
from . import tables
from .corpus import Corpus, Windows

SEED = 64  # bits of the seed that codes are drawn by
NUMBER = 16  # bits of a scale, of a number in a codebook, and of one that is kept as it is
AT_A_TIME = 16  # windows that are measured


class Way(NamedTuple):
    """How a matrix is kept. quantizer: 'float16', 'lloyd-max', 'trellis', 'rvq', or 'drawn': as the seed drew it, whatever was learnt
    since; bits: of a number, of rvq of a code.
    columns: whether its columns have the scales, and are the sequences of a trellis, in place of its rows. stages: of rvq."""

    quantizer: str
    bits: int = NUMBER
    columns: bool = False
    stages: int = 0

    def __str__(self) -> str:
        if self.stages:
            return f"rvq {self.stages} x {self.bits}"
        bits = f" {self.bits}{' by columns' if self.columns else ''}" if 0 < self.bits < NUMBER else ""
        return self.quantizer + bits


def ways(
    scalar: Iterable[int] = range(1, 9), trellis: Iterable[int] = (), stages: Iterable[int] = ()
) -> tuple[Way, ...]:
    """Single numbers at `scalar` bits and along a trellis at `trellis` bits, both by rows and by columns; as many codes of 16
    and of 256 a row as `stages` says; 16 bits a number; and none, what was drawn."""
    found = [Way("lloyd-max", bits, columns) for bits in scalar for columns in (False, True)]
    found += [Way("trellis", bits, columns) for bits in trellis for columns in (False, True)]
    found += [Way("rvq", bits, False, count) for bits in (4, 8) for count in stages]
    return (*found, Way("float16"), Way("drawn", 0))


WAYS = ways(trellis=(1, 2, 3, 4), stages=(1, 2, 4, 8))


def kept(matrix: np.ndarray, way: Way, device: str = "cpu") -> tuple[np.ndarray, int] | None:
    """(what a float32 matrix [N, D] comes back as, the bits that it is stored in); None where the way is not for it."""
    count, dims = matrix.shape
    if way.quantizer == "drawn":
        return np.zeros_like(matrix), 0
    if way.quantizer == "float16":
        return matrix.astype(np.float16).astype(np.float32), NUMBER * matrix.size
    if way.quantizer == "rvq":
        return _summed(matrix, way, device)
    if way.columns:
        found = kept(np.ascontiguousarray(matrix.T), way._replace(columns=False), device)
        return None if found is None else (np.ascontiguousarray(found[0].T), found[1])
    if way.quantizer == "trellis" and dims < 2:
        return None
    found, scale = tables.quantise(matrix, way.quantizer, way.bits, device)
    return tables.restored(found, scale, way.quantizer, way.bits), 8 * packed_size(
        matrix.size, way.bits
    ) + NUMBER * count


def _summed(matrix: np.ndarray, way: Way, device: str) -> tuple[np.ndarray, int] | None:
    """By a residual quantiser, its codebooks in whichever of their two forms is smaller: of vectors, or of coordinates with the
    directions of these."""
    count, dims = matrix.shape
    codes = 1 << way.bits
    if count < 4 * codes or not matrix.any():
        return None
    rvq = RVQ.fit(matrix, stages=way.stages, codes=codes, device=device)
    books, directions = way.stages * codes, len(rvq.frame.basis)
    whole, by_directions = books * dims, directions * (books + dims) + dims
    if whole <= by_directions:
        sums, origin, basis = tables.books(rvq), 0.0, None
    else:
        sums, origin, basis = (x.half().float().cpu() for x in (rvq.codebooks[0], rvq.frame.mean, rvq.frame.basis))
    found = sum(
        book[code] for book, code in zip(sums, torch.from_numpy(rvq.encode(matrix).astype(np.int64)).T, strict=True)
    )
    found = (found if basis is None else found @ basis) + origin
    size = 8 * packed_size(count * way.stages, way.bits) + NUMBER * min(whole, by_directions)
    return found.numpy(), size


class Part:
    """Some tensors of a network that are kept in one way: matrices, and NUMBER bits for each other number.

    start: what the matrices were drawn as, where that follows from a seed. Of one that is nearer to it than to 0 the difference is
    kept, and the seed: else what learning costs at few bits would be what it costs to store noise.
    """

    def __init__(self, name: str, tensors: Sequence[torch.Tensor], fixed: int = 0):
        self.name, self.fixed = name, fixed + NUMBER * sum(t.numel() for t in tensors if t.ndim != 2)
        self.matrices = [t for t in tensors if t.ndim == 2]
        self.whole = [t.detach().clone() for t in self.matrices]
        self.start: list[torch.Tensor] | None = None
        self.bits: dict[Way, int] = {}
        self.made: dict[Way, list[torch.Tensor]] = {}

    def make(self, choices: Sequence[Way], device: str) -> None:
        """Keep it in every way that is for it."""
        whole = [t.float().cpu() for t in self.whole]
        start = [torch.zeros_like(t) for t in whole] if self.start is None else [t.float().cpu() for t in self.start]
        near = [bool((t - s).norm() < t.norm()) for t, s in zip(whole, start, strict=True)]
        for way in choices:
            drawn = way.quantizer == "drawn"
            if drawn and self.start is None:
                continue
            bases = [s if drawn or n else torch.zeros_like(s) for s, n in zip(start, near, strict=True)]
            found = [kept((t - b).numpy(), way, device) for t, b in zip(whole, bases, strict=True)]
            if all(each is not None for each in found):
                self.made[way] = [torch.from_numpy(each[0]) + b for each, b in zip(found, bases, strict=True)]
                self.bits[way] = self.fixed + sum(each[1] for each in found) + (SEED if drawn or any(near) else 0)

    @torch.no_grad()
    def take(self, way: Way | None) -> None:
        """Put what it comes back as into the network; None: what was there."""
        for tensor, value in zip(self.matrices, self.whole if way is None else self.made[way], strict=True):
            tensor.copy_(value)


def parts(net: Any) -> list[Part]:
    """Embedding, up-projection and head of a network of lem-train lm, those that there are. A table that is kept as codes stays as
    it is, and so do codes that follow from the seed: of these that is stored."""
    enter, kept_as = net.enter, net.enter.weight
    if isinstance(kept_as, Packed):
        sizes = ((8 if t.dtype == torch.uint8 else NUMBER) * t.numel() for t in kept_as.buffers())
        found = [Part("embedding", [], sum(sizes))]
    elif enter.seeded:
        found = [Part("embedding", [], SEED)]
    else:
        found = [Part("embedding", [kept_as])]
    if enter.up is not None:
        found.append(Part("up-projection", [*enter.up.parameters(), *enter.up.buffers()]))
    if isinstance(net.head, nn.Module):
        found.append(Part("head", [*net.head.parameters()]))
    return found


def drawn(model: Model) -> dict[str, list[torch.Tensor]]:
    """Matrices of every part as the seed of a model's record drew them; none where it has no seed."""
    if "seed" not in model.meta:
        return {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(model.meta["seed"])
        net = build(model.meta["net"])
    return {part.name: part.whole for part in parts(net)}


@dataclass(frozen=True)
class Point:
    """bits: stored. learnt: bits a byte of the text that chooses, by which points are compared. loss: those of the text that measures; each:
    the bits of every window of it [N]. chosen: the way of each part, '' of one that is fixed. low, high: whether every part has its
    fewest, its most bits: an end of the search."""

    bits: int
    learnt: float
    loss: float
    chosen: dict[str, str]
    low: bool = False
    high: bool = False
    each: np.ndarray | None = field(default=None, compare=False, repr=False)


@torch.no_grad()
def costs(net: Any, windows: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(bits, bytes) [N] of windows [N, T + 1]."""
    parts = [(net.rate(some).double().sum(1), net.sizes(some).double().sum(1)) for some in windows.split(AT_A_TIME)]
    nats, sizes = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
    return nats / math.log(2), sizes


def cost(net: Any, windows: torch.Tensor) -> float:
    """Bits a byte (base, token) of windows [N, T + 1]."""
    bits, sizes = costs(net, windows)
    return float(bits.sum() / sizes.sum())


def search(
    model: Model,
    choosing: torch.Tensor,
    measuring: torch.Tensor,
    choices: Sequence[Way] | Mapping[str, Sequence[Way]] = WAYS,
) -> Iterator[Point]:
    """Points along the way from the fewest bits to the most, which `choosing` chose, with what both texts say of them; windows int64
    [N, T + 1] on the network's device. choices: for all parts, or {name of a part: its own}. The network is afterwards as it
    was."""
    net, device = model.net, str(measuring.device)
    every, starts = parts(net), drawn(model)
    for part in every:
        part.start = starts.get(part.name)
        mine = choices.get(part.name, ()) if isinstance(choices, Mapping) else choices
        part.make(mine if part.matrices else (), device)
    open_ = [part for part in every if part.made]
    hulls = {
        part.name: hull({way: (part.bits[way], _alone(net, part, way, choosing)) for way in part.made})
        for part in open_
    }
    fixed = sum(part.fixed for part in every if not part.made)
    for chosen in along(hulls):
        for part in open_:
            part.take(chosen[part.name])
        learnt, (each, sizes) = cost(net, choosing), costs(net, measuring)
        bits = fixed + sum(part.bits[chosen[part.name]] for part in open_)
        low, high = (
            all(part.bits[chosen[part.name]] == end(part.bits.values()) for part in open_) for end in (min, max)
        )
        for part in open_:
            part.take(None)
        names = {part.name: str(chosen.get(part.name, "")) for part in every}
        yield Point(bits, learnt, float(each.sum() / sizes.sum()), names, low, high, each)


def _alone(net: Any, part: Part, way: Way, windows: torch.Tensor) -> float:
    part.take(way)
    try:
        return cost(net, windows)
    finally:
        part.take(None)


def hull(found: dict[Way, tuple[float, float]]) -> list[tuple[Way, float, float]]:
    """(way, bits, loss) on the lower convex hull of all, by bits, as far as the least loss."""
    line: list[tuple[Way, float, float]] = []
    for way, (bits, loss) in sorted(found.items(), key=lambda item: item[1]):
        if line and loss >= line[-1][2]:
            continue
        while len(line) > 1 and _slope(line[-2], line[-1]) >= _slope(line[-1], (way, bits, loss)):
            line.pop()
        line.append((way, bits, loss))
    return line


def _slope(one: tuple[Way, float, float], two: tuple[Way, float, float]) -> float:
    return (two[2] - one[2]) / (two[1] - one[1])


def along(hulls: dict[str, list[tuple[Way, float, float]]]) -> Iterator[dict[str, Way]]:
    """Choices for all parts, from the fewest bits on, the steepest step of any part next."""
    chosen = {name: line[0][0] for name, line in hulls.items()}
    yield dict(chosen)
    steps = [(_slope(*pair), pair[1][1], name, pair[1][0]) for name, line in hulls.items() for pair in pairwise(line)]
    for _, _, name, way in sorted(steps, key=lambda step: step[:2]):
        chosen[name] = way
        yield dict(chosen)


def envelope(points: Iterable[Point]) -> list[Point]:
    """Those of which none is as good with fewer bits by the text that chooses, by bits. (By the text that measures, the arm with most
    points would be the luckiest.)"""
    found: list[Point] = []
    for point in sorted(points, key=lambda p: (p.bits, p.learnt)):
        if not found or point.learnt < found[-1].learnt:
            found.append(point)
    return found


def within(points: Iterable[Point], bits: float) -> Point | None:
    """The best by the text that chooses that is stored in so many bits; None where all take more."""
    return min((p for p in points if p.bits <= bits), key=lambda p: p.learnt, default=None)


def ends(line: Sequence[Point]) -> str:
    """Which ends of the search an envelope ends at, in words; '' for none."""
    found = [f"fewest bits, {line[0].bits}"] if line[0].low else []
    return " and ".join(found + ([f"most bits, {line[-1].bits}"] if line[-1].high else []))


def windows(model: Model, text: Corpus, count: int | None = None, device: str = "cpu") -> torch.Tensor:
    """int64 [N, T + 1]: windows of a text side by side, T the model's context, of which each predicts all but its first token;
    `count` of them, evenly over the text, or all. LemError for another vocabulary, and for a text that is too short."""
    net = model.net
    if text.vocabulary != net.vocabulary:
        raise LemError(
            f"a text of {text.vocabulary} tokens, where the model has {net.vocabulary}; give the codec of its training"
        )
    found = Windows(text.tokens, net.context + 1, net.context)
    if not len(found):
        raise LemError(f"a text of {len(text.tokens)} tokens, where a window takes {net.context + 1}")
    some = np.unique(np.linspace(0, len(found) - 1, min(len(found), count or len(found))).astype(int))
    return torch.from_numpy(np.stack([found[i] for i in some]).astype(np.int64)).to(device)
