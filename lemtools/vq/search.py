"""Beam search through the stages of a residual quantiser, in plain torch on any device.

Shapes: N vectors, W coordinates, S stages of K codes, B paths kept. codebooks [S, K, W].
"""

from __future__ import annotations

import math

import torch


def smallest(values_NM: torch.Tensor, keep: int) -> torch.Tensor:
    """Index [N, keep] of the `keep` smallest values of each row, in no order.

    Exact in two steps: a value among the `keep` smallest lies in a chunk that is among the `keep` with the smallest
    minima, so a sort of the minima and one of the chunks they point to replace one of the whole row.
    """
    n, many = values_NM.shape
    if keep == 1:
        return values_NM.argmin(1, keepdim=True)
    chunks = _divisor(many, math.sqrt(many * keep))
    if chunks <= keep or many <= 4 * keep:
        return values_NM.topk(keep, 1, largest=False, sorted=False).indices
    folded = values_NM.view(n, many // chunks, chunks)  # chunk c holds values c, c + chunks, c + 2 chunks, …
    chosen = folded.amin(1).topk(keep, 1, largest=False, sorted=False).indices
    inside = folded.gather(2, chosen[:, None].expand(n, folded.shape[1], keep)).flatten(1)
    at = inside.topk(keep, 1, largest=False, sorted=False).indices
    return torch.div(at, keep, rounding_mode="floor") * chunks + chosen.gather(1, at % keep)


def _divisor(number: int, near: float) -> int:
    """The divisor of `number` that is nearest to `near`, by ratio."""
    ends = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return min(ends + [number // d for d in ends], key=lambda d: abs(math.log(d / near)))


def distance_tables(codebooks: torch.Tensor) -> list[torch.Tensor]:
    """For each stage [W + 2, K]: rows 2 c, |c|^2 and 1, so that [t, 1, |t|^2] @ table = |t + c|^2."""
    ones = torch.ones_like(codebooks[:, :, :1])
    return list(torch.cat([2 * codebooks, codebooks.square().sum(2, keepdim=True), ones], 2).mT.contiguous())


def beam_search(
    z_NW: torch.Tensor, codebooks: torch.Tensor, stage_tables: list[torch.Tensor], beam: int, keep: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Paths of codes whose sum is near z: (codes int64 [N, keep', S], sum minus z [N, keep', W]).

    After every stage the `beam` best of all beam x K continuations go on; after the last the `keep` best do (keep' is
    less where there are not as many paths), the best one where keep is 1, in no order else. With beam >= K^(S - 1) the
    search is exhaustive. Babenko & Lempitsky 2014, Additive Quantization, section 3.1.
    """
    n, width = z_NW.shape
    stages, codes = codebooks.shape[:2]
    t, chosen, parents = -z_NW[:, None], [], []  # t: partial sums less z
    for s in range(stages):
        many = t.shape[1]
        left = torch.cat([t, torch.ones_like(t[..., :1]), t.square().sum(2, keepdim=True)], 2)
        error = (left.view(n * many, width + 2) @ stage_tables[s]).view(n, many * codes)
        at = smallest(error, min(beam if s < stages - 1 else keep, many * codes))
        parent, code = torch.div(at, codes, rounding_mode="floor"), at % codes
        t = t.gather(1, parent[:, :, None].expand(-1, -1, width)) + codebooks[s][code]
        chosen.append(code)
        parents.append(parent)
    path, at = [], None
    for code, parent in zip(chosen[::-1], parents[::-1]):
        path.append(code if at is None else code.gather(1, at))
        at = parent if at is None else parent.gather(1, at)
    return torch.stack(path[::-1], 2), t


def sum_codes(codebooks: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """Sum of the chosen codes, [N, W]; codes [N, s] for the first s stages."""
    out = codebooks[0][codes[:, 0]]
    for s in range(1, codes.shape[1]):
        out = out + codebooks[s][codes[:, s]]
    return out
