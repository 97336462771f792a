"""The walks along the trellis as Triton kernels: one launch a sample forward, one launch back. See viterbi.TorchWalks.

A launch forward reads and writes the errors once, 8 bytes a state over 2^b; the table comes from the cache. Products
and sums are not fused: the codes are those of every other implementation.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ..codes import trellis

ROWS, TILE, BACK = 4, 512, 16  # sequences and kept bits a program forward; sequences a program back


@triton.jit(do_not_specialize=["t"])
def _step(
    x,
    table,
    errors,
    t,
    count,
    length,
    KEPT: tl.constexpr,
    C: tl.constexpr,
    W: tl.constexpr,
    ROWS: tl.constexpr,
    TILE: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    here = row < count
    kept = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = kept < KEPT
    both = here[:, None] & inside[None, :]
    sample = tl.load(x + row * length + t, mask=here, other=0.0)
    before = errors + (t * count + row).to(tl.int64)[:, None] * KEPT
    after = errors + ((t + 1) * count + row).to(tl.int64)[:, None] * KEPT
    window = kept // C
    least = tl.full([ROWS, TILE], float("inf"), tl.float32)
    for p in tl.static_range(C):
        value = tl.load(table + p * KEPT + kept, mask=inside, other=0.0)
        error = value[None, :] - sample[:, None]
        least = tl.minimum(least, error * error + tl.load(before + (p * W + window)[None, :], mask=both, other=0.0))
    tl.store(after + kept[None, :], least, mask=both)


@triton.jit
def _back(
    x,
    table,
    errors,
    path,
    count,
    T: tl.constexpr,
    KEPT: tl.constexpr,
    C: tl.constexpr,
    W: tl.constexpr,
    ROWS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    here = row < count
    kept = tl.load(path + row * (T + 1) + T, mask=here, other=0)
    for i in range(T):
        t = T - 1 - i
        sample = tl.load(x + row * T + t, mask=here, other=0.0)
        before = errors + (t * count + row).to(tl.int64) * KEPT
        window = kept // C
        least = tl.full([ROWS], float("inf"), tl.float32)
        came = tl.zeros([ROWS], tl.int32)
        for p in tl.static_range(C):
            error = tl.load(table + p * KEPT + kept, mask=here, other=0.0) - sample
            error = error * error + tl.load(before + p * W + window, mask=here, other=0.0)
            came = tl.where(error < least, p, came)
            least = tl.minimum(least, error)
        kept = came * W + window
        tl.store(path + row * (T + 1) + t, kept, mask=here)


class KernelWalks:
    """viterbi.TorchWalks by the kernels."""

    def __init__(self, bits: int, states: int, device: torch.device):
        self.shape = 1 << states - bits, 1 << bits, 1 << states - 2 * bits  # KEPT, C, W
        self.table = torch.from_numpy(trellis.table(bits, states)).to(device)

    def forward(self, x: torch.Tensor, errors: torch.Tensor) -> None:
        count, length = x.shape
        tile = min(TILE, self.shape[0])
        grid = (triton.cdiv(count, ROWS), triton.cdiv(self.shape[0], tile))
        for t in range(length):
            _step[grid](x, self.table, errors, t, count, length, *self.shape, ROWS, tile, enable_fp_fusion=False)

    def back(self, x: torch.Tensor, errors: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        count, length = x.shape
        path = torch.empty(count, length + 1, dtype=torch.int32, device=x.device)
        path[:, length] = kept
        grid = (triton.cdiv(count, BACK),)
        _back[grid](x, self.table, errors, path, count, length, *self.shape, BACK, enable_fp_fusion=False)
        return path.long()
