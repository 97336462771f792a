"""How many bits the lost values of a memory cost a denoiser: the variational bound of diffusion models, in continuous
time.

Shapes: x, low, high [N, ...item] in the denoiser's coordinates; U unknown elements of an item, those with low < high.
Kingma, Salimans, Poole & Ho 2021 (VDM), eq. 15 and 18, with e^g = SNR = 1 / sigma^2:

    -log p(x) <= KL(q(z_first | x) | N(0, I)) + 1/2 int e^g E |x - x0(z_g)|^2 dg + E[-log p(x | z_last)],

summed over the unknown elements only. What is known may help x0() in any way that does not look at the unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .contract import Array, Denoiser
from .posterior import on_device
from .samplers import Generators, noise
from .schedule import alpha_bar

NOISIEST = 80.0  # sigma at which the prior N(0, I) of z_first costs next to nothing
SHARPEST = 0.25  # sigma of z_last in steps: costs a smooth density .09 nats an element, a certain value .12
TAIL = 8.0  # standard deviations beyond which a level has no share in p(x | z_last)
DRAWS = 4  # of z_last


@dataclass
class Bound:
    """Nats an item, float64 [N] each: nats = prior + diffusion + reconstruction; error: standard error of nats by its
    random levels and noise. unknown: int64 [N], values the nats are spent on; bits a value are
    nats / unknown / ln 2."""

    nats: np.ndarray
    error: np.ndarray
    prior: np.ndarray
    diffusion: np.ndarray
    reconstruction: np.ndarray
    unknown: np.ndarray


def bound(
    denoiser: Denoiser,
    x: Array,
    low: Array,
    high: Array,
    *,
    generators: Generators,
    step: float | None = None,
    extent: tuple[float, float] = (-np.inf, np.inf),
    points: int = 64,
    matching: int = 0,
    noisiest: float = NOISIEST,
    cleanest: float | None = None,
) -> Bound:
    """Upper bound on -log p(unknown values of x | fragment), in expectation over its random draws.

    x: the whole memory. low, high: what the fragment says of it, as in ``posterior`` (no noise): equal for exact
    values. step: distance of the levels that values take (2 / 255 for 8-bit images in [-1, 1]): -log of a probability,
    normalised over the levels of the bin. None: -log of a density (given the bin) in the denoiser's coordinates.
    extent: least and largest value there is. points: levels of noise, an even number, one random one in each of as many
    strata. matching: for denoisers that do not see the fragment: calls at each level that fit what stands at
    exact elements until E[x_0 | x_t] agrees with them there (see ``posterior``); 0, for denoisers that see it: they
    hold the exact values with noise on them, as in training. noisiest, cleanest: first and last sigma (default SHARPEST
    steps; without step .01). Denoiser calls: points (matching + 1), on N rows each. generators: one an item.
    Raises ValueError for shapes that do not fit, a memory outside its intervals, or odd points.
    """
    x, lower, upper = on_device(x, denoiser), on_device(low, denoiser), on_device(high, denoiser)
    if not x.shape == lower.shape == upper.shape or len(generators) != len(x):
        raise ValueError(
            f"x {tuple(x.shape)}, low {tuple(lower.shape)}, high {tuple(upper.shape)} must be one shape, "
            f"with one generator an item, not {len(generators)}"
        )
    if points < 2 or points % 2:
        raise ValueError(f"points must be even and positive, not {points}")
    lower, upper = lower.clamp_min(extent[0]), upper.clamp_max(extent[1])
    if not bool(((x >= lower) & (x <= upper)).all()):
        raise ValueError("x lies outside its intervals: another fragment's, or other coordinates")
    unknown = lower < upper
    cleanest = cleanest or (SHARPEST * step if step else 0.01)
    first, last = -2 * np.log(noisiest), -2 * np.log(cleanest)
    where = np.stack([g.random(points) for g in generators])  # [N, K]
    log_snr = first + (last - first) * (np.arange(points) + where) / points
    loss, length = np.zeros((2, len(x), points))
    for k in range(points):
        n = noise(generators, x.shape[1:], x.dtype, x.device)
        sigma = np.exp(-log_snr[:, k] / 2)
        x0 = _recall(denoiser, x, unknown, sigma, n, matching)
        x0 = torch.maximum(torch.minimum(x0, upper), lower)
        loss[:, k] = 0.5 * np.exp(log_snr[:, k]) * _sum((x - x0).square(), unknown)
        length[:, k] = _sum(n.square(), unknown)
    # Where x_0 cannot be separated from its noise the loss is half the length of n, whose mean is known: a control variate, its
    # coefficient from the neighbouring stratum, which is independent, so that nothing is biased.
    count = _sum(torch.ones_like(x), unknown)
    neighbour = np.arange(points) ^ 1
    share = np.minimum(2 * loss / np.maximum(length, 1e-300), 1.0)[:, neighbour]
    loss = loss - share * 0.5 * (length - count[:, None])
    width = (last - first) / points
    # strata in pairs: the difference of neighbours has about the variance of their sum
    variance = ((width * (loss[:, ::2] - loss[:, 1::2])) ** 2).sum(1)
    level = float(alpha_bar(noisiest))
    prior = 0.5 * (level * _sum(x.square(), unknown) - (level + np.log1p(-level)) * count)
    fresh = (noise(generators, x.shape[1:], x.dtype, x.device) for _ in range(DRAWS))
    draws = np.stack([_sum(_surprise(x, n, lower, upper, cleanest, step), unknown) for n in fresh])
    diffusion, reconstruction = width * loss.sum(1), draws.mean(0)
    error = np.sqrt(variance + draws.var(0, ddof=1) / DRAWS)
    return Bound(prior + diffusion + reconstruction, error, prior, diffusion, reconstruction, count.astype(np.int64))


def _recall(
    denoiser: Denoiser, x: torch.Tensor, unknown: torch.Tensor, sigma: np.ndarray, n: torch.Tensor, matching: int
) -> torch.Tensor:
    """E[x_0 | z] at z = x + sigma n, of which the unknown elements stay and the exact ones may be fitted."""
    level = alpha_bar(sigma)
    a, s = (torch.from_numpy(v).to(x.device, x.dtype).reshape(-1, *[1] * (x.ndim - 1)) for v in (np.sqrt(level), sigma))
    z = x + s * n if not matching else torch.where(unknown, x + s * n, x)
    x0 = denoiser(a * z, level)
    for _ in range(matching):
        z = torch.where(unknown, z, z + (x - x0))
        x0 = denoiser(a * z, level)
    return x0


def _surprise(
    x: torch.Tensor, n: torch.Tensor, lower: torch.Tensor, upper: torch.Tensor, sigma: float, step: float | None
) -> torch.Tensor:
    """-log p(x | z = x + sigma n), elementwise: proportional to N(z; x, sigma^2) over what the interval allows."""
    if step is None:
        z = (x + sigma * n).double()
        # mass inside the interval: 1 less the two tails, which never overlap
        above, below = torch.special.ndtr((z - upper) / sigma), torch.special.ndtr((lower - z) / sigma)
        mass = torch.log((1 - above - below).clamp_min(1e-300))
        return (0.5 * n.double().square() + np.log(sigma) + 0.5 * np.log(2 * np.pi) + mass).to(x.dtype)
    reach = int(np.ceil(2 * TAIL * sigma / step)) + 1
    total = torch.zeros_like(x)
    for j in range(-reach, reach + 1):
        level = x + j * step
        inside = (level >= lower - step / 4) & (level <= upper + step / 4)
        total += torch.where(inside, torch.exp(0.5 * n.square() - 0.5 * (n - j * step / sigma).square()), 0.0)
    return total.log()


def _sum(value: torch.Tensor, unknown: torch.Tensor) -> np.ndarray:
    """[N] float64: sum over the unknown elements of an item."""
    return torch.where(unknown, value, 0.0).double().flatten(1).sum(1).cpu().numpy()
