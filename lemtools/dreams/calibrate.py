"""Effective patch sizes of a network: at every step, the size at which a machine answers most like it.

After Kamb & Ganguli, section 5.1: both are asked at the points of the network's own DDIM path, and compared by
eps_hat = (x - a x0_hat) / b.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..denoise.contract import Denoiser
from ..denoise.samplers import ddim
from ..els.plan import Size
from ..els.scales import compat, levels, time
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

    def text(self, comments: Sequence[str] = (), unit: str = " px") -> str:
        """The file that --scales reads. comments: lines at its head. unit: of sizes."""
        how = f"by {self.by}{', growing with the noise' * self.monotone}, medians over {counted(self.seeds)}"
        lines = head(
            comments, self.kamb, f"patch sizes{' in px' if unit else ', rows x columns'}, low noise first, {how}"
        )
        lines += ["\t".join(["# size", "t", *(f"{self.by}[{size}]" for size in self.candidates)])]
        for step, (size, row) in enumerate(zip(self.sizes, self.score), 1):
            lines.append("\t".join([str(size), f"{step / len(self.sizes):.4g}", *(f"{v:.8f}" for v in row)]))
        return "\n".join(lines) + "\n"


def remarks(sizes: Sequence[Size], candidates: Sequence[int], fits: Callable[[Size], bool], unit: str) -> list[str]:
    """What a person should know of a choice: that sizes beyond the candidates, which the machine takes, may do better.

    sizes: one a step, numbers of squares or pairs of sides. fits: whether the machine takes a size. unit: of sizes.
    """
    out = []
    for which, end, step in (("smallest", min(candidates), -2), ("largest", max(candidates), 2)):
        ended = sum(any(fits(more) for more in _beyond(size, end, step)) for size in sizes)
        if ended and len(candidates) > 1:
            choice = "the choice" if all(isinstance(size, int) for size in sizes) else "a side of the choice"
            where = f"at {ended} of {len(sizes)} steps {choice} is the {which} candidate, {end}{unit}"
            out.append(f"{where}; sizes beyond it may do better: give more --sizes")
    return out


def _beyond(size: Size, end: int, step: int) -> list[Size]:
    """The sizes that go on from a size whose side is at this end of the candidates."""
    if isinstance(size, int):
        return [size + step] * (size == end)
    rows, columns = size
    return [(rows + step, columns)] * (rows == end) + [(rows, columns + step)] * (columns == end)


def counted(seeds: int) -> str:
    return f"{seeds} seed{'s' * (seeds != 1)}"


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
