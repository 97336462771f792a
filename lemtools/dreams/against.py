"""Does a machine predict a network? The same seeds through both, compared sample by sample.

Per seed, over all pixels and channels (of spectra those that are not identically zero in the bank), in coordinates, y the
network's sample and m the machine's:

    r            Pearson correlation of m and y; what the paper's released evaluation prints under the label r^2
    r^2          its square
    R^2          1 - sum (y - m)^2 / sum (y - mean(y))^2
    mse          mean (y - m)^2
    r-magnitude  of complex spectra, Pearson correlation of |m| and |y|, a value a pair of channels
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .. import progress
from ..denoise.contract import Denoiser
from ..denoise.samplers import ddim
from ..denoise.schedule import grid
from ..els.bank import Bank
from ..rng import generator
from ..signal import LemError
from .resources import Resources
from .sample import batches, start
from .show import picture

DRAWS = 10_000  # bootstrap resamples
ROUNDING = 1 / 255  # half a grey level: what 8 bits do not show
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

    @property
    def name(self) -> str:
        """As in r[bbels,20]."""
        return f"{self.metric}[{self.machine},{self.net_steps}]"


def samples(
    network: Denoiser,
    machines: Mapping[str, Denoiser],
    item: Sequence[int],
    seeds: Sequence[int],
    levels: np.ndarray,
    net_steps: Sequence[int],
    resources: Resources,
) -> Iterator[Samples]:
    """The seeds, batch by batch, through the network at every number of steps and through every machine."""
    for part in resources.batches(seeds):
        answers, predictions = {}, {}
        for steps in net_steps:
            resources.say(f"seeds {part[0]} to {part[-1]}: network, {steps} steps")
            answers[steps] = ddim(network, start(part, item, resources.device, resources.shown), grid(steps)).cpu()
        for name in progress.steps(list(machines), "machines"):
            found = batches(machines[name], item, part, levels, resources.prefixed(name))
            predictions[name] = next(found)[1].cpu()
        yield Samples(part, answers, predictions)


def scores(
    truth: torch.Tensor, found: torch.Tensor, alive: torch.Tensor | None = None, paired: bool = False
) -> dict[str, np.ndarray]:
    """Every metric of every sample, [S]; NaN where one of the two is constant and the metric undefined. alive: bool
    [C, H, W], the elements that count. paired: channels are complex numbers, two by two."""
    y, m = (pixels(t, alive) for t in (truth, found))
    error, spread = (y - m).square(), (y - y.mean(1, keepdim=True)).square().sum(1)
    r = correlation(y, m)
    values = {"r": r, "r^2": r.square(), "R^2": 1 - error.sum(1) / spread, "mse": error.mean(1)}
    if paired:
        values["r-magnitude"] = correlation(*(magnitudes(t, alive) for t in (truth, found)))
    return {name: torch.where(value.isfinite(), value, torch.nan).numpy() for name, value in values.items()}


def pixels(x: torch.Tensor, alive: torch.Tensor | None = None) -> torch.Tensor:
    """The elements that count of items [S, C, H, W], float64 [S, D]."""
    x = x.double().flatten(1)
    return x if alive is None or bool(alive.all()) else x[:, alive.flatten().to(x.device)]


def magnitudes(x: torch.Tensor, alive: torch.Tensor | None = None) -> torch.Tensor:
    """Of items [S, 2C, H, W], channels being complex numbers two by two, the magnitudes of those of which a part counts,
    float64 [S, D]; the other part is taken for zero."""
    x = x.double()
    if alive is None or bool(alive.all()):
        return x.unflatten(1, (-1, 2)).norm(dim=2).flatten(1)
    alive = alive.to(x.device)
    return pixels((x * alive).unflatten(1, (-1, 2)).norm(dim=2), alive.unflatten(0, (-1, 2)).any(1))


def correlation(y: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
    """Pearson r [S] of rows [S, D]; NaN where one of the two is constant."""
    y, m = y - y.mean(1, keepdim=True), m - m.mean(1, keepdim=True)
    return ((y * m).sum(1) / (y.square().sum(1) * m.square().sum(1)).sqrt()).clamp(-1, 1)


class Agreement:
    """Scores of all batches of samples, and what they come to. bank: what the machines knew; None: of images."""

    def __init__(self, bank: Bank | None = None) -> None:
        self.alive, self.paired = (None, False) if bank is None else (bank.alive, bank.complex)
        self.bounded = bank is None or bank.kind == "image"
        self.values: dict[tuple[int, str], dict[str, list[np.ndarray]]] = {}
        self.beyond: dict[int, list[float]] = {}  # of the network: [values, those beyond [-1, 1], the farthest]

    def add(self, batch: Samples) -> None:
        for steps, truth in batch.network.items():
            if not bool(torch.isfinite(truth).all()):
                raise LemError(f"the network's samples of {steps} steps are not finite; train it further")
            sizes, known = truth.abs(), self.beyond.setdefault(steps, [0, 0, 0.0])
            known[:2] = known[0] + sizes.numel(), known[1] + int((sizes > 1 + ROUNDING).sum())
            known[2] = max(known[2], float(sizes.max()))
            for name, found in batch.machines.items():
                kept = self.values.setdefault((steps, name), {})
                for metric, value in scores(truth, found, self.alive, self.paired).items():
                    kept.setdefault(metric, []).append(value)

    def remarks(self) -> list[str]:
        """What a person should know: that the network's samples leave the range of images, as no machine's do."""
        return [
            f"the network's samples of {steps} steps leave [-1, 1]: {100 * out / count:.2g} % of their values do, as far "
            f"as {most:.3g}; no patch of a training image does"
            for steps, (count, out, most) in self.beyond.items()
            if out and self.bounded
        ]

    def rows(self) -> list[Row]:
        """All numbers, in the order of the machines, then of the network's steps, then of the metrics."""
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


def table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """(heads, lines) of a page: a line for each machine and number of steps, a column for each metric."""
    heads = ["machine", "net steps", *dict.fromkeys(row.metric for row in rows)]
    cells: dict[tuple[str, int], dict[str, str]] = {}
    for row in rows:
        ends = "" if row.low is None else f" [{row.low:.3f}, {row.high:.3f}]"
        cells.setdefault((row.machine, row.net_steps), {})[row.metric] = f"{row.value:.3f}{ends}"
    return heads, [[*map(str, key), *(mine.get(name, "-") for name in heads[2:])] for key, mine in cells.items()]


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


def columns(parts: Sequence[Samples], bank: Bank, most: int) -> tuple[dict[str, list[np.ndarray]], list[str]]:
    """({caption of a seed: its pictures}, names of the rows) of a sheet: the network, then the machines, a row each."""
    shown = [(seed, part, k) for part in parts for k, seed in enumerate(part.seeds)][:most]
    names = [f"network, {steps} steps" for steps in parts[0].network] + list(parts[0].machines)
    return {
        f"seed {seed}": [picture(x[k].numpy(), bank) for x in (*part.network.values(), *part.machines.values())]
        for seed, part, k in shown
    }, names
