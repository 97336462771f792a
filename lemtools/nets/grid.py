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


def rings(padding: str, axes: int) -> tuple[bool, bool]:
    """Whether a padding goes round along (rows, columns). Raises LemError for a padding that there is not, and for two
    words where there is one axis."""
    if not PADDING.fits(padding):
        raise LemError(f"padding is one of {PADDING.wanted()}, not {padding!r}")
    words = padding.split(",")
    if len(words) > axes:
        raise LemError(f"padding {padding} is of rows and columns; states along one axis take {words[-1]}")
    return words[0] == "circular", words[-1] == "circular"


class Circular(nn.Conv2d):
    """A convolution on a torus, of odd sides; along an axis that is not among `torus` (rows, columns), zeros lie beyond the
    border. (torch's own circular padding is not channels-last: the convolution would turn it round again.)"""

    def __init__(self, inputs: int, outputs: int, window, dilation=1, torus: tuple[bool, bool] = (True, True)):
        super().__init__(inputs, outputs, window, dilation=dilation)
        margins = [side // 2 * step for side, step in zip(self.kernel_size, self.dilation)]
        self.wraps = [(axis, margin) for axis, margin, ring in zip((2, 3), margins, torus) if ring and margin]
        self.margin = tuple(0 if ring else margin for margin, ring in zip(margins, torus))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for axis, margin in self.wraps:
            x = _wrapped(x, margin, axis)
        return F.conv2d(x, self.weight, self.bias, 1, self.margin, self.dilation)


def _wrapped(x: torch.Tensor, more: int, axis: int) -> torch.Tensor:
    """x with `more` of its other end on either side along an axis."""
    count = x.shape[axis]
    if more > count:
        return x.index_select(axis, torch.arange(-more, count + more, device=x.device) % count)
    return torch.cat([x.narrow(axis, count - more, more), x, x.narrow(axis, 0, more)], axis)


def conv(
    inputs: int, outputs: int, side: int = 3, *, axes: int = 2, padding: str = "zeros", dilation: int = 1
) -> nn.Conv2d:
    """A convolution of an odd side that keeps the size. padding: of both axes, or of rows and of columns, as in
    'zeros,circular'. Raises LemError for a padding that there is not."""
    window, steps, torus = sides(side, axes), sides(dilation, axes), rings(padding, axes)
    if any(torus):
        return Circular(inputs, outputs, window, steps, torus)
    margin = tuple(length // 2 * step for length, step in zip(window, steps))
    return nn.Conv2d(inputs, outputs, window, padding=margin, dilation=steps)
