"""What a network answers where a task asks for the state (tasks.Stream): how many bits it takes, and how often it is right."""

from __future__ import annotations

import math

import torch
from torch import nn

from ..nets.model import Model
from ..nets.nats import nats
from .objectives import Objective
from .tasks import Parts


class Answers(Objective):
    """Bits an answer, the mean over the positions of an item where the state is asked for."""

    needs_fragments = False

    def __init__(self, model: Model):
        super().__init__(model, "plain")

    def logits(self, parts: Parts) -> torch.Tensor:
        """[N, W, V]."""
        return self.net(parts.symbols, parts.places).float()

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        parts = Parts.of(batch["target"])
        return bits(self.logits(parts), parts.states, parts.asked)

    def frozen(self, batch: dict[str, torch.Tensor]) -> None:
        if next(self.net.enter.parameters(), None) is None:
            self.net.enter(Parts.of(batch["target"]).symbols)

    def measure(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor | tuple[torch.Tensor, torch.Tensor]]:
        """The bits; the share of answers that are right, and of the last ones."""
        parts = Parts.of(batch["target"])
        logits = self.logits(parts)
        right = (logits.argmax(-1) == parts.states) & parts.asked
        return {
            "loss": bits(logits, parts.states, parts.asked),
            "right": (right.sum(1), parts.asked.sum(1)),
            "right_at_end": right.gather(1, last(parts.asked)[:, None])[:, 0].float(),
        }


class Supervised(Answers):
    """The same, where the end alone is asked for, and as much again: bits of the state at every position that has one, by a
    second head on what the first one reads. That head is a part of the training alone."""

    def __init__(self, model: Model):
        super().__init__(model)
        self.second = nn.Linear(self.net.readable, self.net.vocabulary, bias=False)
        nn.init.zeros_(self.second.weight)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        parts = Parts.of(batch["target"])
        x = self.net.features(parts.symbols, parts.places)
        answer, state = self.net.head(x).float(), self.second(x).float()
        return bits(answer, parts.states, parts.asked) + bits(state, parts.states, parts.known)


def bits(logits: torch.Tensor, states: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """[N] of logits [N, W, V]: the mean bits of the states [N, W] where bool [N, W] says."""
    return (nats(logits, states) * where).sum(1) / where.sum(1) / math.log(2)


def last(asked: torch.Tensor) -> torch.Tensor:
    """The last position [N] that is asked for, of each of bool [N, W]."""
    return asked.shape[1] - 1 - asked.flip(1).long().argmax(1)
