"""Patch sizes by whole samples: those with which what a machine dreams, and not its single steps, is most like the network's.

Sizes that are chosen step by step (``calibrate``, ``rectangles``) are asked at points of the network's path. A sampler of
the machine walks a path of its own, on which its errors add up, so the sizes that fit best step by step need not be those
that fit best in the end. Here they are judged in the end: by the mean over seeds of Pearson r of the machine's samples with
the network's, in as many steps.

A sample is dear, so sizes are shared by bands of steps: first one square for all, then band by band, noisiest first, rows
and columns by coordinate descent, as long as a sweep through the bands finds better ones.
"""

from __future__ import annotations

import itertools
import time as clock
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..els.plan import said
from .calibrate import head
from .rectangles import Pair, climbed

ENDS = (0.25, 0.5, 0.75, 0.9, 1.0)  # of the bands, in time t of the cosine schedule: noise changes fastest at its end
SWEEPS = 3  # at most


@dataclass
class Choice:
    """sizes: one a step, low noise first. score: their mean r over the seeds. square, square_score: the best single one.
    tried: lists of sizes. seconds: of one sample with these sizes."""

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


class Score:
    """The mean r of lists of sizes, each tried once."""

    def __init__(self, ask: Callable[[tuple[Pair, ...]], np.ndarray], say: Callable[[str], None]):
        self.ask, self.say = ask, say
        self.tried: dict[tuple[Pair, ...], tuple[float, float]] = {}  # score, seconds a seed

    def __call__(self, sizes: Sequence[Pair]) -> float:
        """How good they are: the greater, the better."""
        key = tuple(sizes)
        if key not in self.tried:
            begun = clock.perf_counter()
            every = self.ask(key)
            value = float(np.mean(every)) if np.isfinite(every).all() else -1.0  # a constant sample agrees with nothing
            self.tried[key] = value, (clock.perf_counter() - begun) / len(every)
            self.say(f"{shown(key)}: r {value:.4f}, {self.tried[key][1]:.3g} s a seed")
        return self.tried[key][0]


def shown(sizes: Sequence[Pair]) -> str:
    """The sizes of the bands, low noise first."""
    return " ".join(said(sizes[band[0]]) for band in bands(len(sizes)))


def descend(
    ask: Callable[[tuple[Pair, ...]], np.ndarray],
    candidates: Sequence[int],
    fits: Callable[[Pair], bool],
    steps: int,
    rectangles: bool,
    say: Callable[[str], None] = lambda line: None,
) -> Choice:
    """The best sizes that the descent finds. ask: sizes, one a step, to r of every seed [S]. candidates: of either side.
    rectangles: whether rows and columns may differ. fits: whether the machine takes a size."""
    score, sides = Score(ask, say), sorted(candidates)
    square = max(((n, n) for n in sides if fits((n, n))), key=lambda size: score([size] * steps))
    sizes = [square] * steps
    for _ in range(SWEEPS):
        before = list(sizes)
        for band in reversed(bands(steps)):
            sizes = _banded(sizes, band, sides, fits, score, rectangles)
        if sizes == before:
            break
    value, seconds = score.tried[tuple(sizes)]
    return Choice(sizes, value, square, score.tried[(square,) * steps][0], len(score.tried), seconds)


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
    what = f"patch sizes, rows x columns, low noise first, by r of whole samples, means over {seeds} seeds"
    lines = head([*comments, cost, best], kamb, what)
    steps = len(found.sizes)
    lines.append("# size\tt")
    lines += [f"{said(size)}\t{(step + 1) / steps:.4g}" for step, size in enumerate(found.sizes)]
    return "\n".join(lines) + "\n"
