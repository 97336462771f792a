"""Tokens to vectors: a table, or codes and an up-projection that makes vectors of them (catalogue.embeddings).

Shapes: V vocabulary, W width of the vectors, D = W / R numbers of a code; a full table has codes of W, and no up-projection.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from ..catalogue.embeddings import CODES, EMBEDDINGS, STAGES
from .packed import Packed, Scaled, Summed

DRAWN = 1 << 20  # numbers at a time, where they are drawn for nothing


def layers(enter: int, hidden: int, leave: int) -> nn.Sequential:
    """An affine map, or, through a hidden layer, two. Vectors of mean square 1 keep about that."""
    sizes = (enter, hidden, leave) if hidden else (enter, leave)
    maps = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    for each in maps:
        nn.init.normal_(each.weight, std=each.in_features**-0.5)
        nn.init.zeros_(each.bias)
    return nn.Sequential(*([maps[0], nn.SiLU(), maps[1]] if hidden else maps))


def freeze(module: nn.Module) -> nn.Module:
    """The module with its parameters as buffers: kept with the weights, never learnt."""
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, parameter.detach().clone())
    return module.eval()


def passed(count: int) -> None:
    """Leave the generator as torch.randn(count) does, in the memory of a part: its last draws are in another order where
    there are fewer than 16."""
    while count >= 2 * DRAWN:
        torch.randn(DRAWN)
        count -= DRAWN
    torch.randn(count)


class Embedding(nn.Module):
    """Tokens [...] to vectors [..., W]. arm, ratio, coding: see catalogue.embeddings; hidden: features of a hidden layer in
    the up-projection, 0 for none; code_bits, stages, codes: of a quantiser, None for its usual ones.

    weight [V, D]: the codes, or the table, or what keeps it as codes (Packed); up: the up-projection. What does not learn is
    a buffer. seeded: whether the codes follow from the seed alone.
    """

    def __init__(
        self,
        vocabulary: int,
        width: int,
        arm: str = "full",
        ratio: int = 1,
        coding: str | None = None,
        hidden: int = 0,
        code_bits: int | None = None,
        stages: int | None = None,
        codes: int | None = None,
    ):
        super().__init__()
        row = EMBEDDINGS.find(arm)
        if coding not in row.learns:
            raise ValueError(f"coding {coding}: that of {arm} is {', '.join(map(str, row.learns))}")
        if ratio < 1 or width % ratio or (ratio > 1 and not row.coded):
            raise ValueError(f"ratio {ratio} for a width of {width}: it divides the width, and is 1 for a full table")
        if hidden and not row.layered:
            raise ValueError(f"hidden {hidden}: an embedding that is {arm} has no hidden layer")
        self.width, self.dims, self.hidden, self.coding = width, width // ratio, hidden, coding
        self.seeded = row.seeded
        self.up: nn.Module | None = None
        with torch.random.fork_rng([], enabled=row.coded):
            if row.packed is None:
                self._draw(vocabulary, row.learns[coding], row.coded)
        if row.coded or row.packed:
            passed(vocabulary * width)  # what is drawn after it is the same in all arms
        if row.packed == "rvq":
            self.weight = Summed(vocabulary, width, stages or STAGES.default, codes or CODES.default)
        elif row.packed:
            self.weight = Scaled(vocabulary, width, row.packed, code_bits or row.usual)
        self.live: torch.Tensor | None = None

    def _draw(self, vocabulary: int, learns: tuple[str, ...], coded: bool) -> None:
        first = torch.randn(vocabulary, self.dims)
        if "weight" in learns:
            self.weight = nn.Parameter(first)
        else:
            self.register_buffer("weight", first)
        if coded:
            self.up = self.decoder() if "up" in learns else freeze(self.decoder())

    def encoder(self) -> nn.Sequential:
        """Vectors to codes, as deep as the way back."""
        return layers(self.width, self.hidden, self.dims)

    def decoder(self) -> nn.Sequential:
        """A fresh up-projection."""
        return layers(self.dims, self.hidden, self.width)

    @contextlib.contextmanager
    def coded(self, codes: torch.Tensor) -> Iterator[None]:
        """With these codes [V, D] in place of its own, as an encoder that learns has them."""
        self.live = codes
        try:
            yield
        finally:
            self.live = None

    @property
    def codes(self) -> torch.Tensor:
        if self.live is not None:
            return self.live
        return self.weight() if isinstance(self.weight, Packed) else self.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        found = F.embedding(tokens.long(), self.codes)
        return found if self.up is None else self.up(found)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Products [..., V] of x [..., W] with the vectors of all tokens, less what is the same for all: a tied head."""
        if self.up is not None:
            x = x @ self.up[0].weight
        return F.linear(x, self.codes)


def drawn(embedding: Embedding, table: torch.Tensor, seen: torch.Tensor) -> dict[str, float]:
    """It begins as it is made: N(0, 1)."""
    return {}
