"""Patch sizes by whole samples: those with which what a machine dreams, and not its single steps, is most like the network's.

Sizes that are chosen step by step (``calibrate``, ``rectangles``) are asked at points of the network's path. A sampler of
the machine walks a path of its own, on which its errors add up, so the sizes that fit best step by step need not be those
that fit best in the end. Here they are judged in the end: by the mean over seeds of Pearson r of the machine's samples with
the network's, in as many steps.

A sample is dear, so sizes are shared by bands of steps: first one square for all, then band by band, noisiest first, rows
and columns by coordinate descent, as long as a sweep through the bands finds better ones. Where the noisier bands of a list
were walked before, its samples go on from there (``Walk``).
"""

from __future__ import annotations

import itertools
import time as clock
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from ..denoise.contract import Denoiser
from ..denoise.samplers import ddim
from ..els.plan import said
from .calibrate import counted, head
from .rectangles import Pair, climbed

ENDS = (0.25, 0.5, 0.75, 0.9, 1.0)  # of the bands, in time t of the cosine schedule: noise changes fastest at its end
SWEEPS = 3  # at most
MACHINES, STATES = 16, 256  # that are kept ready for lists of sizes to come: those of a few lists


@dataclass
class Choice:
    """sizes: one a step, low noise first. score: their mean r over the seeds. square, square_score: the best single one.
    tried: lists of sizes. seconds: of one sample with these sizes, from the first step to the last."""

    sizes: list[Pair]
    score: float
    square: Pair
    square_score: float
    tried: int
    seconds: float


def bands(steps: int) -> list[range]:
    """Steps that share a size, low noise first, numbered from 0; step i is at t = (i + 1) / steps."""
    ends = [0, *(min(steps, round(end * steps)) for end in ENDS)]
    return [range(a, b) for a, b in itertools.pairwise(ends) if b > a]


class Walk:
    """Samples of a machine from x at levels[0] on, for many lists of sizes. make: the machine of a size.

    A sampler without chance is at the same place after the same sizes: states at the ends of bands are kept, and a list that
    begins as an earlier one did goes on from the last that both share, bit for bit as if it had begun anew.
    """

    def __init__(self, make: Callable[[Pair], Denoiser], x: torch.Tensor, levels: np.ndarray):
        self.make, self.levels = lru_cache(MACHINES)(make), levels
        self.states: dict[tuple[Pair, ...], torch.Tensor] = {(): x}
        steps = len(levels) - 1
        self.ends = {steps - band.start for band in bands(steps)}

    def __call__(self, sizes: Sequence[Pair], anew: bool = False) -> torch.Tensor:
        """The samples. sizes: one a step, in the order of the levels. anew: without what was walked before."""
        sizes = tuple(sizes)
        done = 0 if anew else max(n for n in (0, *self.ends) if sizes[:n] in self.states)
        x = self.states[sizes[:done]]
        for end in range(done + 1, len(sizes) + 1):
            if end in self.ends or sizes[end : end + 1] != sizes[end - 1 : end]:
                x = ddim(self.make(sizes[end - 1]), x, self.levels[done : end + 1])
                done = end
                if end in self.ends:
                    self._keep(sizes[:end], x)
        return x

    def _keep(self, sizes: tuple[Pair, ...], x: torch.Tensor) -> None:
        if len(self.states) >= STATES:
            del self.states[next(key for key in self.states if key)]  # the oldest
        self.states[sizes] = x


class Score:
    """The mean r of lists of sizes, each tried once."""

    def __init__(self, ask: Callable[[tuple[Pair, ...]], np.ndarray], say: Callable[[str], None]):
        self.ask, self.say = ask, say
        self.tried: dict[tuple[Pair, ...], float] = {}

    def __call__(self, sizes: Sequence[Pair]) -> float:
        """How good they are: the greater, the better."""
        key = tuple(sizes)
        if key not in self.tried:
            begun = clock.perf_counter()
            every = self.ask(key)
            value = float(np.mean(every)) if np.isfinite(every).all() else -1.0  # a constant sample agrees with nothing
            self.tried[key] = value
            self.say(f"{shown(key)}: r {value:.4f}, in {clock.perf_counter() - begun:.3g} s")
        return self.tried[key]


def shown(sizes: Sequence[Pair]) -> str:
    """The sizes of the bands, low noise first."""
    return " ".join(said(sizes[band[0]]) for band in bands(len(sizes)))


def descend(
    ask: Callable[[tuple[Pair, ...]], np.ndarray],
    cost: Callable[[tuple[Pair, ...]], float],
    candidates: Sequence[int],
    fits: Callable[[Pair], bool],
    steps: int,
    rectangles: bool,
    say: Callable[[str], None] = lambda line: None,
) -> Choice:
    """The best sizes that the descent finds. ask: sizes, one a step, to r of every seed [S]. cost: to the seconds of one
    sample. candidates: of either side. rectangles: whether rows and columns may differ. fits: whether the machine takes a size."""
    score, sides = Score(ask, say), sorted(candidates)
    square = max(((n, n) for n in sides if fits((n, n))), key=lambda size: score([size] * steps))
    sizes = [square] * steps
    for _ in range(SWEEPS):
        before = list(sizes)
        for band in reversed(bands(steps)):
            sizes = _banded(sizes, band, sides, fits, score, rectangles)
        if sizes == before:
            break
    best, plain = score.tried[tuple(sizes)], score.tried[(square,) * steps]
    return Choice(sizes, best, square, plain, len(score.tried), cost(tuple(sizes)))


def _banded(
    sizes: list[Pair], band: range, sides: Sequence[int], fits: Callable[[Pair], bool], score: Score, rectangles: bool
) -> list[Pair]:
    """The sizes with a better one in a band, if there is one."""

    def put(size: Pair) -> list[Pair]:
        return [size if step in band else other for step, other in enumerate(sizes)]

    def of(size: Pair) -> float:
        return score(put(size))

    best = sizes[band[0]]
    squares = [(n, n) for n in sides if fits((n, n))]
    best = max([best, *squares], key=of)  # (the first of equals: what there is)
    for axis in (0, 1) if rectangles else ():
        best = climbed(best, axis, sides, fits, of)
    return put(best)


def text(found: Choice, seeds: int, kamb: bool, comments: Sequence[str] = ()) -> str:
    """The file that --scales reads."""
    cost = f"{found.tried} lists of sizes tried; one sample of these sizes: {found.seconds:.3g} s in the machine"
    best = f"r {found.score:.4f}, of one size for all steps {found.square_score:.4f} ({said(found.square)})"
    what = f"patch sizes, rows x columns, low noise first, by r of whole samples, means over {counted(seeds)}"
    lines = head([*comments, cost, best], kamb, what)
    steps = len(found.sizes)
    lines.append("# size\tt")
    lines += [f"{said(size)}\t{(step + 1) / steps:.4g}" for step, size in enumerate(found.sizes)]
    return "\n".join(lines) + "\n"
