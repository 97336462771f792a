"""Tokens drawn from logits, each by a generator of its own: the same whatever stands beside it in a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


def likely(logits: torch.Tensor, temperature: float = 1.0, top: int | None = None) -> torch.Tensor:
    """Probabilities [..., K], float64 on the CPU, of logits [..., K] over a temperature > 0, of the `top` likeliest tokens
    alone; None: of all."""
    x = logits.detach().cpu().double() / temperature
    if top is not None and top < x.shape[-1]:
        keep = x.topk(top, -1).indices  # (never more than `top` where several are alike)
        x = torch.full_like(x, -torch.inf).scatter(-1, keep, x.gather(-1, keep))
    return x.softmax(-1)


def draw(
    logits: torch.Tensor,
    generators: Sequence[np.random.Generator],
    temperature: float = 1.0,
    top: int | None = None,
) -> np.ndarray:
    """Tokens int64 [N, ...] from logits [N, ..., K]: item n takes as many numbers of generators[n] as it has places.

    A token is where the cumulative probability first exceeds a uniform number. temperature: 1 draws from what the network
    says, less of it likelier tokens; 0 takes the likeliest, the first of several.
    """
    if not temperature or not logits.numel():
        return logits.detach().cpu().argmax(-1).numpy()
    bound = likely(logits, temperature, top).cumsum(-1)
    bound = bound / bound[..., -1:]
    number = torch.from_numpy(np.stack([g.random(logits.shape[1:-1]) for g in generators]))
    return (bound <= number[..., None]).sum(-1).numpy()
