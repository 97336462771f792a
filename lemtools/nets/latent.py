"""Two spaces and a latent one that they share: adapters into it and out of it, and a trunk that both pass (Jha et al. 2025, vec2vec).

    net.there(x) -> [..., E] of x [..., D]; net.back(y) -> [..., D] of y [..., E]; net.lift(x, side) -> [..., L]; net.lower(z, side)

All in the network's coordinates: each space less its mean, in units of its rms.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from .adapter import Way


class Latent(nn.Module):
    """source, onto: numbers of a vector of A and of B, as [D] and [E]. latent: numbers of what they share. width, depth: of the
    residuals of each adapter and of the trunk. start: 'map' or 'none', what training begins from; the others are the weights of its
    losses (train.recipes.latent).
    """

    family = "translate"

    def __init__(
        self,
        source: Sequence[int],
        onto: Sequence[int],
        width: int = 256,
        depth: int = 1,
        latent: int = 256,
        start: str = "map",
        pairs: float = 0.1,
        reconstruct: float = 1.0,
        cycle: float = 1.0,
        similar: float = 10.0,
        neighbours: float = 1.0,
        spread: float = 0.0,
    ):
        super().__init__()
        losses = {"pairs": pairs, "reconstruct": reconstruct, "cycle": cycle, "similar": similar}
        self.losses = losses | {"neighbours": neighbours, "spread": spread}
        self.start, spaces = start, (source[-1], onto[-1])
        self.into = nn.ModuleList(Way(space, latent, width, depth) for space in spaces)
        self.trunk = Way(latent, latent, width, depth)
        self.out = nn.ModuleList(Way(latent, space, width, depth) for space in spaces)
        with torch.no_grad():
            self.trunk.linear.weight.copy_(torch.eye(latent))
            for way in (*self.into, self.trunk, *self.out):
                way.linear.bias.zero_()

    def lift(self, x: torch.Tensor, side: int) -> torch.Tensor:
        """A vector of A (side 0) or of B (1) in the latent space."""
        return self.trunk(self.into[side](x))

    def lower(self, z: torch.Tensor, side: int) -> torch.Tensor:
        """What of the latent space is a vector of A or of B."""
        return self.out[side](z)

    def there(self, x: torch.Tensor) -> torch.Tensor:
        return self.lower(self.lift(x, 0), 1)

    def back(self, y: torch.Tensor) -> torch.Tensor:
        return self.lower(self.lift(y, 1), 0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.there(x)
