"""Convolutions over two spatial axes or one, by one code: a state [N, C, L] goes through as an image of height 1.

(A convolution over one axis is computed so in any case; measured on a CPU, the two take the same time.)
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from ..catalogue.networks import PADDING
from ..signal import LemError


def sides(length: int, axes: int) -> tuple[int, int]:
    """(height, width) of a window, stride or dilation of this length: along the last axis alone where axes is 1."""
    if axes not in (1, 2):
        raise ValueError(f"a grid has one axis or two, not {axes}")
    return (length if axes == 2 else 1, length)


def high(x: torch.Tensor) -> torch.Tensor:
    """[N, C, L] as [N, C, 1, L]; what has two spatial axes as it is."""
    return x[:, :, None] if x.ndim == 3 else x


def check_states(x: torch.Tensor, channels: int, axes: int) -> None:
    """ValueError where x is not [N, channels, L], or [N, channels, H, W] where axes is 2."""
    if x.ndim != 2 + axes or x.shape[1] != channels:
        raise ValueError(f"states of shape {list(x.shape)}: expected [N, {channels}, {'H, W' if axes == 2 else 'L'}]")


class Circular(nn.Conv2d):
    """A convolution on a torus, of odd sides. (torch's own circular padding is not channels-last: the convolution would
    turn it round again.)"""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for axis, side, step in zip((2, 3), self.kernel_size, self.dilation):
            if more := side // 2 * step:
                x = _wrapped(x, more, axis)
        return F.conv2d(x, self.weight, self.bias, 1, 0, self.dilation)


def _wrapped(x: torch.Tensor, more: int, axis: int) -> torch.Tensor:
    """x with `more` of its other end on either side along an axis."""
    count = x.shape[axis]
    if more > count:
        return x.index_select(axis, torch.arange(-more, count + more, device=x.device) % count)
    return torch.cat([x.narrow(axis, count - more, more), x, x.narrow(axis, 0, more)], axis)


def conv(
    inputs: int, outputs: int, side: int = 3, *, axes: int = 2, padding: str = "zeros", dilation: int = 1
) -> nn.Conv2d:
    """A convolution of an odd side that keeps the size. Raises LemError for a padding that there is not."""
    if not PADDING.fits(padding):
        raise LemError(f"padding is one of {PADDING.wanted()}, not {padding!r}")
    window, steps = sides(side, axes), sides(dilation, axes)
    if padding == "circular":
        return Circular(inputs, outputs, window, dilation=steps)
    margin = tuple(length // 2 * step for length, step in zip(window, steps))
    return nn.Conv2d(inputs, outputs, window, padding=margin, dilation=steps)
