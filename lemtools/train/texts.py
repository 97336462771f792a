"""What networks of text make small: bits, token by token, vector by vector, or by tokens that come back from one vector."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch

from ..nets.model import Model
from ..nets.token_ae import divergence
from .objectives import Objective

PADDED = 1 / 16  # share of the windows whose last chunk is cut short in training


class Language(Objective):
    """Bits that text takes, token by token or vector by vector, a byte of it; see nets.lm and nets.dense.

    The loss is what the network can learn, the rate; bits_per_byte adds the rest, and is measured with the
    bytes that were predicted (of genomes bases; tokens, where it is not known how many bytes they are).
    """

    def __init__(self, model: Model, weighting: str = "plain"):
        super().__init__(model, weighting)
        self.per_place = math.log(2) * model.meta["bytes"] * getattr(self.net, "chunk", 1)
        self.unit = model.meta.get("unit", "byte") if model.meta["measured"] else "token"
        if getattr(self.net, "stages", None) == 0:
            self.extras = partial(_normal, self.net.dims)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.net.rate(batch["target"], batch.get("noise")).mean(1) / self.per_place

    def frozen(self, batch: dict[str, torch.Tensor]) -> None:
        if getattr(self.net, "stages", None) == 0:
            self.net.latents(self.net.split(batch["target"])[1])
        elif next(self.net.enter.parameters(), None) is None:
            self.net.enter(batch["target"][:, :-1])

    def measure(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor | tuple[torch.Tensor, torch.Tensor]]:
        items, noise = batch["target"], batch.get("noise")
        rate, sizes = self.net.rate(items, noise).sum(1), self.net.sizes(items).sum(1)
        rest = self.net.rest(items, noise).sum(1)
        out = {
            "loss": rate / (self.per_place * (items.shape[1] - 1)),
            f"bits_per_{self.unit}": ((rate + rest) / math.log(2), sizes),
        }
        if hasattr(self.net, "guess"):
            tokens = self.net.split(items)[1][:, 1:]
            out |= {
                f"rest_bits_per_{self.unit}": (rest / math.log(2), sizes),
                "next_tokens_right": (self.net.guess(items) == tokens).float().mean((1, 2)),
            }
        return out


def _normal(dims: int, rng: np.random.Generator, item: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {"noise": rng.standard_normal((item[0], dims), dtype=np.float32)}


class Autoencode(Objective):
    """Bits a token that the decoder needs, with the clamped divergence of the latents (nets.token_ae)."""

    def __init__(self, model: Model, weighting: str = "plain"):
        super().__init__(model, weighting)
        net = self.net
        self.extras = partial(_robust, net.chunk, net.latent, net.token_dropout, net.latent_dropout)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        net, tokens = self.net, batch["target"].long()
        tokens = torch.where(batch["short"], net.vocabulary, tokens)
        mean, deviation = net.encode(tokens, batch["hidden"])
        latent = (mean + deviation.exp() * batch["noise"]) * batch["kept"] / (1 - net.latent_dropout)
        clamped = divergence(mean, deviation).clamp(min=net.clamp).sum(-1)
        return (net.nats(tokens, latent).sum(-1) + net.kl * clamped).mean(1) / (net.chunk * math.log(2))

    def measure(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor | tuple[torch.Tensor, torch.Tensor]]:
        """The loss as in training; the share of tokens that the mean of the latents gives back; its nats a latent."""
        net, tokens = self.net, batch["target"].long()
        mean, deviation = net.encode(tokens)
        right = net.decode(mean).argmax(-1) == tokens
        return {
            "loss": self(batch),
            "recovered": right.float().mean(1),
            "nats_per_latent": divergence(mean, deviation).mean((1, 2)),
        }


def _robust(
    chunk: int, latent: int, tokens: float, latents: float, rng: np.random.Generator, item: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """hidden, short bool [L]: tokens not shown, places beyond the end; noise, kept [C, D]: of the latents."""
    size = (item[0] // chunk, latent)
    cut = item[0] - (rng.integers(1, chunk) if chunk > 1 and rng.random() < PADDED else 0)
    return {
        "hidden": rng.random(item[0]) < tokens,
        "short": np.arange(item[0]) >= cut,
        "noise": rng.standard_normal(size, dtype=np.float32),
        "kept": rng.random(size, dtype=np.float32) >= latents,
    }
