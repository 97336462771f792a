"""Effective patch sizes of a network: at every step, the size at which a machine answers most like it.

After Kamb & Ganguli, section 5.1: both are asked at the points of the network's own DDIM path, and compared by
eps_hat = (x - a x0_hat) / b.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..denoise.contract import Denoiser
from ..denoise.how import How
from ..denoise.samplers import ddim
from ..els.scales import allowed, compat, levels, time
from ..signal import LemError
from .against import pixels
from .resources import Resources
from .sample import start

BY = ("cosine", "mse")


@dataclass
class Calibration:
    """sizes: the choice, one a step, low noise first. candidates: [K], of squares. score: [steps, K], medians over `seeds` seeds
    of cosine or mse. monotone: whether the sizes were made to grow with the noise. kamb: as of ``study.Study``."""

    sizes: list[int]
    candidates: list[int]
    score: np.ndarray
    by: str
    monotone: bool
    seeds: int
    kamb: bool = False

    def text(self, comments: Sequence[str] = ()) -> str:
        """The file that --scales reads. comments: lines at its head."""
        how = f"by {self.by}{', growing with the noise' * self.monotone}, medians over {self.seeds} seeds"
        lines = head(comments, self.kamb, f"patch sizes in px, low noise first, {how}")
        lines += ["\t".join(["# size", "t", *(f"{self.by}[{size}]" for size in self.candidates)])]
        for step, (size, row) in enumerate(zip(self.sizes, self.score), 1):
            lines.append("\t".join([str(size), f"{step / len(self.sizes):.4g}", *(f"{v:.8f}" for v in row)]))
        return "\n".join(lines) + "\n"

    def remarks(self, machine: str, item: Sequence[int], how: How | None = None) -> list[str]:
        """What a person should know: that sizes beyond the candidates, which such images allow, may do better."""
        ends = (("smallest", min(self.candidates), -2), ("largest", max(self.candidates), 2))
        return [
            f"at {self.sizes.count(end)} of {len(self.sizes)} steps the choice is the {which} candidate, {end} px; "
            f"sizes beyond it may do better: give more --sizes"
            for which, end, step in ends
            if end in self.sizes and len(self.candidates) > 1 and allowed(machine, [end + step], item, how)
        ]


def head(comments: Sequence[str], kamb: bool, what: str) -> list[str]:
    """The first lines of a file of scales."""
    return [*(f"# {' '.join(c.split())}" for c in comments), f"# compat {compat(kamb)}", f"# {what}"]


def measure(
    network: Denoiser,
    candidates: Mapping[int, Denoiser],
    item: Sequence[int],
    seeds: Sequence[int],
    steps: int,
    by: str,
    resources: Resources,
    alive: torch.Tensor | None = None,
) -> Iterator[np.ndarray]:
    """Scores [S, steps, K] of batches of seeds, low noise first; candidates: {size: machine of that size}. alive: bool
    [C, H, W], the elements that count."""
    for part in resources.batches(seeds):
        scores = np.empty((len(part), steps, len(candidates)))

        def compare(step: int, alpha_bar: float, x: torch.Tensor, x0: torch.Tensor) -> None:
            truth = pixels(noise_of(x, x0, alpha_bar), alive)
            for k, machine in enumerate(candidates.values()):
                found = pixels(noise_of(x, machine(x, alpha_bar), alpha_bar), alive)
                scores[:, steps - 1 - step, k] = AGREEMENT[by](truth, found).cpu()
            resources.say(f"seeds {part[0]} to {part[-1]}, step {step + 1} of {steps}: t {time(alpha_bar):.4g}")

        ddim(network, start(part, item, resources.device, resources.shown), levels(steps), callback=compare)
        yield scores


def noise_of(x: torch.Tensor, x0: torch.Tensor, alpha_bar: float) -> torch.Tensor:
    """eps_hat of the shape of x, in float64."""
    return (x.double() - alpha_bar**0.5 * x0.double()) / (1 - alpha_bar) ** 0.5


AGREEMENT = {
    "cosine": lambda a, b: torch.nn.functional.cosine_similarity(a, b, 1, 1e-300),
    "mse": lambda a, b: (a - b).square().mean(1),
}


def choose(
    scores: np.ndarray, candidates: Sequence[int], by: str = "cosine", monotone: bool = False, kamb: bool = False
) -> Calibration:
    """The size of the best median at every step; of equal ones the smallest. scores: [S, steps, K].

    monotone: of all lists that do not shrink towards more noise, that of the best sum of medians.
    """
    if not np.isfinite(scores).all():
        raise LemError("the network's answers are not finite; train it further")
    order = np.argsort(candidates, kind="stable")
    candidates, median = [candidates[k] for k in order], np.median(scores, 0)[:, order]
    gain = median if by == "cosine" else -median
    best = growing(gain) if monotone else gain.argmax(1).tolist()
    return Calibration([candidates[k] for k in best], candidates, median, by, monotone, len(scores), kamb)


def growing(gain: np.ndarray) -> list[int]:
    """The columns k_1 <= k_2 <= ... of the greatest sum of gain[i, k_i], small ones first. gain: [steps, K]."""
    total, came = gain[0], []
    for row in gain[1:]:
        # best[k]: the first column up to k where the total so far is greatest
        best = [int(np.argmax(total[: k + 1])) for k in range(len(row))]
        came.append(best)
        total = total[best] + row
    path = [int(np.argmax(total))]
    for best in reversed(came):
        path.append(best[path[-1]])
    return path[::-1]
