"""Samplers whose estimates are held to more than a fragment's evidence: to values that are known in another domain."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ..denoise.contract import Denoiser, Scale
from ..denoise.samplers import Hook, ancestral, noise
from ..denoise.schedule import grid
from ..nets.condition import Condition
from ..nets.denoiser import NetworkDenoiser

Bound = Callable[[np.ndarray], np.ndarray]  # estimates [R, ...item] held to what is known of them


def held_ancestral(
    denoiser: Denoiser,
    condition: Condition,
    generators: list[np.random.Generator],
    steps: int,
    temperature: float,
    hold: Bound | None = None,
) -> tuple[torch.Tensor, str]:
    """One draw for every item of the condition by ancestral sampling, every estimate put into what is known (DDNM with eta = 1,
    Wang et al. 2023), and held, as values on the CPU, to what else is known of them; and how it was made.

    So networks of spectra are asked: their values have no range into which an answer could be put, and under annealed
    Langevin dynamics a network of digits made ever louder sounds: 5 times too loud after 50 calls, without end after 200.

    The noise that goes on to the next step is what the estimate leaves once it is put into what is known. So even of a Gaussian
    draws are not the posterior's, at any number of calls: of two numbers correlated by .9 the mean of the lost one tends to .63 of
    the other, and its variance is 1.88 times too large. With the noise that the denoiser's own estimate leaves they would tend to
    the posterior, but residuals then gather in x as in Langevin dynamics: a network of digits gave NaN within 80 calls.
    """
    also = (lambda x0: x0) if hold is None else holding(denoiser.scale, hold)
    x = temperature * noise(generators, tuple(condition.value.shape[1:]), device=condition.value.device)
    x = ancestral(
        denoiser,
        x,
        grid(steps),
        generators=generators,
        temperature=temperature,
        project=lambda x0: condition.hold(also(x0)),
    )
    how = f"ancestral sampling with every estimate held to what is observed (DDNM), {steps} calls each"
    return condition.hold(x), f"{how}, temperature {temperature:g}"


def holding(scale: Scale, hold: Bound) -> Hook:
    """Estimates [R, ...item] in the coordinates of a scale, held as values on the CPU."""
    return lambda x0: scale.encode(torch.from_numpy(hold(scale.decode(x0.detach().float().cpu()).numpy()))).to(x0)


def held(denoiser: NetworkDenoiser, hold: Bound | None) -> Denoiser:
    """A denoiser whose answers [R, ...item] are held, as values on the CPU, to what else is known of them."""
    if hold is None:
        return denoiser
    put = holding(denoiser.scale, hold)
    return lambda x_t, alpha_bar: put(denoiser(x_t, alpha_bar))
