"""Emulators: networks of the family 'step', from the state of a simulation to the next one.

    net(x) -> [N, ...item]: the states after those x [N, ...item], both in coordinates: x + what the layers say

They begin as no change at all (the last layer is zero), and have no normalisation layers: what a state becomes depends
on that state alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import nn
from torch.nn import functional as F

from ..denoise.contract import Scale, Some, like, tensor
from ..signal import LemError
from .conv import kaiming, near, zero
from .grid import conv, high
from .mlp import LinearBlock
from .model import Model


class StepBlock(nn.Module):
    """h + conv(silu(conv(silu(h)))); gain: of the second one's initial weights."""

    def __init__(self, width: int, side: int, gain: float, axes: int, padding: str, dilation: int):
        super().__init__()
        self.first = conv(width, width, side, axes=axes, padding=padding, dilation=dilation)
        self.second = conv(width, width, side, axes=axes, padding=padding, dilation=dilation)
        kaiming(self.first)
        kaiming(self.second, gain)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return h + self.second(F.silu(self.first(F.silu(h))))


class ConvStep(nn.Module):
    """Residual blocks at full resolution. States on a torus by default: such a network commutes with shifts.

    channels: of a state. axes: 1 for states [N, C, L], 2 for [N, C, H, W]. side: of the windows, odd. dilations: of the
    blocks, over and over. ``reach``: how many places away a state matters, at most.
    """

    family = "step"

    def __init__(
        self,
        channels: int,
        width: int = 32,
        blocks: int = 3,
        side: int = 7,
        dilations: Sequence[int] = (1,),
        padding: str = "circular",
        axes: int = 1,
    ):
        super().__init__()
        if side % 2 == 0:
            raise ValueError(f"side {side}: a window has a middle, so it is odd")
        steps = [near(dilations)[i % len(dilations)] for i in range(blocks)]
        how = {"axes": axes, "padding": padding}
        self.channels, self.axes, self.reach = channels, axes, side // 2 * (2 + 2 * sum(steps))
        self.enter = conv(channels, width, side, **how)
        kaiming(self.enter)
        self.blocks = nn.Sequential(*(StepBlock(width, side, blocks**-0.5, axes, padding, step) for step in steps))
        self.leave = zero(conv(width, channels, side, **how))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim != 2 + self.axes or x.shape[1] != self.channels:
            shape = "H, W" if self.axes == 2 else "L"
            raise ValueError(f"states of shape {list(x.shape)}: expected [N, {self.channels}, {shape}]")
        return x + self.leave(F.silu(self.blocks(self.enter(high(x))))).reshape(x.shape).to(x)


class VectorStep(nn.Module):
    """A residual multilayer perceptron: states of any shape, all places at once. item: their shape."""

    family = "step"

    def __init__(self, item: Sequence[int], width: int = 256, depth: int = 2):
        super().__init__()
        self.item, size = tuple(item), prod(item)
        self.enter = nn.Linear(size, width)
        kaiming(self.enter, 0.5)
        self.blocks = nn.Sequential(*(LinearBlock(width, max(depth, 1) ** -0.5) for _ in range(depth)))
        self.leave = zero(nn.Linear(width, size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if tuple(x.shape[1:]) != self.item:
            raise ValueError(f"states of shape {list(x.shape)}: expected [N, {', '.join(map(str, self.item))}]")
        return x + self.leave(F.relu(self.blocks(F.relu(self.enter(x.flatten(1)))))).reshape(x.shape).to(x)


class Emulator:
    """A trained network of the family 'step' as a function: ``emulator(states) -> next states``, in signal values.

    states: [N, ...item], numpy or torch, of any float type; out: the same kind of array, type and device. The network
    runs in float32 where it lies. What becomes of a state does not depend on the others of its batch: on a CPU, equal
    batches give equal bits, and other ones the same to rounding (1e-6 of the standard deviation). What is not finite
    stays in its row.

    Raises LemError for a model of another family, and for states of another shape than it was trained on.
    """

    def __init__(self, model: Model):
        if model.family != "step":
            raise LemError(f"a model of {model.meta['recipe']}, no emulator; lem-train emulator makes one")
        self.net, self.scale, self.item = model.net, model.scale, tuple(model.meta["item"])
        self.device = next(model.net.parameters()).device
        # (on the device once, and not at every call)
        self.here = Scale(*(torch.as_tensor(v).to(self.device) for v in (self.scale.offset, self.scale.gain)))

    @torch.no_grad()
    def __call__(self, states: Some) -> Some:
        if tuple(states.shape[1:]) != self.item:
            wanted = _shape(self.item)
            raise LemError(f"states of {_shape(states.shape[1:])}, where the emulator was trained on those of {wanted}")
        start = states if isinstance(states, torch.Tensor) else tensor(states)
        x = self.here.encode(start.to(self.device, torch.float32))
        return like(self.here.decode(self.net(x)), states)


def _shape(item: Sequence[int]) -> str:
    return " x ".join(map(str, item))
