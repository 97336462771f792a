"""Frames of tokens: networks of the family 'frames', from some frames to the next one.

    net(tokens) -> [N, P, K]: logits of the P tokens of the next frame, from the frames before, [N, C, P], oldest first

The tokens of the next frame are independent of each other once those frames are known: it is drawn at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from ..denoise.contract import Some
from ..signal import LemError
from .draw import draw
from .lm import Trunk
from .model import Model
from .nats import nats

ROWS = 128  # that go through the network at a time


class FrameTransformer(nn.Module):
    """All places of all frames see each other; what is said of a place stands where the last frame has it.

    vocabulary: K, tokens 0 .. K - 1. places: P. context: C, frames that it sees. Places and frames enter as learned
    vectors, and the distance of two places as rotations of keys and queries. A fresh network gives every token the same
    probability.
    """

    family = "frames"

    def __init__(self, vocabulary: int, places: int, context: int = 2, depth: int = 3, width: int = 64, heads: int = 4):
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width {width} is no multiple of 2 x {heads} heads")
        self.vocabulary, self.places, self.context = vocabulary, places, context
        self.enter = nn.Embedding(vocabulary, width)
        self.place = nn.Parameter(0.3 * torch.randn(places, width))
        self.frame = nn.Parameter(0.3 * torch.randn(context, 1, width))
        self.trunk = Trunk(depth, width, heads, context * places, causal=False)
        self.head = nn.Linear(width, vocabulary)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.enter(tokens.long()) + self.place + self.frame
        return self.head(self.trunk(x.flatten(1, 2))[:, -self.places :])

    def nats(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of frames in a row [N, C + 1, P]: (nats that each token of the last one takes, the likeliest token), [N, P]."""
        goal = tokens[:, -1].long()
        logits = self(tokens[:, :-1]).float()
        return nats(logits, goal), logits.argmax(-1)


class Frames:
    """A trained network of the family 'frames': probabilities of the next frame, and draws of it.

    Attributes: context (C, frames that it sees), places (P), vocabulary (K), device. What is said of a row does not depend
    on the others but by the rounding of sums (1e-6 of a logit). Raises LemError for a model of another family.
    """

    def __init__(self, model: Model):
        if model.family != "frames":
            raise LemError(f"a model of {model.meta['recipe']}, which makes no frames; lem-train frames makes one")
        self.net = model.net
        self.context, self.places, self.vocabulary = self.net.context, self.net.places, self.net.vocabulary
        self.device = next(self.net.parameters()).device

    def logits(self, context: Some) -> Some:
        """float32 [R, P, K] of the next frame, from tokens [R, C, P], oldest frame first; the same kind of array, on the
        same device. Raises LemError for tokens of another shape, or that the network does not know."""
        out = self._logits(torch.as_tensor(context))
        return out.to(context.device) if isinstance(context, torch.Tensor) else out.cpu().numpy()

    def sample(self, context: Some, generators: Sequence[np.random.Generator], temperature: float = 1.0) -> Some:
        """The next frame [R, P], of the type of `context` [R, C, P]. generators: one a row, which draws its places in order;
        temperature: 1 for what the network says, 0 for the likeliest tokens."""
        given = torch.as_tensor(context)
        found = torch.from_numpy(draw(self._logits(given), generators, temperature)).to(given.dtype)
        return found.to(context.device) if isinstance(context, torch.Tensor) else found.numpy()

    @torch.no_grad()
    def _logits(self, tokens: torch.Tensor) -> torch.Tensor:
        """On the network's device."""
        if tokens.shape[1:] != (self.context, self.places) or tokens.dtype.is_floating_point:
            wanted = f"[R, {self.context}, {self.places}]"
            raise LemError(f"frames of shape {list(tokens.shape)} and type {tokens.dtype}: expected tokens {wanted}")
        self.check(tokens)
        parts = [self.net(part.to(self.device)).float() for part in tokens.split(ROWS)]
        return torch.cat(parts) if parts else torch.zeros(0, self.places, self.vocabulary, device=self.device)

    def check(self, tokens: Some, where: str = "frames") -> None:
        """LemError, which calls the tokens `where`, for one that the network does not know."""
        bad = tokens[(tokens < 0) | (tokens >= self.vocabulary)]
        if len(bad):
            raise LemError(f"{where}: token {int(bad[0])}; the network knows 0 to {self.vocabulary - 1}")
