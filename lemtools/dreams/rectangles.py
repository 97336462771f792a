"""Patches that are no squares: at every step, coordinate descent from the best square to the best rectangle.

Both machines are asked at the points of the network's own path and compared as in ``calibrate``. Of every step the squares
are tried first; then the rows of the best one grow or shrink, a candidate at a time, as long as that is better, then its
columns, and so on until neither helps.
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .. import progress
from ..denoise.contract import Denoiser
from ..denoise.samplers import ddim
from ..els.plan import said
from ..els.scales import levels, time
from ..signal import LemError
from .against import pixels
from .calibrate import AGREEMENT, counted, head, noise_of
from .resources import Resources
from .sample import start

Pair = tuple[int, int]


@dataclass
class Points:
    """Some seeds on the network's path: x [steps, S, ...item], eps_hat [steps, S, D] float64, noisiest first. machine: of a
    size, over the bank of these seeds."""

    x: list[torch.Tensor]
    eps: list[torch.Tensor]
    machine: Callable[[Pair], Denoiser]


@dataclass
class Choice:
    """Of a step: alpha_bar, size, its median score over seeds, seconds of a call of the machine a seed, sizes tried, and the
    best square with its score."""

    alpha_bar: float
    size: Pair
    score: float
    seconds: float
    tried: int
    square: Pair
    square_score: float


def path(
    network: Denoiser,
    machine: Callable[[Pair], Denoiser],
    item: Sequence[int],
    seeds: Sequence[int],
    steps: int,
    alive: torch.Tensor | None,
    resources: Resources,
) -> Iterator[Points]:
    """The seeds on the network's path, batch by batch."""
    for part in resources.batches(seeds):
        yield _points(network, machine, start(part, item, resources.device, resources.shown), steps, alive)


def _points(network: Denoiser, machine, x: torch.Tensor, steps: int, alive: torch.Tensor | None) -> Points:
    """The path that begins at x."""
    found = Points([], [], machine)

    def keep(step: int, alpha_bar: float, x: torch.Tensor, x0: torch.Tensor) -> None:
        found.x.append(x.clone())
        found.eps.append(pixels(noise_of(x, x0, alpha_bar), alive))

    ddim(network, x, levels(steps), callback=keep)
    return found


class Step:
    """A step of the path and the sizes that were tried at it."""

    def __init__(self, points: Sequence[Points], step: int, alpha_bar: float, by: str, alive: torch.Tensor | None):
        self.points, self.step, self.alpha_bar, self.by, self.alive = points, step, alpha_bar, by, alive
        self.tried: dict[Pair, tuple[float, float]] = {}  # score, seconds a seed

    def __call__(self, size: Pair) -> float:
        """How good a size is: the greater, the better."""
        if size not in self.tried:
            self.tried[size] = self._score(size)
        return self.tried[size][0] * (1 if self.by == "cosine" else -1)

    def _score(self, size: Pair) -> tuple[float, float]:
        every, seconds, count = [], 0.0, 0
        for part in self.points:
            x, machine = part.x[self.step], part.machine(size)
            begun = clock.perf_counter()
            answer = machine(x, self.alpha_bar)
            seconds, count = seconds + clock.perf_counter() - begun, count + len(x)
            eps = pixels(noise_of(x, answer, self.alpha_bar), self.alive)
            every.append(AGREEMENT[self.by](part.eps[self.step], eps).cpu().numpy())
        value = float(np.median(np.concatenate(every)))
        if not np.isfinite(value):
            raise LemError("the network's answers are not finite; train it further")
        return value, seconds / count


def descend(
    points: Sequence[Points],
    squares: Sequence[int],
    fits: Callable[[Pair], bool],
    steps: int,
    by: str,
    alive: torch.Tensor | None,
    resources: Resources,
) -> Iterator[Choice]:
    """The choice of every step, noisiest first. squares: candidates of either side. fits: whether the machine takes a size."""
    candidates = sorted(squares)
    for number in progress.steps(range(steps), "steps"):
        alpha_bar = float(levels(steps)[number])
        score = Step(points, number, alpha_bar, by, alive)
        square = best = max(((n, n) for n in candidates if fits((n, n))), key=score)
        before = None
        while best != before:
            before = best
            for axis in (0, 1):
                best = climbed(best, axis, candidates, fits, score)
        (value, seconds), tried = score.tried[best], len(score.tried)
        line = f"t {time(alpha_bar):.4g}, {said(best)}, the best of {tried} sizes, {seconds:.3g} s a seed"
        resources.say(f"step {number + 1} of {steps}: {line}")
        yield Choice(alpha_bar, best, value, seconds, tried, square, score.tried[square][0])


def climbed(
    size: Pair, axis: int, candidates: Sequence[int], fits: Callable[[Pair], bool], score: Callable[[Pair], float]
) -> Pair:
    """The size after steps along an axis, in the better direction, as long as they are better."""
    for way in (1, -1):
        begun = size
        while 0 <= (place := candidates.index(size[axis]) + way) < len(candidates):
            other = (candidates[place], size[1]) if axis == 0 else (size[0], candidates[place])
            if not fits(other) or score(other) <= score(size):
                break
            size = other
        if size != begun:
            break
    return size


def text(choices: Sequence[Choice], by: str, seeds: int, kamb: bool, comments: Sequence[str] = ()) -> str:
    """The file that --scales reads, of the choices of all steps."""
    tried, seconds = sum(c.tried for c in choices), sum(c.seconds for c in choices)
    what = f"patch sizes, rows x columns, low noise first, by {by}, medians over {counted(seeds)}"
    cost = f"{tried} sizes tried; one sample of these sizes: {seconds:.3g} s in the machine"
    lines = head([*comments, cost], kamb, what)
    lines.append("\t".join(["# size", "t", by, "seconds", "square", f"{by}[square]"]))
    for c in reversed(choices):
        cells = [said(c.size), f"{time(c.alpha_bar):.4g}", f"{c.score:.8f}", f"{c.seconds:.3g}", said(c.square)]
        lines.append("\t".join([*cells, f"{c.square_score:.8f}"]))
    return "\n".join(lines) + "\n"
