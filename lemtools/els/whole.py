"""The machines that compare whole images: `is`, the ideal score, and `es`, the same under all translations."""

from __future__ import annotations

import numpy as np
import torch

from ..denoise.contract import AlphaBar, Array, split, tensor, wide
from ..denoise.factored import Factored
from ..denoise.gaussian import Gaussian
from ..denoise.how import How
from ..denoise.memory import Memory, remembered
from ..denoise.store import Store
from ..signal import LemError, called
from .bank import Bank
from .sums import EMPTY, LOG2E

LARGE = 2048  # values of an item from which, where there are fewer items, a D x D covariance costs too much


class Translated:
    """The posterior mean where every circular translation of every image of the bank is as likely: machine `es`.

        x0_hat(u) = sum_(i, s) w_(i, s) y_i(u - s),    w = softmax_(i, s)(-|x - a y_i(. - s)|^2 / 2 b^2)

    All distances of an image are one cross-correlation, and its part of the sum one convolution: two Fourier
    transforms, in float64 where the device has it. skip, memory: as of ``Local``; so is ``error``.
    """

    def __init__(self, bank: Bank, *, skip: float = 1e-6, memory: int = 1 << 30, device: str | torch.device = "cpu"):
        self.bank, self.skip, self.memory, self.device = bank.to(device), skip, memory, torch.device(device)
        self.scale, self.error = bank.scale, 0.0

    def __call__(self, x_t: Array, alpha_bar: AlphaBar) -> Array:
        """x_t: as of ``Local``; alpha_bar: float64, one number or one per item."""
        x = x_t if isinstance(x_t, torch.Tensor) else tensor(x_t)
        x = x if x.is_floating_point() else x.float()
        level, noise = split(alpha_bar, len(x))
        out, self.error = x.clone(), 0.0
        inner = (noise > 0).nonzero()[:, 0]
        if len(inner):
            mean = self._mean(self.bank.high(x[inner]), level[inner], noise[inner])
            out[inner] = mean.to(out).reshape(out[inner].shape)
        return out if isinstance(x_t, torch.Tensor) else out.numpy()

    def _mean(self, x_t: torch.Tensor, level: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        real, (channels, height, width) = wide(self.device), self.bank.item
        amplitude, noise = (t.to(self.device, real)[:, None] for t in (level.sqrt(), noise))
        shift = torch.from_numpy(self.bank.mean).to(self.device, real)[:, None, None]
        x = torch.fft.rfft2(x_t.to(self.device, real) - amplitude[..., None, None] * shift)  # [S, C, H, F]
        seeds, pixels = len(x), height * width
        reference = torch.full((seeds, 1), EMPTY, dtype=real, device=self.device)
        total, skipped = torch.zeros_like(reference), torch.zeros_like(reference)
        sums = torch.zeros_like(x)
        images = max(1, min(512, self.memory // (64 * seeds * channels * pixels)))
        for _, tile in self.bank.tiles(images, real, self.device):
            y = tile - shift
            spectrum = torch.fft.rfft2(y)  # [I, C, H, F]
            cross = torch.fft.irfft2(torch.einsum("schf,ichf->sihf", x, spectrum.conj()), s=(height, width)).flatten(2)
            square = y.square().sum((1, 2, 3))
            logits = (amplitude * cross.transpose(0, 1) - 0.5 * amplitude**2 * square[:, None, None]) / noise * LOG2E
            logits = logits.transpose(0, 1)  # [S, I, translations]
            top = logits.amax(2)
            higher = torch.maximum(reference, top.amax(1, keepdim=True))
            fade = torch.exp2(reference - higher)
            total, skipped, sums, reference = total * fade, skipped * fade, sums * fade[..., None, None], higher
            bound = pixels * torch.exp2(top - reference)  # an image's weights are at most that
            ordered, order = bound.sort(1)
            left_out = skipped + ordered.cumsum(1) <= self.skip * total  # the least ones first
            skipped = skipped + (ordered * left_out).sum(1, keepdim=True)
            matters = ~torch.zeros_like(left_out).scatter(1, order, left_out)
            for s in range(seeds):
                mine = matters[s].nonzero()[:, 0]
                if len(mine):
                    weights = torch.exp2(logits[s, mine] - reference[s])
                    total[s] += weights.sum()
                    of_weights = torch.fft.rfft2(weights.unflatten(1, (height, width)))
                    sums[s] += torch.einsum("ihf,ichf->chf", of_weights, spectrum[mine])
        self.error = 2 * self.bank.moments[2] * float((skipped / (total + skipped)).max())
        return torch.fft.irfft2(sums, s=(height, width)) / total[..., None, None] + shift


def ideal(memories: Bank | Store, how: How) -> Memory:
    """Machine `is`: the posterior mean over the images themselves."""
    return remembered(memories, how)


def translated(memories: Bank | Store, how: How) -> Translated:
    """Machine `es`."""
    return Translated(Bank.of_memories(memories), skip=how.skip, memory=how.memory, device=how.device)


def wiener(memories: Bank | Store, how: How) -> Gaussian | Factored:
    """The control: the posterior mean of a Gaussian with the bank's mean and covariance, and a ridge of 1e-4 of its
    mean eigenvalue. Few large items go by the N x N matrix of their products, all others by the D x D covariance; elements
    that are identically zero have no variance. Raises LemError for a bank of one image, and for a matrix that takes more
    than how.memory bytes."""
    bank = Bank.of_memories(memories)
    if len(bank) < 2:
        raise LemError(f"wiener: one {called(bank.kind, 1)} has no covariance; leave this machine out")
    count, dim = len(bank), int(np.prod(bank.item))
    few = (count < dim and dim >= LARGE) or not bool(bank.alive.all())
    if (needed := 32 * (count if few else dim) ** 2) > how.memory:  # the matrix, its eigenvectors, as much to find them
        way = "raise --max-memory, or leave this machine out"
        raise LemError(f"wiener: a covariance of such {called(bank.kind)} takes {needed / 2**30:.3g} GiB; {way}")
    if few:
        return Factored(Store(bank.images, bank.scale, device=how.device), seen=bank.alive)
    return Gaussian.fit(bank.store, device=how.device)
