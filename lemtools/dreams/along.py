"""Does a machine agree with a network step by step? Both are asked at every point of the network's own path.

Per seed and step, over the elements that count: r-x0, Pearson correlation of the two estimates of the clean item, and r-eps,
that of the noise, eps_hat = (x_t - a x0_hat) / b. At low noise nearly everything agrees in x0, for x_t is nearly clean; in
eps it does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..denoise.contract import Denoiser
from ..denoise.samplers import ddim
from ..els.bank import Bank
from ..els.scales import time
from .against import correlation, median_interval, pixels
from .calibrate import noise_of
from .resources import Resources
from .sample import start

METRICS = ("r-x0", "r-eps")
Scores = dict[tuple[str, float, str], np.ndarray]  # machine, t, metric: a value a seed


@dataclass
class Step:
    """One number: the median over seeds of a metric between a machine and the network at time t of its path, and its 95 %
    bootstrap interval (None: of one seed)."""

    machine: str
    t: float
    metric: str
    value: float
    low: float | None
    high: float | None
    seeds: int

    @property
    def name(self) -> str:
        """As in r-eps[both,0.65]."""
        return f"{self.metric}[{self.machine},{self.t:.4g}]"


def along(
    network: Denoiser,
    machines: Mapping[str, Denoiser],
    bank: Bank,
    seeds: Sequence[int],
    levels: np.ndarray,
    resources: Resources,
) -> Iterator[tuple[list[int], Scores]]:
    """(seeds, scores) batch by batch; levels: of the network's path, as a sampler takes them."""
    for part in resources.batches(seeds):
        yield part, _batch(network, machines, bank, part, levels, resources)


def _batch(network, machines, bank: Bank, seeds: list[int], levels: np.ndarray, resources: Resources) -> Scores:
    """The scores of seeds that go together."""
    found: Scores = {}

    def compare(step: int, alpha_bar: float, x: torch.Tensor, x0: torch.Tensor) -> None:
        t, truth = round(time(alpha_bar), 6), (x0, noise_of(x, x0, alpha_bar))
        for name, machine in machines.items():
            answer = machine(x, alpha_bar)
            for metric, one, other in zip(METRICS, truth, (answer, noise_of(x, answer, alpha_bar))):
                r = correlation(pixels(one, bank.alive), pixels(other, bank.alive))
                found[name, t, metric] = r.cpu().numpy()
        resources.say(f"seeds {seeds[0]} to {seeds[-1]}, step {step + 1} of {len(levels) - 1}: t {t:.4g}")

    ddim(network, start(seeds, bank.item, resources.device, resources.shown), levels, callback=compare)
    return found


def rows(batches: Sequence[Scores]) -> list[Step]:
    """All numbers, in the order of the machines, then of the steps of a sampler; x0 before eps."""
    order = list(dict.fromkeys(name for name, *_ in batches[0]))
    out = []
    for name, t, metric in sorted(batches[0], key=lambda key: (order.index(key[0]), -key[1], METRICS.index(key[2]))):
        every = np.concatenate([batch[name, t, metric] for batch in batches])
        every = every[np.isfinite(every)]
        out.append(Step(name, t, metric, *median_interval(every), len(every)))
    return out


def table(found: Sequence[Step]) -> tuple[list[str], list[list[str]]]:
    """(heads, lines) of a page: a line for each step and metric, a column for each machine."""
    names = list(dict.fromkeys(row.machine for row in found))
    cells: dict[tuple[float, str], dict[str, str]] = {}
    for row in found:
        cells.setdefault((row.t, row.metric), {})[row.machine] = f"{row.value:.3f}"
    return ["t", "metric", *names], [
        [f"{t:.4g}", m, *(mine.get(n, "-") for n in names)] for (t, m), mine in cells.items()
    ]
