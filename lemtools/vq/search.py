"""Beam search through the stages of a residual quantiser, in plain torch on any device.

Shapes: N vectors, W coordinates, S stages of K codes, B paths kept. codebooks [S, K, W].
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

CROSS_BYTES = 1 << 26  # of the inner products between codes, all stages together
CROSS_WIDTH = 12  # coordinates that a product of two numbers may cost less than one look-up of them


class Tables(NamedTuple):
    """What the search wants to know of codebooks. distance[s] [W + 2, K]: rows 2 c, |c|^2 and 1, so that
    [t, 1, |t|^2] @ distance = |t + c|^2. cross[s] [s K, K]: 2 <a, c> of every code a of the stages before with every c
    of this one; None where the product with `distance` takes less time or memory."""

    distance: torch.Tensor
    cross: list[torch.Tensor | None]


def smallest(values_NM: torch.Tensor, keep: int) -> torch.Tensor:
    """Index [N, keep] of the `keep` smallest values of each row, in no order.

    Exact in two steps: a value among the `keep` smallest lies in a chunk that is among the `keep` with the smallest
    minima, so a sort of the minima and one of the chunks they point to replace one of the whole row.
    """
    n, many = values_NM.shape
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


def distance_tables(codebooks: torch.Tensor) -> Tables:
    """The tables of codebooks [S, K, W]. On a CPU products between codes are looked up where that takes less time."""
    stages, codes, width = codebooks.shape
    ones = torch.ones_like(codebooks[:, :, :1])
    distance = torch.cat([2 * codebooks, codebooks.square().sum(2, keepdim=True), ones], 2).mT.contiguous()
    cross: list[torch.Tensor | None] = [None] * stages
    room = CROSS_BYTES if codebooks.device.type == "cpu" else 0
    for s in range(1, stages):
        room -= 4 * s * codes * codes
        if room >= 0 and s * CROSS_WIDTH <= width:
            cross[s] = codebooks[:s].reshape(-1, width) @ distance[s, :width]
    return Tables(distance, cross)


def beam_search(
    z_NW: torch.Tensor, codebooks: torch.Tensor, tables: Tables, beam: int, keep: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Paths of codes whose sum is near z: (codes int64 [N, keep', S], sum minus z [N, keep', W]).

    After every stage the `beam` best of all beam x K continuations go on; after the last the `keep` best do (keep' is
    less where there are not as many paths), the best one where keep is 1, in no order else. With beam >= K^(S - 1) the
    search is exhaustive. Babenko & Lempitsky 2014, Additive Quantization, section 3.1.
    """
    n, width = z_NW.shape
    stages, codes = codebooks.shape[:2]
    t = -z_NW  # [N B, W]: partial sums less z
    rows = torch.empty((n, 0), dtype=torch.int64, device=z_NW.device)  # [N B, s]: codes so far, of stage r plus r K
    first = torch.arange(n, device=z_NW.device)[:, None]
    for s in range(stages):
        many = len(t) // n if n else 1
        length = t.square().sum(1, keepdim=True)
        table = tables.cross[s]
        if table is None:
            error = torch.cat([t, torch.ones_like(length), length], 1) @ tables.distance[s]
        else:
            error = torch.nn.functional.embedding_bag(rows, table, mode="sum")
            alone = torch.addmm(
                tables.distance[s, width], z_NW, tables.distance[s, :width], alpha=-1
            )  # |c|^2 - 2 <z, c>
            error.view(n, many, codes).add_(alone[:, None]).add_(length.view(n, many, 1))
        error = error.view(n, many * codes)
        at = smallest(error, min(beam if s < stages - 1 else keep, many * codes))
        parent = (torch.div(at, codes, rounding_mode="floor") + first * many).view(-1)
        code = (at % codes).view(-1)
        t = t.index_select(0, parent).add_(codebooks[s].index_select(0, code))
        rows = torch.cat([rows.index_select(0, parent), code[:, None] + s * codes], 1)
    rows -= torch.arange(0, stages * codes, codes, device=rows.device)
    return rows.view(n, -1, stages), t.view(n, -1, width)


def sum_codes(codebooks: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """Sum of the chosen codes, [N, W]; codes [N, s] for the first s stages."""
    out = codebooks[0].index_select(0, codes[:, 0])
    for s in range(1, codes.shape[1]):
        out.add_(codebooks[s].index_select(0, codes[:, s]))
    return out
