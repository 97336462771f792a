"""Networks of the family 'boundary': where in a window of sound one phone gives way to the next.

    net(x, pair) -> [N, T] logits: how likely each frame of the windows x [N, F, T] is the boundary, of phones whose classes are
        pair, int64 [N, 2]: that which ends, and that which begins

The boundary is the mean place under these probabilities (`places`), and so lies in the window. A window is seen less its mean:
how loud a sound is says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from .conv import kaiming, zero

UNIT = 3.0  # about the standard deviation of log-mel powers in a window


class Block(nn.Module):
    """h + a convolution over time with gaps, normalised over features and time, and a mix of features."""

    def __init__(self, width: int, side: int, dilation: int):
        super().__init__()
        self.along = nn.Conv1d(width, width, side, padding=dilation * (side // 2), dilation=dilation)
        self.norm, self.mix = nn.GroupNorm(1, width), nn.Conv1d(width, width, 1)
        kaiming(self.along)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return h + self.mix(F.silu(self.norm(self.along(F.silu(h)))))


class ConvBoundary(nn.Module):
    """Convolutions over time, mel bands as their channels; the classes scale and shift what the first layer says, and each pair has
    its own expectation of where a boundary lies.

    item: (bands, frames) of a window, an odd number of frames. classes: of phones. side: frames that a convolution spans, odd; their
    gaps double from block to block, up to 4.
    """

    family = "boundary"

    def __init__(self, item: Sequence[int], classes: int, width: int = 48, blocks: int = 3, side: int = 5):
        super().__init__()
        bands, frames = item
        if side % 2 == 0 or frames % 2 == 0:
            raise ValueError(f"side {side}, frames {frames}: a window has a middle, give odd ones")
        self.frames, self.classes = frames, classes
        self.ending, self.beginning = nn.Embedding(classes, 8), nn.Embedding(classes, 8)
        self.enter = nn.Conv1d(bands + 1, width, side, padding=side // 2)
        self.told = nn.Linear(16, 2 * width)
        self.blocks = nn.ModuleList(Block(width, side, min(2**i, 4)) for i in range(blocks))
        self.leave = nn.Conv1d(width, 1, 1, bias=False)  # (a constant changes no probability)
        self.expected = zero(nn.Linear(16, frames))
        self.register_buffer("place", torch.linspace(-1, 1, frames), persistent=False)

    def forward(self, x: torch.Tensor, pair: torch.Tensor) -> torch.Tensor:
        known = torch.cat([self.ending(pair[:, 0]), self.beginning(pair[:, 1])], 1)
        shown = (x - x.mean((1, 2), keepdim=True)) / UNIT
        h = self.enter(torch.cat([shown, self.place.expand(len(x), 1, -1).to(shown)], 1))
        gain, shift = self.told(known)[:, :, None].chunk(2, 1)
        h = h * (1 + gain) + shift
        for block in self.blocks:
            h = block(h)
        return self.leave(F.silu(h))[:, 0] + self.expected(known)


def places(logits: torch.Tensor) -> torch.Tensor:
    """float32 [N]: the mean place under logits [N, T], in frames from the middle one; within (T - 1) / 2 on both sides."""
    half = (logits.shape[1] - 1) // 2
    return logits.float().softmax(1) @ torch.arange(-half, half + 1, dtype=torch.float32, device=logits.device)
