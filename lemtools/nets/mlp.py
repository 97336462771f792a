"""A residual multilayer perceptron: the estimate of vectors and small images from a fragment seen all at once."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import nn

from .condition import Condition
from .conv import guess, kaiming, sizes, zero

MASK, INPUT = 0.2, 0.2  # gains: of the planes that say what is lost, of the whole input; see `vector`


def vector(condition: Condition, first: torch.Tensor) -> torch.Tensor:
    """[N, 3 D + 1]: the guess, then observed and known about their middle, and sigma, each flattened.

    Which elements are lost is mostly noise to a product over all of them, so it enters fainter than their values.
    Small inputs with large weights keep a step of Adam, the same for every weight, from moving all units at once.
    """
    masks = [MASK * (part.to(first) - 0.5).flatten(1) for part in (condition.observed, condition.known)]
    return INPUT * torch.cat([first.flatten(1), *masks, condition.sigma[:, None]], 1)


class LinearBlock(nn.Module):
    """x + linear(relu(linear(x))); gain: of the second one's initial weights."""

    def __init__(self, width: int, gain: float):
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        kaiming(self.first)
        kaiming(self.second, gain)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(F.relu(self.first(x), inplace=True))


class MLP(nn.Module):
    """item, target: shapes of the input and of what it recalls (default: the item); depth: residual blocks.

    Where the two shapes agree it improves the first guess (see conv.py); lost: size of the residual of a lost value.
    """

    family = "estimate"

    def __init__(
        self,
        item: Sequence[int],
        target: Sequence[int] | None = None,
        width: int = 512,
        depth: int = 2,
        lost: float = 1.0,
    ):
        super().__init__()
        self.target, self.lost = tuple(item if target is None else target), lost
        self.improves = self.target == tuple(item)
        self.enter = nn.Linear(3 * prod(item) + 1, width)
        kaiming(self.enter, 0.5 / INPUT)
        self.blocks = nn.Sequential(*(LinearBlock(width, depth**-0.5) for _ in range(depth)))
        self.leave = zero(nn.Linear(width, prod(self.target)))

    def forward(self, condition: Condition, steps: int | None = None) -> torch.Tensor:
        """[N, ...target] in coordinates; steps is of no use to it."""
        first = guess(condition)
        out = self.leave(self.blocks(self.enter(vector(condition, first)))).reshape(-1, *self.target).to(first)
        return first + sizes(condition, self.lost) * out if self.improves else out
