"""Does a machine predict a network? The same seeds through both, compared sample by sample.

Per seed, over all pixels and channels, in coordinates [-1, 1], y the network's sample and m the machine's:

    r      Pearson correlation of m and y; what the paper's released evaluation prints under the label r^2
    r^2    its square
    R^2    1 - sum (y - m)^2 / sum (y - mean(y))^2
    mse    mean (y - m)^2
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..denoise.contract import Denoiser
from ..denoise.samplers import ddim
from ..denoise.schedule import grid
from ..rng import generator
from ..signal import LemError
from .sample import Tell, batches, picture, start

METRICS = ("r", "r^2", "R^2", "mse")
DRAWS = 10_000  # bootstrap resamples
BASE = "is"  # the machine that is to be beaten


@dataclass
class Samples:
    """A batch of seeds: network {steps: [S, C, H, W]}, machines {name: [S, C, H, W]}, in coordinates, on the CPU."""

    seeds: list[int]
    network: dict[int, torch.Tensor]
    machines: dict[str, torch.Tensor]

    def __len__(self) -> int:
        return len(self.seeds)


@dataclass
class Row:
    """One number: the median over seeds of a metric between a machine and the network at some number of steps, and its
    95 % bootstrap interval (None: of one seed); or 'beats-is', the share of seeds of which r is above that of `is`."""

    machine: str
    net_steps: int
    metric: str
    value: float
    low: float | None
    high: float | None
    seeds: int


def samples(
    network: Denoiser,
    machines: Mapping[str, Denoiser],
    item: Sequence[int],
    seeds: Sequence[int],
    levels: np.ndarray,
    net_steps: Sequence[int] = (20, 150),
    *,
    batch: int = 8,
    device: str = "cpu",
    tell: Tell | None = None,
) -> Iterator[Samples]:
    """The seeds, batch by batch, through the network at every number of steps and through every machine."""
    for first in range(0, len(seeds), batch):
        part = list(seeds[first : first + batch])
        answers, predictions = {}, {}
        for steps in net_steps:
            if tell is not None:
                tell(f"seeds {part[0]} to {part[-1]}: network, {steps} steps")
            answers[steps] = ddim(network, start(part, item, device), grid(steps)).cpu()
        for name, machine in machines.items():
            said = None if tell is None else lambda line, name=name: tell(f"{name}: {line}")
            found = batches(machine, item, part, levels, batch=len(part), device=device, tell=said)
            predictions[name] = next(found)[1].cpu()
        yield Samples(part, answers, predictions)


def scores(truth: torch.Tensor, found: torch.Tensor) -> dict[str, np.ndarray]:
    """Every metric of every sample, [S]; NaN where one of the two is constant and the metric undefined."""
    y, m = (t.double().flatten(1) for t in (truth, found))
    error = (y - m).square()
    y, m = y - y.mean(1, keepdim=True), m - m.mean(1, keepdim=True)
    spread, other = y.square().sum(1), m.square().sum(1)
    r = ((y * m).sum(1) / (spread * other).sqrt()).clamp(-1, 1)
    values = {"r": r, "r^2": r.square(), "R^2": 1 - error.sum(1) / spread, "mse": error.mean(1)}
    return {name: torch.where(value.isfinite(), value, torch.nan).numpy() for name, value in values.items()}


class Agreement:
    """Scores of all batches of samples, and what they come to."""

    def __init__(self) -> None:
        self.values: dict[tuple[int, str], dict[str, list[np.ndarray]]] = {}

    def add(self, batch: Samples) -> None:
        for steps, truth in batch.network.items():
            if not bool(torch.isfinite(truth).all()):
                raise LemError(f"the network's samples of {steps} steps are not finite; train it further")
            for name, found in batch.machines.items():
                kept = self.values.setdefault((steps, name), {metric: [] for metric in METRICS})
                for metric, value in scores(truth, found).items():
                    kept[metric].append(value)

    def rows(self) -> list[Row]:
        """All numbers, in the order of the machines, then of the network's steps, then of METRICS."""
        out, order = [], list(dict.fromkeys(name for _, name in self.values))
        for steps, name in sorted(self.values, key=lambda key: order.index(key[1])):
            mine = {metric: np.concatenate(kept) for metric, kept in self.values[steps, name].items()}
            for metric, value in mine.items():
                value = value[np.isfinite(value)]
                out.append(Row(name, steps, metric, *median_interval(value), len(value)))
            if name != BASE and (steps, BASE) in self.values:
                base = np.concatenate(self.values[steps, BASE]["r"])
                both = np.isfinite(base) & np.isfinite(mine["r"])
                share = float((mine["r"] > base)[both].mean()) if both.any() else np.nan
                out.append(Row(name, steps, f"beats-{BASE}", share, None, None, int(both.sum())))
        return out


def median_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float | None, float | None]:
    """(median, low, high): the percentile bootstrap over items, of a fixed seed; no ends for fewer than two values."""
    if not len(values):
        return float("nan"), None, None
    median = float(np.median(values))
    if len(values) < 2:
        return median, None, None
    rng = generator(0, len(values), 0, "bootstrap")
    medians = np.concatenate(
        [np.median(values[rng.integers(len(values), size=(500, len(values)))], 1) for _ in range(DRAWS // 500)]
    )
    low, high = np.quantile(medians, [(1 - level) / 2, (1 + level) / 2])
    return median, float(low), float(high)


def columns(parts: Sequence[Samples], most: int) -> tuple[dict[str, list[np.ndarray]], list[str]]:
    """({caption of a seed: its pictures}, names of the rows) of a sheet: the network, then the machines, a row each."""
    shown = [(seed, part, k) for part in parts for k, seed in enumerate(part.seeds)][:most]
    names = [f"network, {steps} steps" for steps in parts[0].network] + list(parts[0].machines)
    return {
        f"seed {seed}": [picture(x[k].numpy()) for x in (*part.network.values(), *part.machines.values())]
        for seed, part, k in shown
    }, names
