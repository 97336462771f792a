"""Networks of the family 'classify': which class a memory is of.

    net(x) -> logits [N, K] of x [N, ...item] in the network's coordinates
    net.count, how many layers there are; net.layers(x) -> vectors [N, F] of every layer, lowest first: means over places, then what the head reads last

They have no batch statistics: an item's logits do not depend on the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import nn

from .conv import kaiming
from .mlp import LinearBlock

GROUP = (
    16  # features whose mean and variance in an item are taken together: of few, the norm would leave no mean to read
)


def normed(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(width // GROUP if width % GROUP == 0 else 1, width)


class Unit(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))), 3 x 3, of which the first halves both sides where stride is 2 (He et al. 2016, arXiv
    1603.05027, with group norm: Wu & He 2018, arXiv 1803.08494)."""

    def __init__(self, before: int, width: int, stride: int):
        super().__init__()
        self.norms = nn.ModuleList([normed(before), normed(width)])
        self.first = nn.Conv2d(before, width, 3, stride, 1)
        self.second = nn.Conv2d(width, width, 3, 1, 1)
        self.short = nn.Conv2d(before, width, 1, stride) if stride > 1 or before != width else nn.Identity()
        kaiming(self.first)
        kaiming(self.second)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.relu(self.norms[0](x), inplace=True)
        short = x if isinstance(self.short, nn.Identity) else self.short(h)
        return short + self.second(F.relu(self.norms[1](self.first(h)), inplace=True))


class ConvClassifier(nn.Module):
    """Images and spectra [N, C, H, W] of any size. widths: features of the stages, each of which but the first halves both sides;
    blocks: residual units a stage. rows: of spectra, whose features are means over time alone, row by row, since another pitch is another
    sound; 0: means over all places."""

    family = "classify"

    def __init__(
        self, channels: int, classes: int, widths: Sequence[int] = (48, 96, 192), blocks: int = 2, rows: int = 0
    ):
        super().__init__()
        self.classes, self.rows = classes, rows
        self.enter = nn.Conv2d(channels, widths[0], 3, 1, 1)
        kaiming(self.enter)
        stages, before, left = [], widths[0], rows or 1
        for i, width in enumerate(widths):
            first = Unit(before, width, 2 if i else 1)
            stages.append(nn.Sequential(first, *(Unit(width, width, 1) for _ in range(blocks - 1))))
            before = width
            left = left if not i else -(-left // 2)
        self.count = len(stages)
        self.stages, self.norm, self.head = (
            nn.ModuleList(stages),
            nn.GroupNorm(1, before),
            nn.Linear(before * left, classes),
        )
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def layers(self, x: torch.Tensor) -> list[torch.Tensor]:
        found, h = [], self.enter(x)
        for stage in self.stages:
            h = stage(h)
            found.append(self.mean(h))
        return [*found[:-1], self.mean(F.relu(self.norm(h)))]

    def mean(self, h: torch.Tensor) -> torch.Tensor:
        """What is read of [N, C, H, W]."""
        return h.mean(3).flatten(1) if self.rows else h.mean((2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(x)[-1])


class MLPClassifier(nn.Module):
    """Vectors, and anything of one shape, flattened. depth: residual blocks of the width; 0: a linear map alone."""

    family = "classify"

    def __init__(self, item: Sequence[int], classes: int, width: int = 256, depth: int = 2):
        super().__init__()
        self.classes, self.count, inputs = classes, depth + 1, prod(item)
        self.enter = nn.Linear(inputs, width) if depth else nn.Identity()
        self.blocks = nn.ModuleList(LinearBlock(width, depth**-0.5) for _ in range(depth))
        self.head = nn.Linear(width if depth else inputs, classes)
        if depth:
            kaiming(self.enter)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def layers(self, x: torch.Tensor) -> list[torch.Tensor]:
        found = [self.enter(x.flatten(1))]
        for block in self.blocks:
            found.append(block(found[-1]))
        return [*found[:-1], F.relu(found[-1]) if len(self.blocks) else found[-1]]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(x)[-1])
