"""Codes of a trained table, made by an encoder that learns with the task."""

from __future__ import annotations

import torch

from ..nets.model import Model
from ..nets.transformer import wide
from .tables import centred
from .texts import Language


class Joint(Language):
    """Bits a byte, as of Language, and the share of the variance of the table's rows that the codes lose: both are made small
    together.

    table [V, W], seen [V]: see catalogue.embeddings. The encoder is a part of the training alone: `settle` puts the codes
    that it makes into the network.
    """

    def __init__(self, model: Model, table: torch.Tensor, seen: torch.Tensor):
        super().__init__(model)
        self.encoder = self.net.enter.encoder()
        self.rows: torch.Tensor
        self.middle: torch.Tensor
        self.learnt: torch.Tensor
        self.spread: torch.Tensor  # of its own table, as all here: runs side by side have a row of each
        rows, middle, spread = centred(table, seen)
        learnt = seen.nonzero()[:, 0].to(rows.device)  # (by number: runs side by side know no masks)
        parts = {"rows": rows, "middle": middle, "learnt": learnt, "spread": rows.new_tensor(spread)}
        for name, fixed in parts.items():
            self.register_buffer(name, fixed, persistent=False)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        codes = self.encoder(self.rows)
        with self.net.enter.coded(codes):
            rate = super().forward(batch)
        back = (wide(self.net.enter.up(codes[self.learnt])) - self.middle) / self.spread
        return rate + (back - self.rows[self.learnt]).square().mean()

    def measure(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor | tuple[torch.Tensor, torch.Tensor]]:
        with self.net.enter.coded(self.encoder(self.rows)):
            return super().measure(batch)

    @torch.no_grad()
    def settle(self) -> None:
        self.net.enter.weight.copy_(self.encoder(self.rows))
