"""Floating-point operations, counted as they are done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from .data import Batches, Spec

COUNTED = 64  # items, at least, whose operations are counted
ATTENTION = ("flash_attention_for_cpu", "flash_attention", "efficient_attention", "cudnn_attention")  # torch's kernels


def flop_counter():
    """torch's counter of floating-point operations, a context; `get_total_flops()` afterwards.

    It knows attention on CPUs, too, and of causal attention counts what is done: no kernel makes the products that the
    mask would hide, which are half of them.
    """
    from torch.utils.flop_counter import FlopCounterMode

    kernels = [getattr(torch.ops.aten, f"_scaled_dot_product_{name}") for name in ATTENTION]
    return FlopCounterMode(display=False, custom_mapping={kernel: _attention(kernel) for kernel in kernels})


def _attention(kernel) -> Callable[..., int]:
    """What a kernel of attention computes: two products of its queries with the keys that they see."""
    causal_at = [argument.name for argument in kernel.default._schema.arguments].index("is_causal") - 3

    def count(query, key, value, *rest, out_shape=None, **options) -> int:
        causal = rest[causal_at] if len(rest) > causal_at else options.get("is_causal", False)
        items, heads, length, features = query
        pairs = length * (length + 1) // 2 if causal else length * key[2]
        return 2 * items * heads * pairs * (features + value[3])

    return count


def per_item(spec: Spec, objective) -> float:
    """Floating-point operations of one item's forward and, where there is one, backward pass, which counts twice; there
    is none through parts that are frozen.

    The mean over the losses, of each as many items: what is left of an item makes a sequence long or short. No item
    costs more for the others of its batch.
    """
    losses = spec.each_loss()
    size = min(spec.batch, -(-COUNTED // len(losses)))
    count = -(-COUNTED // (size * len(losses)))
    total, passes = 0.0, objective.passes
    for one in losses:
        for batch in Batches(replace(one, batch=size)).steps(0, count, 0, str(objective.device)):
            for work, times in ((objective, passes), (objective.frozen, 1 - passes)):
                with torch.no_grad(), flop_counter() as counter:
                    work(batch)
                total += times * counter.get_total_flops()
    return total / (count * size * len(losses))
