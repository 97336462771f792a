"""Networks of the family 'level': how much white noise is in a state, told by the state alone.

    net(x) -> [N, 1 + K] logits: that there is no noise, and that s, its standard deviation in the coordinates of
        x [N, ...item], is each of exp(net.read.logs)

`told` makes of them one level, and `Level` of a trained network a function from states to levels makes of a trained one a function from states to levels. How loud a learned filter is tells of noise what its values do not: of every layer they take the logarithm of the energy, which
is a number of moderate size whether the noise is .002 or 1 (as the noise of images is read from bands that have little else;
Donoho & Johnstone 1994). They never see alpha_bar.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ..denoise.contract import Scale, Some, like, tensor
from ..signal import LemError
from .conv import kaiming, near, zero
from .emulator import StepBlock
from .grid import check_states, conv, high
from .mlp import LinearBlock
from .model import Model

FAINT = 1e-10  # energy, in units of the variance, below which a filter is silent
HIDDEN = 64  # features of the perceptron that reads the energies
MODERATE = 0.3  # logarithms of energies run from -23 to about 3
MARGIN, APART, NONE = (
    1.5,
    0.13,
    1.0,
)  # of the levels: beyond the ends; between two, and of none from the lowest, in log s
GROUP = 8  # features of a vector whose energies are taken together


def single(x: torch.Tensor) -> torch.Tensor:
    """x in float32 at least."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


class Reading(nn.Module):
    """A perceptron from energies [N, count] to logits [N, 1 + K]; the levels `logs` are evenly spaced, and reach MARGIN beyond
    those from low to high, so that a posterior at either end is not cut off. Untrained, all are alike."""

    def __init__(self, count: int, low: float, high: float):
        super().__init__()
        if not 0 < low < high < math.inf:
            raise ValueError(f"noise from {low} to {high}: it must rise, from above 0")
        ends = math.log(low / MARGIN), math.log(high * MARGIN)
        self.register_buffer(
            "logs", torch.linspace(*ends, math.ceil((ends[1] - ends[0]) / APART) + 1), persistent=False
        )
        self.enter, self.inner = nn.Linear(count, HIDDEN), nn.Linear(HIDDEN, HIDDEN)
        self.leave = zero(nn.Linear(HIDDEN, 1 + len(self.logs)))

    def forward(self, energy: torch.Tensor) -> torch.Tensor:
        h = F.silu(self.enter(MODERATE * (energy + FAINT).log()))
        return single(self.leave(F.silu(self.inner(h))))


def told(net: Any, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(mean, 16 % and 84 % point) of log s, each [N], of the probabilities [N, 1 + K]. No noise counts as NONE below the lowest
    level in log s; the probability of a level is spread evenly half way to its neighbours."""
    logs = torch.cat([net.read.logs[:1] - NONE, net.read.logs]).to(logits)
    edges = torch.cat([logs[:1], (logs[1:] + logs[:-1]) / 2, logs[-1:]])
    p = logits.softmax(1)
    below, ends = p.cumsum(1), []
    for share in (0.16, 0.84):
        at = (below < share).sum(1, keepdim=True).clamp(max=len(logs) - 1)
        part = ((share - (below - p).gather(1, at)) / p.gather(1, at).clamp_min(1e-30)).clamp(0, 1)
        ends.append((edges[at] + part * (edges[at + 1] - edges[at]))[:, 0])
    return p @ logs, *ends


class ConvLevel(nn.Module):
    """Residual blocks at full resolution, as of an emulator, and the energy of every feature of every block, over all places.
    States on a torus by default: such a network reads the same in a state that is shifted.

    channels: of a state. low, high: the noise that it learns to read. axes: 1 for states [N, C, L], 2 for [N, C, H, W].
    side: of the windows, odd. dilations: of the blocks, over and over.
    """

    family = "level"

    def __init__(
        self,
        channels: int,
        low: float,
        high: float,
        width: int = 32,
        blocks: int = 3,
        side: int = 5,
        dilations: Sequence[int] = (1,),
        padding: str = "circular",
        axes: int = 1,
    ):
        super().__init__()
        if side % 2 == 0:
            raise ValueError(f"side {side}: a window has a middle, so it is odd")
        steps = [near(dilations)[i % len(dilations)] for i in range(blocks)]
        self.channels, self.axes = channels, axes
        self.enter = conv(channels, width, side, axes=axes, padding=padding)
        kaiming(self.enter)
        self.blocks = nn.ModuleList(StepBlock(width, side, blocks**-0.5, axes, padding, step) for step in steps)
        self.read = Reading(width * (1 + blocks), low, high)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        check_states(x, self.channels, self.axes)
        layers = [self.enter(high(x))]
        for block in self.blocks:
            layers.append(block(layers[-1]))
        return self.read(torch.cat([single(h).square().mean((2, 3)) for h in layers], 1))


class VectorLevel(nn.Module):
    """The same for vectors, and for states of any shape, all places at once; an energy is that of GROUP features. item: their
    shape."""

    family = "level"

    def __init__(self, item: Sequence[int], low: float, high: float, width: int = 256, depth: int = 2):
        super().__init__()
        self.item = tuple(item)
        if width % GROUP:
            raise ValueError(f"width {width}: a multiple of {GROUP}")
        self.enter = nn.Linear(math.prod(self.item), width)
        kaiming(self.enter, 0.5)
        self.blocks = nn.ModuleList(LinearBlock(width, max(depth, 1) ** -0.5) for _ in range(depth))
        self.read = Reading(width // GROUP * (1 + depth), low, high)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if tuple(x.shape[1:]) != self.item:
            raise ValueError(f"states of shape {list(x.shape)}: expected [N, {', '.join(map(str, self.item))}]")
        layers = [self.enter(x.flatten(1))]
        for block in self.blocks:
            layers.append(block(layers[-1]))
        return self.read(torch.cat([single(h).square().unflatten(1, (-1, GROUP)).mean(2) for h in layers], 1))


class Level:
    """A trained network of the family 'level' as a function: ``level(states) -> s [N]``, the standard deviation of the white
    noise in each state, in units of the standard deviation of the states that it learned from.

    states: [N, ...item] in signal values, numpy or torch, of any float type; out: the same kind of array, type and device.
    nan for a state that is not finite. What is read in a state does not depend on the others but by rounding.
    ``log(states)`` gives log s with its 16 % and 84 % points. calibration: see nets.calibration, or None.

    Raises LemError for a model of another family, and for states of another shape than it was trained on.
    """

    def __init__(self, model: Model):
        if model.family != "level":
            raise LemError(
                f"a model of {model.meta['recipe']} reads no level of noise; lem-train thermalizer makes one"
            )
        self.net, self.scale, self.item = model.net, model.scale, tuple(model.meta["item"])
        self.calibration = model.meta.get("calibration")
        self.device = next(model.net.parameters()).device
        self.here = Scale(*(torch.as_tensor(v).to(self.device) for v in (self.scale.offset, self.scale.gain)))

    def __call__(self, states: Some) -> Some:
        return like(self.log(states)[0].exp(), states, (len(states),))

    @torch.no_grad()
    def log(self, states: Some) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(log s, 16 % and 84 % points of it), each [N]."""
        if tuple(states.shape[1:]) != self.item:
            raise LemError(
                f"states of {list(states.shape[1:])}, where the network was trained on those of {list(self.item)}"
            )
        start = states if isinstance(states, torch.Tensor) else tensor(states)
        x = self.here.encode(start.to(self.device, torch.float32))
        whole = torch.isfinite(x).flatten(1).all(1)
        found = told(self.net, self.net(torch.where(whole.reshape(-1, *[1] * (x.ndim - 1)), x, 0.0)))
        mean, low, high = (torch.where(whole, part, torch.nan) for part in found)
        return mean, low, high
