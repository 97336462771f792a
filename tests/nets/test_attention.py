"""Attention of networks side by side is that of each by itself, with its gradient."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import vmap

from lemtools.nets.attention import Folded, attend

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def each(way, q, k, v, g):
    """Output and gradients of q, k, v [networks, N, heads, T, F], from that of the output."""
    given = [x.clone().requires_grad_() for x in (q, k, v)]
    y = way(*given)
    return [y.detach(), *torch.autograd.grad(y, given, g)]


def one_by_one(causal):
    return lambda *given: torch.stack([F.scaled_dot_product_attention(*x, is_causal=causal) for x in zip(*given)])


@pytest.mark.parametrize("causal", [True, False])
def test_networks_are_as_good_as_items(causal):
    torch.manual_seed(0)
    given = [torch.randn(3, 2, 2, 9, 4, dtype=torch.float64) for _ in range(4)]
    mine = each(vmap(lambda q, k, v: Folded.apply(q, k, v, causal)), *given)
    for found, want in zip(mine, each(one_by_one(causal), *given), strict=True):
        torch.testing.assert_close(found, want, rtol=1e-10, atol=1e-12)


def test_what_all_networks_share():
    torch.manual_seed(0)
    q, k, v = (torch.randn(3, 2, 2, 9, 4, dtype=torch.float64) for _ in range(3))
    mine = vmap(lambda q, k, v: Folded.apply(q, k, v, True), in_dims=(1, 0, None))(q.movedim(0, 1), k, v[0])
    torch.testing.assert_close(mine, one_by_one(True)(q, k, v[:1].expand_as(v)))


@GPU
@pytest.mark.gpu
@pytest.mark.parametrize("dtype, most", [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
@pytest.mark.parametrize("causal", [True, False])
def test_networks_side_by_side_on_a_gpu(dtype, most, causal):
    torch.manual_seed(0)
    given = [torch.randn(3, 2, 2, 70, 64, device="cuda", dtype=dtype) for _ in range(4)]
    mine = each(vmap(lambda q, k, v: attend(q, k, v, None, causal)), *given)
    for found, want in zip(mine, each(one_by_one(causal), *given), strict=True):
        assert torch.isfinite(found).all() and (found - want).abs().max() < most
