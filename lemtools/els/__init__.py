"""The analytic machines of Kamb & Ganguli (arXiv 2412.20292): what a convolutional diffusion model will dream.

All are denoisers by the project's contract, over a bank of training images, and all take one softmax over it:

    is      whole images                                          (the ideal score)
    es      whole images under every circular translation
    ls      P x P windows at the same place                       (local)
    els     P x P windows of all places, circular                 (equivariant and local)
    bbels   P x P windows of all places alike to the border       (equivariance broken by the border)
    wiener  a Gaussian with the bank's mean and covariance        (the control)

Modules: plan (which patches), local (sums over them in PyTorch), kernel and fused (the same in Triton), sums, posterior
(the denoiser), whole (is, es, wiener), bank and prepare (the images), scales (a patch size for each noise level),
sample, calibrate, against, explain, and study, which puts these together for the command.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..catalogue.denoisers import DENOISERS, named
from ..denoise.how import How, Share
from ..signal import LemError
from .plan import LOCAL

if TYPE_CHECKING:
    from ..denoise.contract import Denoiser
    from .bank import Bank

MACHINES = tuple(named("machine"))

__all__ = ["LOCAL", "MACHINES", "machine"]


def machine(
    name: str,
    bank: Bank,
    size: int | Callable[[float], int] = 3,
    *,
    skip: float = 1e-6,
    memory: int = 1 << 30,
    device: str = "cpu",
    valid: bool = False,
    share: Share | None = None,
) -> Denoiser:
    """The machine of that name as a denoiser; arguments as of ``posterior.Local``, of which not all take all."""
    if name not in (known := named("machine")):
        raise LemError(f"no machine {name!r}; there are {', '.join(known)}")
    return DENOISERS[name].load()(bank, How(str(device), memory, skip, size, valid, share))
