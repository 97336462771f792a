"""Attention of several networks in one call.

torch's fast kernels take no axis of networks: vmap would call them network by network on a GPU, and of what they save for the way back
it makes tensors that the kernels' gradients read wrongly (torch 2.11: NaN, or "LSE is not correctly aligned"). Items of
one network and of another do not meet, so that networks are as good as more items.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, causal: bool) -> torch.Tensor:
    """Scaled dot product attention of [N, heads, T, F]; under vmap on a GPU with networks among the items."""
    if mask is None and q.is_cuda and torch._C._functorch.is_batchedtensor(q):
        return Folded.apply(q, k, v, causal)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)


class Folded(torch.autograd.Function):
    """Attention whose axis of networks is one with that of the items. The way back computes it once more."""

    @staticmethod
    def forward(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: torch.Tensor) -> None:
        ctx.save_for_backward(*inputs[:3])
        ctx.causal = inputs[3]

    @staticmethod
    def vmap(info: Any, in_dims: tuple, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool):
        each = [
            x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)
            for x, dim in zip((q, k, v), in_dims)
        ]
        found = Folded.apply(*(x.flatten(0, 1).contiguous() for x in each), causal)
        return found.unflatten(0, (info.batch_size, -1)), 0

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor):
        given = [x.detach().requires_grad_() for x in ctx.saved_tensors]
        with torch.enable_grad():
            found = F.scaled_dot_product_attention(*given, is_causal=ctx.causal)
        return *torch.autograd.grad(found, given, g.contiguous()), None
