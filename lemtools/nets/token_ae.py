"""K tokens as one vector and back: the autoencoder of CALM (Shao et al. 2025, arXiv 2510.27688, section 3).

Every chunk of K tokens stands alone. Encoder: embed, a feed-forward block a token, K vectors to one, a block, mean and
deviation of D latents. Decoder: the same backwards, to the logits of K tokens. Robust by dropout of tokens and latents,
by the noise of a variational posterior, and by the clamped divergence that keeps any latent from collapsing.

Shapes: N items, L tokens in C = L / K chunks, D latents, V tokens of the vocabulary and one more, V, that pads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .nats import nats

DEEPEST = -6.0  # least log of a deviation: finer than that no channel keeps a latent


class FeedForward(nn.Module):
    """x + SwiGLU(norm(x)); sums and norms in float32, whatever the products are in."""

    def __init__(self, width: int):
        super().__init__()
        self.norm, hidden = nn.RMSNorm(width), -(-8 * width // (3 * 32)) * 32
        self.gate_up, self.down = nn.Linear(width, 2 * hidden, bias=False), nn.Linear(hidden, width, bias=False)
        nn.init.normal_(self.down.weight, std=(2 * hidden) ** -0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.float()
        gate, up = self.gate_up(self.norm(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class TokenAutoencoder(nn.Module):
    """vocabulary: V. chunk: K. latent: D. width, depth: of the blocks, on each side of the bottleneck and per stage.

    token_dropout, latent_dropout: shares of the tokens and latents that are hidden in training. kl: weight of the
    divergence from N(0, 1), clamp: nats a latent below which it does not count.
    """

    family = "autoencoder"

    def __init__(
        self,
        vocabulary: int = 256,
        chunk: int = 4,
        latent: int = 128,
        width: int = 256,
        depth: int = 1,
        token_dropout: float = 0.15,
        latent_dropout: float = 0.15,
        kl: float = 1e-3,
        clamp: float = 0.5,
    ):
        super().__init__()
        if chunk < 1 or latent < 1 or depth < 1:
            raise ValueError(f"chunk {chunk}, latent {latent}, depth {depth}: each must be 1 or more")
        if not (0 <= token_dropout < 1 and 0 <= latent_dropout < 1):
            raise ValueError("token_dropout and latent_dropout are shares, 0 to less than 1")
        self.vocabulary, self.chunk, self.latent, self.kl, self.clamp = vocabulary, chunk, latent, kl, clamp
        self.token_dropout, self.latent_dropout = token_dropout, latent_dropout
        self.enter = nn.Embedding(vocabulary + 2, width)  # the vocabulary, what pads, what is hidden
        self.each, self.whole = (nn.Sequential(*(FeedForward(width) for _ in range(depth))) for _ in range(2))
        self.narrow, self.widen = nn.Linear(chunk * width, width), nn.Linear(width, chunk * width)
        self.to_latent, self.from_latent = nn.Linear(width, 2 * latent), nn.Linear(latent, width)
        self.whole_back, self.each_back = (nn.Sequential(*(FeedForward(width) for _ in range(depth))) for _ in range(2))
        self.norm, self.head = nn.RMSNorm(width), nn.Linear(width, vocabulary + 1)
        with torch.no_grad():
            self.to_latent.bias[latent:] = -1.0  # begin with posteriors narrower than the prior
        nn.init.normal_(self.head.weight, std=0.02)

    def encode(self, tokens: torch.Tensor, hidden: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """(mean, log of the deviation) of the latents, each [N, C, D], of tokens [N, L].

        L is a multiple of K; V pads. hidden: bool [N, L], tokens that are not shown.
        """
        tokens = tokens.long()
        if hidden is not None:
            tokens = torch.where(hidden, self.vocabulary + 1, tokens)
        x = self.each(self.enter(tokens)).unflatten(1, (-1, self.chunk)).flatten(2)
        mean, deviation = self.to_latent(self.whole(self.narrow(x))).float().chunk(2, -1)
        return mean, deviation.clamp(DEEPEST, 2.0)

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """Logits [N, L, V + 1] of tokens from latents [N, C, D]."""
        x = self.widen(self.whole_back(self.from_latent(latent))).unflatten(-1, (self.chunk, -1)).flatten(1, 2)
        return self.head(self.norm(self.each_back(x)))

    def nats(self, tokens: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        """-log p(token | latent), [N, C, K]: the tokens of a chunk are independent once its latents are known."""
        logits = self.decode(latent).float()
        found = nats(logits, tokens)
        return found.unflatten(1, (-1, self.chunk))


def divergence(mean: torch.Tensor, deviation: torch.Tensor) -> torch.Tensor:
    """KL(N(mean, exp(deviation)^2) || N(0, 1)) in nats, of every latent."""
    return 0.5 * (mean**2 + (2 * deviation).exp() - 1) - deviation
