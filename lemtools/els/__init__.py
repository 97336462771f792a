"""The analytic machines of Kamb & Ganguli (arXiv 2412.20292): what a convolutional diffusion model will dream.

All are denoisers by the project's contract, over a bank of training images or spectra, and all but the two controls
take one softmax over it:

    is      whole images                                          (the ideal score)
    es      whole images under every circular translation
    ls      windows at the same place                             (local)
    els     windows of all places, circular                       (equivariant and local)
    bbels   windows of all places alike to the border             (equivariance broken by the border)
    both, time, freq, none                                        one of these rules along rows, one along columns
    linear  the best linear filter of such windows                (a control)
    wiener  a Gaussian with the bank's mean and covariance        (a control)

Modules: plan (which patches), local (sums over them in PyTorch), gpu (the same in Triton), sums, posterior (the
denoiser), linear, whole (is, es, wiener), bank and prepare (the images), scales (a patch size for each noise level).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..catalogue.denoisers import DENOISERS, named
from ..denoise.how import How
from ..signal import LemError

if TYPE_CHECKING:
    from ..denoise.contract import Denoiser
    from .bank import Bank
    from .plan import Size


def machine(name: str, bank: Bank, size: Size | Callable[[float], Size] = 3, how: How | None = None) -> Denoiser:
    """The machine of that name as a denoiser; size: of its patches, if it compares patches."""
    if name not in (known := named("machine")):
        raise LemError(f"no machine {name!r}; there are {', '.join(known)}")
    return DENOISERS[name].load()(bank, replace(how or How(), size=size))
