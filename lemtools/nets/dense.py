"""A causal transformer over dense tokens: each vector, of K tokens of text (token_ae.py), from those before it.

What can be said of the text by way of vectors is a two-part message, and its length a bound that an arithmetic coder
reaches. With the past x_<t, the chunk x_t and its vector z_t,

    latents  -log p(x_t | x_<t) <= E [log e(z | x_t) - log q(z | x_<t)] + E [-log d(x_t | z)],   z ~ e(. | x_t)
    codes    -log p(x_t | x_<t) <= sum_s -log q(c_s | c_<s, x_<t) - log d(x_t | vector of c),    c = codes of x_t

e is the encoder's posterior, d the decoder, q this network: a mixture of Gaussians, or a softmax over the codes of
every stage of a residual quantiser in order. The first term is the rate, the second the rest. Of codes the rate is an
exact likelihood (of the codes); of latents it is the negative evidence bound, from one draw. The past enters by
vectors, which are functions of it.

Shapes: N items, T + 1 chunks a window, K tokens a chunk, S stages (0: latents), C codes a stage, D dimensions, W width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .embedding import freeze
from .lm import Trunk, dial
from .nats import nats
from .token_ae import TokenAutoencoder

LEAST = -7.0  # log of the smallest deviation of a component, in units of the latent's own


class Stage(nn.Module):
    """The codes of one stage, from the trunk's answer and the vector as far as the stages before give it."""

    def __init__(self, dims: int, width: int, codes: int):
        super().__init__()
        self.norm, self.seen = nn.RMSNorm(width), nn.Linear(dims, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.head = nn.Linear(width, codes)
        for layer in (self.head.weight, self.head.bias, self.down.weight, self.down.bias):
            nn.init.zeros_(layer)

    def forward(self, x: torch.Tensor, partial: torch.Tensor) -> torch.Tensor:
        """x [..., W], partial [..., D] to logits [..., C]."""
        return self.head(self.norm(x + self.down(F.silu(self.up(self.norm(x + self.seen(partial)))))))


class DenseLM(nn.Module):
    """codec: record of the token autoencoder. stages, codes: of the residual quantiser; stages 0: latents themselves.

    components: of the mixture. context: in tokens of text, as for the LM on plain tokens; the rest: see lm.dial.
    """

    family = "language"

    def __init__(
        self,
        codec: dict,
        stages: int = 0,
        codes: int = 0,
        depth: int = 4,
        width: int | None = None,
        heads: int | None = None,
        context: int | None = None,
        components: int = 16,
    ):
        super().__init__()
        sizes = dial(depth, width, heads, context)
        self.codec = freeze(TokenAutoencoder(**{k: v for k, v in codec.items() if k != "net"}))
        self.chunk, self.dims, self.stages, self.components = self.codec.chunk, self.codec.latent, stages, components
        self.context, self.depth = sizes["context"], depth
        steps, width = self.context // self.chunk, sizes["width"]
        if not steps or components < 1:
            raise ValueError(f"context {self.context}, components {components}: at least {self.chunk}, a chunk, and 1")
        self.enter = nn.Linear(self.dims, width)
        self.trunk = Trunk(**{**sizes, "context": steps})
        self.register_buffer("lengths", torch.ones(self.codec.vocabulary + 1))
        self.register_buffer("offset", torch.zeros(self.dims))  # coordinates of the vectors: (z - offset) gain
        self.register_buffer("gain", torch.ones(self.dims))
        if stages:
            self.register_buffer("tables", torch.zeros(stages, codes, self.dims))
            self.register_buffer("origin", torch.zeros(self.dims))
            self.heads = nn.ModuleList(Stage(self.dims, width, codes) for _ in range(stages))
        else:
            self.head = nn.Linear(width, components * (1 + 2 * self.dims))
            nn.init.normal_(self.head.weight, std=0.01)
            nn.init.zeros_(self.head.bias)
            with torch.no_grad():  # components begin apart
                nn.init.normal_(self.head.bias[components : components * (1 + self.dims)], std=0.5)

    def split(self, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(codes [N, T + 1, S], tokens [N, T + 1, K]) of windows [N, T + 1, S + K]."""
        return items[..., : self.stages].long(), items[..., self.stages :].long()

    def partial(self, codes: torch.Tensor, stages: int) -> torch.Tensor:
        """The vector [..., D] that the first `stages` codes of [..., S] stand for."""
        return self.origin + sum(self.tables[s][codes[..., s]] for s in range(stages))

    def latents(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log deviation, [N, T + 1, D], of tokens [N, T + 1, K]."""
        with torch.no_grad():
            return self.codec.encode(tokens.flatten(1))

    def scaled(self, vectors: torch.Tensor) -> torch.Tensor:
        return (vectors - self.offset) * self.gain

    def trunked(self, vectors: torch.Tensor) -> torch.Tensor:
        """The trunk's answer [N, T, W] to what comes after each of the vectors [N, T, D]."""
        return self.trunk(self.enter(self.scaled(vectors)))

    def mixture(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logarithms of the weights [N, T, M], means and log deviations [N, T, M, D], in coordinates."""
        m, raw = self.components, self.head(x).float()
        weights, means, deviations = raw.split([m, m * self.dims, m * self.dims], -1)
        means, deviations = (part.unflatten(-1, (m, self.dims)) for part in (means, deviations))
        return F.log_softmax(weights, -1), means, deviations.clamp(LEAST, 2.0)

    def rate(self, items: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        """Nats [N, T] that the next vectors take. noise: N(0, 1) [N, T + 1, D], the posterior's draw; latents only."""
        codes, tokens = self.split(items)
        if self.stages:
            x, after = self.trunked(self.partial(codes, self.stages)[:, :-1]), codes[:, 1:]
            total = 0.0
            for stage, head in enumerate(self.heads):
                logits = head(x, self.scaled(self.partial(after, stage))).float()
                total = total + nats(logits, after[..., stage])
            return total
        mean, deviation = self.latents(tokens)
        drawn = (mean + deviation.exp() * noise)[:, 1:]
        weights, means, deviations = self.mixture(self.trunked(mean[:, :-1]))
        apart = (self.scaled(drawn)[:, :, None] - means) * (-deviations).exp()
        each = (-0.5 * apart**2 - deviations + self.gain.log()).sum(-1)
        posterior = (-0.5 * noise[:, 1:] ** 2 - deviation[:, 1:]).sum(-1)  # (both less the D/2 log 2 pi they share)
        return posterior - torch.logsumexp(weights + each, -1)

    def rest(self, items: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        """Nats [N, T] that the tokens take once their vector is known."""
        codes, tokens = self.split(items)
        if self.stages:
            vectors = self.partial(codes, self.stages)
        else:
            mean, deviation = self.latents(tokens)
            vectors = mean + deviation.exp() * noise
        return self.codec.nats(tokens[:, 1:].flatten(1), vectors[:, 1:]).sum(-1)

    def guess(self, items: torch.Tensor) -> torch.Tensor:
        """Tokens [N, T, K] of the likeliest vector: the heaviest component's mean, or the best code a stage."""
        codes, tokens = self.split(items)
        if self.stages:
            x = self.trunked(self.partial(codes, self.stages)[:, :-1])
            best = codes[:, 1:].clone()
            for stage, head in enumerate(self.heads):
                best[..., stage] = head(x, self.scaled(self.partial(best, stage))).argmax(-1)
            vectors = self.partial(best, self.stages)
        else:
            weights, means, _ = self.mixture(self.trunked(self.latents(tokens)[0][:, :-1]))
            rows = weights.argmax(-1)[..., None, None].expand(*weights.shape[:2], 1, self.dims)
            vectors = means.gather(2, rows)[:, :, 0] / self.gain + self.offset
        return self.codec.decode(vectors).argmax(-1).unflatten(1, (-1, self.chunk))

    def sizes(self, items: torch.Tensor) -> torch.Tensor:
        """Bytes of what is predicted, [N, T]."""
        return self.lengths[self.split(items)[1][:, 1:]].sum(-1)
