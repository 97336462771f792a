"""Networks of the family 'translate': vectors of one space as those of another, and back.

    net.there(x) -> [..., E] of x [..., D]; net.back(y) -> [..., D] of y [..., E]

Both in the network's coordinates: each space less its mean, in units of its rms.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class Way(nn.Module):
    """W x + b, and a residual of `depth` hidden layers, which is 0 at first: a fresh one is linear."""

    def __init__(self, source: int, target: int, width: int, depth: int):
        super().__init__()
        self.linear = nn.Linear(source, target)
        self.hidden = nn.ModuleList(nn.Linear(width if i else source, width) for i in range(depth))
        self.out = nn.Linear(width, target, bias=False) if depth else None
        if self.out is not None:
            nn.init.zeros_(self.out.weight)

    @torch.no_grad()
    def begin(self, matrix: np.ndarray) -> None:
        """Become x -> x matrix [D, E]."""
        self.linear.weight.copy_(torch.from_numpy(np.ascontiguousarray(matrix.T)))
        self.linear.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, h = self.linear(x), x
        for i, layer in enumerate(self.hidden):
            h = F.gelu(layer(h)) + (h if i else 0)
        return y if self.out is None else y + self.out(h)


class Adapter(nn.Module):
    """source, onto: numbers of a vector of A and of B, as [D] and [E]. width, depth: of the residual, each way; depth 0: none."""

    family = "translate"

    def __init__(self, source: Sequence[int], onto: Sequence[int], width: int = 512, depth: int = 1):
        super().__init__()
        self.there = Way(source[-1], onto[-1], width, depth)
        self.back = Way(onto[-1], source[-1], width, depth)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.there(x)
