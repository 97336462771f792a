"""A recurrent estimator: one shared block, iterated; the fragment is shown to it again at every step."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import nn

from .condition import Condition
from .conv import guess, inputs, kaiming, pad, sizes, zero
from .mlp import INPUT, vector


class Recurrent(nn.Module):
    """A gated recurrent unit (Cho et al. 2014); convolutional for images and spectra (Ballas et al. 2016).

        z, r = sigmoid(U h + drive),  c = tanh(V (r h) + drive),  h <- h + z (c - h)

    item: shape of the input; of images only the channels matter. target: shape of what it recalls, by default
    the item; of images only the channels may differ. Where the two agree it improves the first guess (see conv.py);
    lost: size of the residual of a lost value. steps: how often the block is applied unless a call says otherwise;
    the state never leaves [-1, 1], whatever their number. shuffle: for images, the state lives on cells of shuffle x
    shuffle pixels; every step sees 2 cells further.
    """

    family = "estimate"

    def __init__(
        self,
        item: Sequence[int],
        target: Sequence[int] | None = None,
        width: int = 64,
        steps: int = 8,
        shuffle: int = 2,
        lost: float = 0.5,
    ):
        super().__init__()
        target = tuple(item if target is None else target)
        self.images, self.improves = len(item) == 3, target == tuple(item)
        self.target, self.width, self.steps, self.shuffle, self.lost = target, width, steps, shuffle, lost
        if self.images and len(target) != 3:
            raise ValueError(f"images give images: target {list(target)} does not fit item {list(item)}")
        fan_in = (2 * item[0] + 3) * shuffle**2 if self.images else 3 * prod(item) + 1
        fan_out = target[0] * shuffle**2 if self.images else prod(target)
        self.enter, self.drive = self._layer(fan_in, width), self._layer(width, 3 * width)
        self.gates, self.candidate = self._layer(width, 2 * width, bias=False), self._layer(width, width, bias=False)
        self.think, self.leave = self._layer(width, width), zero(self._layer(width, fan_out))
        kaiming(self.enter, 1 if self.images else 1 / INPUT)
        kaiming(self.think)

    def _layer(self, fan_in: int, fan_out: int, bias: bool = True) -> nn.Module:
        return nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=bias) if self.images else nn.Linear(fan_in, fan_out, bias)

    def forward(self, condition: Condition, steps: int | None = None) -> torch.Tensor:
        """[N, ...target] in coordinates, after `steps` (default: the constructor's) applications of the block."""
        return self._run(condition, steps, every=False)[-1]

    def trajectory(self, condition: Condition, steps: int | None = None) -> torch.Tensor:
        """[steps, N, ...target]: the estimates after 1, 2, … steps."""
        return torch.stack(self._run(condition, steps, every=True))

    def _run(self, condition: Condition, steps: int | None, every: bool) -> list[torch.Tensor]:
        steps = self.steps if steps is None else steps
        if steps < 1:
            raise ValueError(f"steps is {steps}: it takes one at least")
        first, size = guess(condition), sizes(condition, self.lost)
        if self.images:
            seen = F.pixel_unshuffle(pad(inputs(condition, first, size), self.shuffle), self.shuffle)
        else:
            seen = vector(condition, first)
        drive_gates, drive_candidate = self.drive(F.relu(self.enter(seen))).split([2 * self.width, self.width], 1)
        state, out = first.new_zeros(drive_candidate.shape), []
        for step in range(steps):
            update, reset = torch.sigmoid(self.gates(state) + drive_gates).chunk(2, 1)
            state = state + update * (torch.tanh(self.candidate(reset * state) + drive_candidate) - state)
            if every or step == steps - 1:
                residual = self._read(state, first)
                out.append(first + size * residual if self.improves else residual)
        return out

    def _read(self, state: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
        out = self.leave(F.relu(self.think(state))).to(first)
        if not self.images:
            return out.reshape(-1, *self.target)
        return F.pixel_shuffle(out, self.shuffle)[..., : first.shape[-2], : first.shape[-1]]
