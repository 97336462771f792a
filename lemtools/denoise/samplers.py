"""Samplers for any denoiser: from noise, or from a memory noised part of the way, back to alpha_bar = 1.

Shapes: x [N, ...item] in the denoiser's coordinates, torch. levels: alpha_bar float64 [K + 1], rising
(``schedule.grid``); the denoiser is called K times, at all but the last. generators: one numpy generator a row; noise
is drawn on the CPU, so neither the batch nor the device changes a draw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from .. import progress
from .contract import Denoiser

Generators = Sequence[np.random.Generator]
Hook = Callable[[torch.Tensor], torch.Tensor]
Callback = Callable[[int, float, torch.Tensor, torch.Tensor], None]


def noise(
    generators: Generators, item: Sequence[int], dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
) -> torch.Tensor:
    """[N, ...item] standard normal numbers, each row of its own generator (drawn in float32)."""
    rows = np.empty((len(generators), *item), np.float32)
    for row, g in zip(rows, generators):
        g.standard_normal(out=row, dtype=np.float32)
    return torch.from_numpy(rows).to(device, dtype)


def noised(x0: torch.Tensor, alpha_bar: float, generators: Generators) -> torch.Tensor:
    """x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) n: a memory noised to the level at which a sampler may start."""
    n = noise(generators, x0.shape[1:], x0.dtype, x0.device)
    return float(np.sqrt(alpha_bar)) * x0 + float(np.sqrt(1.0 - alpha_bar)) * n


def ddim(
    denoiser: Denoiser,
    x: torch.Tensor,
    levels: np.ndarray,
    *,
    eta: float = 0.0,
    generators: Generators | None = None,
    temperature: float = 1.0,
    project: Hook | None = None,
    callback: Callback | None = None,
) -> torch.Tensor:
    """DDIM (Song, Meng & Ermon 2021, eq. 12 and 16): x at levels[0] to [N, ...item] at levels[-1].

    eta: 0, the deterministic map of the probability-flow ODE (first order in the steps), to 1, ancestral sampling; for
    eta > 0 generators draw the noise, and temperature scales its standard deviation (1: as the model has it). project:
    called on every E[x_0 | x_t]; what it returns stands for it, and the noise that x holds is taken to be the rest: for
    denoisers that see a fragment, ``Condition.hold`` keeps what was observed. With levels[-1] = 1 the result
    is the last such estimate, bit for bit. callback(step, alpha_bar, x, x0) after every call.
    Raises ValueError for levels that do not rise in [0, 1], and for eta > 0 without one generator a row.
    """
    levels = np.asarray(levels, np.float64)
    if levels.ndim != 1 or len(levels) < 2 or not (np.diff(levels) > 0).all() or levels[0] < 0 or levels[-1] > 1:
        raise ValueError(f"levels must be two or more alpha_bar that rise within [0, 1], not {levels}")
    if eta < 0 or eta > 1:
        raise ValueError(f"eta lies in [0, 1], not {eta}")
    generators = generators or ()
    if eta > 0 and len(generators) != len(x):
        raise ValueError(f"eta > 0 needs one generator for each of the {len(x)} rows")
    for k in progress.steps(range(len(levels) - 1), "steps"):
        now, then = levels[k], levels[k + 1]
        x0 = denoiser(x, float(now))
        x0 = x0 if project is None else project(x0)
        if callback is not None:
            callback(k, float(now), x, x0)
        if then == 1:
            return x0
        b, b_then = 1.0 - now, 1.0 - then  # variances, in float64
        fresh = eta**2 * (b_then / b) * (1.0 - now / then)  # variance of the noise drawn anew
        old = float(np.sqrt((b_then - fresh) / b))
        x = float(np.sqrt(then) - old * np.sqrt(now)) * x0 + old * x
        if eta > 0:
            x = x + temperature * float(np.sqrt(fresh)) * noise(generators, x.shape[1:], x.dtype, x.device)
    return x


def ancestral(
    denoiser: Denoiser,
    x: torch.Tensor,
    levels: np.ndarray,
    *,
    generators: Generators,
    temperature: float = 1.0,
    project: Hook | None = None,
    callback: Callback | None = None,
) -> torch.Tensor:
    """Ancestral sampling (Ho, Jain & Abbeel 2020, algorithm 2, variance beta tilde), a reverse SDE: DDIM, eta = 1."""
    return ddim(
        denoiser, x, levels, eta=1.0, generators=generators, temperature=temperature, project=project, callback=callback
    )
