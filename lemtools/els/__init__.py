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

from ..signal import LemError
from .plan import LOCAL

if TYPE_CHECKING:
    from ..denoise.contract import Denoiser
    from .bank import Bank
    from .posterior import Share

MACHINES = ("is", "es", *LOCAL, "wiener")


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
    from . import posterior, whole

    if name in LOCAL:
        return posterior.Local(bank, name, size, skip=skip, memory=memory, device=device, valid=valid, share=share)
    if name == "es":
        return whole.Translated(bank, skip=skip, memory=memory, device=device)
    if name == "wiener":
        return whole.wiener(bank, device, memory)
    if name == "is":
        return whole.ideal(bank, device)
    raise LemError(f"no machine {name!r}; there are {', '.join(MACHINES)}")
