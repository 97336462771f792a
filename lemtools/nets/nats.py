"""What a token costs that a network predicts."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def nats(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Nats [...] that each of `tokens` [...] takes, by logits [..., V].

    By rows of V: over an axis that is not the last, with tens of thousands of tokens, CUDA takes thirty times as long.
    """
    found = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), tokens.reshape(-1).long(), reduction="none")
    return found.reshape(tokens.shape)
