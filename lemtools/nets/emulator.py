"""Networks from states of a simulation to the next ones, all of them [N, ...item] in coordinates.

    step        net(x): the states after x: x + what the layers say. An emulator
    correct     net(previous, claimed): what came after `previous`, where an emulator claims `claimed`: that + what the
                layers say. A corrector of that emulator (Um et al. 2020, arXiv 2007.00016, correct a solver so)

They begin as no change at all (the last layer is zero), and have no normalisation layers: what a state becomes depends
on that row alone.
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
from .grid import check_states, conv, high
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

    It is shown `shown` states, the last of which it changes. channels: of a state. axes: 1 for states [N, C, L], 2 for
    [N, C, H, W]. side: of the windows, odd. dilations: of the blocks, over and over. ``reach``: how many places away a state
    matters, at most.
    """

    family, shown = "step", 1

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
        self.enter = conv(self.shown * channels, width, side, **how)
        kaiming(self.enter)
        self.blocks = nn.Sequential(*(StepBlock(width, side, blocks**-0.5, axes, padding, step) for step in steps))
        self.leave = zero(conv(width, channels, side, **how))

    def forward(self, *states: torch.Tensor) -> torch.Tensor:
        for x in states:
            check_states(x, self.channels, self.axes)
        seen = torch.cat(states, 1) if len(states) > 1 else x
        return x + self.leave(F.silu(self.blocks(self.enter(high(seen))))).reshape(x.shape).to(x)


class ConvCorrect(ConvStep):
    """The same for a corrector, which is shown the previous state and the claimed one."""

    family, shown = "correct", 2


class VectorStep(nn.Module):
    """A residual multilayer perceptron: states of any shape, all places at once. item: their shape."""

    family, shown = "step", 1

    def __init__(self, item: Sequence[int], width: int = 256, depth: int = 2):
        super().__init__()
        self.item, size = tuple(item), prod(item)
        self.enter = nn.Linear(self.shown * size, width)
        kaiming(self.enter, 0.5)
        self.blocks = nn.Sequential(*(LinearBlock(width, max(depth, 1) ** -0.5) for _ in range(depth)))
        self.leave = zero(nn.Linear(width, size))

    def forward(self, *states: torch.Tensor) -> torch.Tensor:
        for x in states:
            if tuple(x.shape[1:]) != self.item:
                raise ValueError(f"states of shape {list(x.shape)}: expected [N, {', '.join(map(str, self.item))}]")
        seen = torch.cat([x.flatten(1) for x in states], 1)
        return x + self.leave(F.relu(self.blocks(F.relu(self.enter(seen))))).reshape(x.shape).to(x)


class VectorCorrect(VectorStep):
    """The same for a corrector, which is shown the previous state and the claimed one."""

    family, shown = "correct", 2


class Stepping:
    """A trained network of this module as a function of states, in signal values.

    states: [N, ...item], numpy or torch, of any float type; out: the same kind of array, type and device. The network
    runs in float32 where it lies. What becomes of a state does not depend on the others of its batch: on a CPU, equal
    batches give equal bits, and other ones the same to rounding (1e-6 of the standard deviation). What is not finite
    stays in its row.

    Raises LemError for a model of another family, and for states of another shape than it was trained on.
    """

    family, name, recipe = "", "", ""

    def __init__(self, model: Model):
        if model.family != self.family:
            raise LemError(f"a model of {model.meta['recipe']}, no {self.name}; lem-train {self.recipe} makes one")
        self.net, self.scale, self.item = model.net, model.scale, tuple(model.meta["item"])
        self.device = next(model.net.parameters()).device
        # (on the device once, and not at every call)
        self.here = Scale(*(torch.as_tensor(v).to(self.device) for v in (self.scale.offset, self.scale.gain)))

    @torch.no_grad()
    def _answer(self, *states: Some) -> Some:
        shown = []
        for each in states:
            if tuple(each.shape[1:]) != self.item:
                have, wanted = _shape(each.shape[1:]), _shape(self.item)
                raise LemError(f"states of {have}, where the {self.name} was trained on those of {wanted}")
            x = each if isinstance(each, torch.Tensor) else tensor(each)
            shown.append(self.here.encode(x.to(self.device, torch.float32)))
        return like(self.here.decode(self.net(*shown)), states[-1])


class Emulator(Stepping):
    """``emulator(states) -> next states``, by a network of the family 'step'; see Stepping."""

    family, name, recipe = "step", "emulator", "emulator"

    def __call__(self, states: Some) -> Some:
        return self._answer(states)


class Corrector(Stepping):
    """``corrector(previous, claimed) -> next states``, by a network of the family 'correct'; see Stepping.

    previous: states, claimed: what the emulator that it was trained for says comes after them; as many rows of both.
    """

    family, name, recipe = "correct", "corrector", "corrector"

    def __call__(self, previous: Some, claimed: Some) -> Some:
        if len(previous) != len(claimed):
            raise LemError(f"{len(claimed)} claimed states after {len(previous)} previous ones")
        return self._answer(previous, claimed)


def _shape(item: Sequence[int]) -> str:
    return " x ".join(map(str, item))
