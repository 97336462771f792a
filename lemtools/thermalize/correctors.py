"""The correctors of catalogue.correctors, one function each that makes it ready.

States are float64 [R, D] in coordinates. What is computed for a row does not depend on the others but by the rounding of
matrix products.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ..catalogue import LemError
from ..denoise.samplers import ddim, noise
from .states import Chart, Known, Rows

Draws = Sequence[np.random.Generator]
Previous = torch.Tensor | None
Answer = tuple[torch.Tensor, int]
Corrector = Callable[[torch.Tensor, Previous, torch.Tensor, Draws], Answer]
CHOICE = (16, 32, 64)  # neighbours, and ridges, among which held-out states choose
ANALOGS = 8  # stored states of which `analog` draws one
RIDGES = (1e-1, 1e-2, 1e-3, 1e-5)
TRIALS, HORIZON = (
    64,
    8,
)  # held-out states that choose, and after how many steps of their own: one step flatters a small ridge
FAR = 2.0  # times the distance of the farthest held-out state: from there on a regression is no longer believed


def following(known: Known, neighbours: int | None = None, ridge: float | None = None) -> Corrector:
    """Where states like the previous one went: `Following`, its numbers chosen on held-out states where they are not given."""
    return Following(known, neighbours, ridge)


class Following:
    """The next state by locally weighted linear regression of stored successors on stored states (Cleveland & Devlin 1988;
    for chaotic series Farmer & Sidorowich 1987), along the principal axes.

    A neighbour at distance d weighs (1 - (d / h)^3)^3, h the distance of the first one that is left out. The ridge is what
    keeps a closed loop from growing along directions that the neighbours do not fill: it and their number are chosen by the
    error after HORIZON steps from held-out states, each the answer to the one before. Beyond FAR times the distances of
    held-out states the weighted mean of the successors is the answer.
    """

    def __init__(self, known: Known, neighbours: int | None, ridge: float | None):
        self.states, self.far = known.states, torch.inf
        self.states.least(True, neighbours and neighbours + 1)
        most = len(self.states.followed) - 1
        counts = [neighbours] if neighbours else [k for k in CHOICE if k <= most] or [max(most, 1)]
        numbers = [(k, r) for k in counts for r in (RIDGES if ridge is None else (ridge,))]
        (self.neighbours, self.ridge), self.error = settled(known, self.regressed, numbers)
        distances = []
        for at, chart, shift in self.states.charts(known.held, following=True):
            distances.append(chart.nearest(self.states.moved(known.held[at], shift), 1)[1])
        self.far = FAR * float(torch.cat(distances).max().sqrt())

    def __call__(self, x: torch.Tensor, previous: Previous, level: torch.Tensor, generators: Draws) -> Answer:
        assert previous is not None  # (the catalogue says that it starts from there)
        return self.regressed(previous, self.neighbours, self.ridge), 1

    def regressed(self, x: torch.Tensor, count: int, ridge: float) -> torch.Tensor:
        """The successors of x, float64 [R, D]."""
        return self.states.answered(x, lambda chart, x, rows: self._regressed(chart, x, count, ridge), following=True)

    def _regressed(self, chart: Chart, x: torch.Tensor, count: int, ridge: float) -> torch.Tensor:
        assert chart.after is not None
        count = min(count, max(len(chart) - 1, 1))  # (a chart may have few of the states)
        number, distance, there = chart.nearest(x, min(count + 1, len(chart)))
        if len(chart) == 1:
            number, distance, there = (torch.cat([each, each], 1) for each in (number, distance, there))
        after = chart.after.index_select(0, number[:, :-1].flatten()).double().reshape(len(x), count, -1)
        return fitted(x @ chart.axes, there, distance, after, ridge, self.far)


def settled(
    known: Known,
    advance: Callable[..., torch.Tensor],
    choices: Sequence[tuple[Any, ...]],
    trials: int = TRIALS,
    horizon: int = HORIZON,
) -> tuple[tuple[Any, ...], float]:
    """The choice by which ``advance(x, *choice)`` from held-out states, each the answer to the one before, has the least
    error after `horizon` steps, as far as those held out go; and that error, rms in units of the std."""
    rows = known.states.rows
    steps = min(len(known.held) // rows - 1, horizon)
    first = len(known.held) - steps * rows
    trial = np.linspace(0, first - 1, min(first, trials)).astype(int)
    best, least = choices[0], math.inf
    for choice in choices:
        x = known.held[trial]
        for _ in range(steps):
            x = advance(x, *choice)
        error = float((x - known.held[trial + steps * rows]).square().mean().sqrt())
        if error < least:
            best, least = choice, error
    return best, least


def fitted(
    z: torch.Tensor, there: torch.Tensor, distance: torch.Tensor, goal: torch.Tensor, ridge: float, far: float
) -> torch.Tensor:
    """Locally weighted linear regression, as in `Following`: [R, D] at z [R, Q].

    there: of each of z the K + 1 nearest points [R, K + 1, Q]; distance: their squared distances [R, K + 1], rising; goal:
    what came after the first K of them, [R, K, D]. ridge: over the mean variance of the points. far: the distance of the
    nearest one from which on the answer is the weighted mean of the goals. All float64.
    """
    edge, distance, there = distance[:, -1:], distance[:, :-1], there[:, :-1]
    weight = torch.where(edge > 0, (1 - (distance / edge.clamp_min(1e-300)) ** 1.5).clamp_min(0) ** 3, 1.0)
    weight = weight + (weight.sum(1, keepdim=True) == 0)  # all at the edge: all alike
    weight = weight / weight.sum(1, keepdim=True)
    middle, root = weight[:, None] @ there, weight.sqrt()
    left, off = (there - middle).mul_(root[..., None]), (z[:, None] - middle).mT
    dual = left.shape[1] < left.shape[2]  # fewer points than axes: (L'L + r)^-1 L' = L' (LL' + r)^-1
    gram = left @ left.mT if dual else left.mT @ left
    mean = gram.diagonal(dim1=1, dim2=2).sum(1) / left.shape[2]
    gram.diagonal(dim1=1, dim2=2).add_((ridge * mean + 1e-300)[:, None])
    step = solved(gram, left @ off) if dual else left @ solved(gram, off)
    step = step[..., 0] * root  # (the answer is linear in the goals: so much of each)
    step = step - weight * step.sum(1, keepdim=True)  # which adds up to 0 but for rounding
    sound = torch.isfinite(step).all(1, keepdim=True) & (distance[:, :1] <= far**2)
    return ((weight + torch.where(sound, step, 0.0))[:, None] @ goal)[:, 0]


def solved(system: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """system^-1 right, [R, N, K], for symmetric positive definite systems [R, N, N]; what is none gives no finite numbers. It
    waits for nothing on the device, as torch.linalg.solve and the batched torch.cholesky_solve may."""
    factor, info = torch.linalg.cholesky_ex(system)
    half = torch.linalg.solve_triangular(factor, right, upper=False)
    found = torch.linalg.solve_triangular(factor.mT, half, upper=True)
    return torch.where((info == 0)[:, None, None], found, torch.nan)


def analog(known: Known, neighbours: int | None = None) -> Corrector:
    """The stored successor of one of the K states nearest to the previous one (analogs: Lorenz 1969), the j-th nearest drawn
    with a probability in proportion to 1 / j (Lall & Sharma 1996, Water Resour. Res. 32, 679): always a state that was
    stored, and unlike the nearest one alone it does not lead all rows onto the same few."""
    states = known.states
    states.least(True, neighbours)
    count = neighbours or ANALOGS
    share = (1 / torch.arange(1, count + 1, dtype=torch.float64, device=states.device)).cumsum(0)

    def correct(x: torch.Tensor, previous: Previous, level: torch.Tensor, generators: Draws) -> Answer:
        assert previous is not None
        drawn = torch.tensor([g.random() for g in generators], dtype=torch.float64, device=states.device)
        which = torch.searchsorted(share, drawn * share[-1], right=True).clamp(max=count - 1)

        def successor(chart: Chart, x: torch.Tensor, rows: Rows) -> torch.Tensor:
            assert chart.after is not None
            near = chart.nearest(x, min(count, len(chart)))[0]  # (a chart may have few of the states)
            return chart.after[near.gather(1, which[rows, None].clamp(max=len(chart) - 1))[:, 0]].double()

        return states.answered(previous, successor, following=True), 1

    return correct


def local(known: Known, neighbours: int | None = None, strict: bool = True) -> Corrector:
    """E[x_0 | x] where x_0 is drawn from the Gaussian of the nearest stored states, and x has white noise of the level read.

    strict: LemError where some states could have fewer neighbours than that; else these have as many as there are."""
    states = known.states
    if strict:
        states.least(False, neighbours)

    def posterior(chart: Chart, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        count = min(neighbours or CHOICE[-1], len(chart))
        near = chart.states[chart.nearest(x, count)[0]].double()
        mean = near.mean(1, keepdim=True)
        spread = (near - mean) / max(count - 1, 1) ** 0.5
        gram = spread @ spread.mT
        gram.diagonal(dim1=1, dim2=2).add_(level.square().clamp_min(1e-12)[:, None])
        inner = solved(gram, spread @ (x[:, None] - mean).mT)  # C (C + s^2)^-1 = S'(S S' + s^2)^-1 S
        return (mean + inner.mT @ spread)[:, 0]

    def correct(x: torch.Tensor, previous: Previous, level: torch.Tensor, generators: Draws) -> Answer:
        answer = states.answered(x, lambda chart, x, rows: posterior(chart, x, level[rows]), following=False)
        return answer, 1

    return correct


def wiener(known: Known) -> Corrector:
    """E[x_0 | x] under the Gaussian of all stored states."""
    gaussian = known.states.gaussian

    def correct(x: torch.Tensor, previous: Previous, level: torch.Tensor, generators: Draws) -> Answer:
        return gaussian.denoised(x, level), 1

    return correct


def snap(known: Known) -> Corrector:
    """The nearest stored state."""
    states = known.states

    def nearest(chart: Chart, x: torch.Tensor, rows: Rows) -> torch.Tensor:
        return chart.states[chart.nearest(x, 1)[0][:, 0]].double()

    def correct(x: torch.Tensor, previous: Previous, level: torch.Tensor, generators: Draws) -> Answer:
        return states.answered(x, nearest, following=False), 1

    return correct


def clip(known: Known) -> Corrector:
    """Every value between the least and the greatest that its channel takes among the stored states."""
    item = known.states.x.reshape(len(known.states), known.states.item[0], -1)
    each = item.shape[2]
    low, high = (v.double().repeat_interleave(each) for v in (item.amin((0, 2)), item.amax((0, 2))))
    return lambda x, previous, level, generators: (torch.minimum(torch.maximum(x, low), high), 1)


def cap(known: Known) -> Corrector:
    """Every Fourier mode of a channel with the phase that it has, and no larger than it is in any stored state."""
    item = known.states.item
    axes = tuple(range(2, 1 + len(item)))

    def modes(x: torch.Tensor) -> torch.Tensor:
        return torch.fft.rfftn(x.double().reshape(len(x), *item), dim=axes)

    most = torch.stack([modes(part).abs().amax(0) for part in known.states.x.split(1 << 12)]).amax(0)

    def correct(x: torch.Tensor, previous: Previous, level: torch.Tensor, generators: Draws) -> Answer:
        f = modes(x)
        capped = f * (most / f.abs().clamp_min(1e-300)).clamp(max=1)
        return torch.fft.irfftn(capped, item[1:], dim=axes).reshape(x.shape), 1

    return correct


def net(known: Known) -> Corrector:
    """E[x_0 | x] by a diffusion network, told the level that was read."""
    denoiser = _network(known)
    return lambda x, previous, level, generators: (_denoised(denoiser, known, x, level), 1)


def conditional(known: Known, noise: float | None = None) -> Corrector:
    """E[x_0 | x, previous]: by a network that learned with `--data PREVIOUS --target NEXT --fragment '--noise A-B'`. noise: added
    to the previous state, in units of its rms, as in the fragments that the network learned from."""
    from ..fragment.evidence import Evidence
    from ..nets.condition import Condition
    from ..nets.denoiser import NetworkDenoiser

    _network(known, conditioned=True)
    model, item = known.model, known.states.item

    def correct(x: torch.Tensor, previous: Previous, level: torch.Tensor, generators: Draws) -> Answer:
        assert previous is not None
        told = torch.full((len(level),), noise or 0.0, dtype=torch.float64)
        value = torch.from_numpy(known.states.decoded(previous)).float()  # (drawn and packed on the CPU)
        seen = torch.ones_like(value, dtype=torch.bool)
        size = value.square().mean(tuple(range(1, value.ndim))).sqrt() * told.float()
        if noise:
            more = [g.standard_normal(tuple(item), dtype=np.float32) for g in generators]
            value = value + size.reshape(-1, *[1] * len(item)) * torch.from_numpy(np.stack(more))
        shown = Condition.of(
            Evidence(value, seen, value, value, torch.zeros_like(value), size),  # type: ignore[arg-type]
            model.scale,
            model.meta["kind"],
        )
        return _denoised(NetworkDenoiser(model, shown), known, x, level), 1

    return correct


def iterate(known: Known, noise: float | None = None, stop: float = 0, denoise_steps: int = 10) -> Corrector:
    """Noise added, then denoised in steps, after Thermalizer (Pedersen, Zanna & Bruna, arXiv 2503.18731): DDIM from --noise to
    --stop, at levels evenly spaced in log sigma, and the state is what has that much noise left. There noise of the level that is
    read is added, the steps are ancestral, and there are as many as the levels of the network's own schedule between the two."""
    denoiser = _network(known)

    def correct(x: torch.Tensor, previous: Previous, level: torch.Tensor, generators: Draws) -> Answer:
        if not noise and len(x) > 1:  # every row has levels of its own
            each = [correct(x[i : i + 1], None, level[i : i + 1], generators[i : i + 1])[0] for i in range(len(x))]
            return torch.cat(each), denoise_steps
        most = noise or max(2 * float(level), 1e-3)
        if stop >= most:
            raise LemError(f"--stop {stop:g} is no less than the noise to start from, {most:g}")
        sigma = np.geomspace(most, max(stop, most / 100), denoise_steps if not stop else denoise_steps + 1)
        levels = 1 / (1 + np.square(sigma))
        levels = levels if stop else np.append(levels, 1.0)
        fresh = _shaped(_noise(x, generators), known.states.item)
        start = float(np.sqrt(levels[0])) * _shaped(x, known.states.item) + float(np.sqrt(1 - levels[0])) * fresh
        end = ddim(denoiser, start, levels)
        return (end / float(np.sqrt(levels[-1]))).reshape(x.shape), denoise_steps

    return correct


def residual(known: Known) -> Corrector:
    """The claimed state and what a network of lem-train corrector adds, told the previous one too: it learned the errors of
    the emulator along its own corrected rollouts (after Um et al. 2020, arXiv 2007.00016)."""
    from ..nets.emulator import Corrector as Trained

    try:
        trained, states = Trained(known.model), known.states
    except LemError as error:
        raise LemError(f"--model: {error}") from error
    place = trained.device

    @torch.no_grad()
    def correct(x: torch.Tensor, previous: Previous, level: torch.Tensor, generators: Draws) -> Answer:
        assert previous is not None
        shown = [_shaped(v, states.item).to(place, torch.float32) for v in (previous, x)]
        return trained.net(*shown).to(x).reshape(x.shape), 1

    return correct


def _noise(x: torch.Tensor, generators: Draws) -> torch.Tensor:
    return noise(generators, x.shape[1:], x.dtype, x.device)


def _shaped(x: torch.Tensor, item: Sequence[int]) -> torch.Tensor:
    return x.reshape(len(x), *item)


def _network(known: Known, conditioned: bool = False) -> Any:
    """The network as a denoiser. LemError where it is none for these states."""
    from ..nets.denoiser import NetworkDenoiser

    model = known.model
    if model.family != "denoise":
        raise LemError(
            f"--model: a network of the family {model.family!r} is no denoiser; lem-train diffusion trains one"
        )
    told = getattr(model.net, "conditioned", bool(model.meta["fragment"]))
    if bool(told) != conditioned:
        what = "is told a fragment" if told else "knows of no previous state"
        raise LemError(
            f"--model: this network {what}; {'--corrector conditional' if told else '--corrector net and iterate'} can take it"
        )
    return NetworkDenoiser(model)


def _denoised(denoiser: Any, known: Known, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    alpha_bar = 1 / (1 + level.square())
    shape = (-1, *[1] * len(known.states.item))
    return denoiser(_shaped(x, known.states.item) * alpha_bar.sqrt().reshape(shape), alpha_bar).reshape(x.shape)
