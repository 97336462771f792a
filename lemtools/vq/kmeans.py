"""k-means of weighted vectors, with codes that nothing is nearest to moved to where they are missed.

Shapes: N vectors, W coordinates, K codes.
"""

from __future__ import annotations

import torch

PASS = 4096  # vectors compared at a time
DRAWS = 256  # of the codes to begin with, one after the other,
AMONG = 16  # vectors a code,
FEWEST = 4096  # but at least so many


def kmeans(z: torch.Tensor, weight: torch.Tensor, codes: int, rounds: int, generator: torch.Generator) -> torch.Tensor:
    """Weighted k-means [K, W] of z [N, W], N >= K, by Lloyd's rounds; codes that nothing is nearest to move to the
    vectors that are coded worst."""
    table = seeds(z, weight, codes, generator)
    for _ in range(rounds):
        found, error = nearest(z, table)
        count = torch.zeros(codes, device=z.device).index_add_(0, found, weight)
        mean = torch.zeros_like(table).index_add_(0, found, weight[:, None] * z)
        dead = count == 0
        table = mean / count.clamp_min(1e-30)[:, None]
        if dead.any():
            table[dead] = z[(weight * error).topk(int(dead.sum())).indices]
    return table


def nearest(z: torch.Tensor, table: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(nearest code [N], squared distance to it [N])."""
    square = table.square().sum(1)
    parts = [torch.addmm(square, part, table.mT, alpha=-2).min(1) for part in z.split(PASS)]
    least = torch.cat([p.values for p in parts])
    return torch.cat([p.indices for p in parts]), (least + z.square().sum(1)).clamp_min(0)


def seeds(z: torch.Tensor, weight: torch.Tensor, codes: int, generator: torch.Generator) -> torch.Tensor:
    """K of the vectors: each is drawn with a chance in proportion to its weighted squared distance from those before
    (k-means++, Arthur & Vassilvitskii 2007); of more than DRAWS codes, several at a time. So every one of a few tight
    clusters has a code."""
    most = max(AMONG * codes, FEWEST)
    if len(z) > most:
        among = torch.randperm(len(z), generator=generator)[:most].to(z.device)
        z, weight = z[among], weight[among]
    draw = torch.rand(codes, generator=generator, dtype=torch.float64)
    chosen = torch.empty(codes, dtype=torch.int64, device=z.device)
    square, least = z.square().sum(1), torch.full_like(weight, torch.inf)
    share, done = weight.double(), 0
    while done < codes:
        many = 1 if done == 0 else min(-(-codes // DRAWS), codes - done)
        mass = share.cumsum(0)
        if not mass[-1] > 0:  # fewer different vectors than codes: the others wait to be moved
            chosen[done:] = torch.randperm(len(z), generator=generator)[: codes - done].to(z.device)
            break
        at = torch.searchsorted(mass, draw[done : done + many].to(z.device) * mass[-1], right=True).clamp_max(
            len(z) - 1
        )
        chosen[done : done + many] = at
        near = torch.cat([torch.addmm(square[at], p, z[at].mT, alpha=-2).amin(1) for p in z.split(PASS)]) + square
        least = torch.minimum(least, near.clamp_min(0))
        least[at] = 0
        share, done = (weight * least).double(), done + many
    return z[chosen].clone()
