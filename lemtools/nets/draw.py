"""Tokens drawn from logits, each by a generator of its own: the same whatever stands beside it in a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


def likely(
    logits: torch.Tensor,
    temperature: float = 1.0,
    top: int | None = None,
    top_p: float | None = None,
    typical: float | None = None,
) -> torch.Tensor:
    """Probabilities [..., K], float64 on the CPU, of logits [..., K] over a temperature > 0.

    Of these remain, one after another, each of what the one before left: the `top` likeliest tokens; the least number of the
    likeliest whose probabilities sum to `top_p` or more (nucleus sampling; Holtzman et al. 2020); the least number of those whose
    surprise -log p is nearest the mean surprise, which sum to `typical` or more (locally typical sampling; Meister et al. 2023). None: all.
    Of several that are alike the first remain.
    """
    x = logits.detach().cpu().double() / temperature
    if top is not None and top < x.shape[-1]:
        least = x.topk(top, -1).values[..., -1:]
        more, alike = x > least, x == least
        left = top - more.sum(-1, keepdim=True)  # (topk itself takes any of those that are alike)
        x = torch.where(more | (alike & (alike.cumsum(-1) <= left)), x, -torch.inf)
    p = x.softmax(-1)
    if top_p is not None:
        p = _first(p, -p, top_p)
    if typical is not None:
        surprise = -p.log()
        mean = torch.where(p > 0, p * surprise, 0.0).sum(-1, keepdim=True)
        p = _first(p, (surprise - mean).abs(), typical)
    return p


def _first(p: torch.Tensor, rank: torch.Tensor, share: float) -> torch.Tensor:
    """Probabilities p [..., K] of the tokens of least rank that sum to a share of 1 or more, as probabilities; else 0."""
    if share >= 1:
        return p
    order = rank.argsort(dim=-1, stable=True)
    ranked = p.gather(-1, order)
    kept = torch.where(ranked.cumsum(-1) - ranked < share, ranked, 0.0)
    return torch.zeros_like(p).scatter(-1, order, kept / kept.sum(-1, keepdim=True))


def draw(
    logits: torch.Tensor,
    generators: Sequence[np.random.Generator],
    temperature: float = 1.0,
    top: int | None = None,
    top_p: float | None = None,
    typical: float | None = None,
) -> np.ndarray:
    """Tokens int64 [N, ...] from logits [N, ..., K]: item n takes as many numbers of generators[n] as it has places.

    A token is where the cumulative probability first exceeds a uniform number. temperature: 1 draws from what the network
    says, less of it likelier tokens; 0 takes the likeliest, the first of several. top, top_p, typical: see `likely`.
    """
    if not temperature or not logits.numel():
        return logits.detach().cpu().argmax(-1).numpy()
    bound = likely(logits, temperature, top, top_p, typical).cumsum(-1)
    bound = bound / bound[..., -1:]
    number = torch.from_numpy(np.stack([g.random(logits.shape[1:-1]) for g in generators]))
    return (bound <= number[..., None]).sum(-1).numpy()
