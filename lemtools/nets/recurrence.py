"""The recurrence of thoughts on a GPU: by kernels that make all positions in one launch, with the gradient of the plain loop.

What a position thinks is first found by the kernel, one position after another. With thoughts known, all positions go through
the blocks at once, as without thoughts, and gradients of the weights come from that pass. What is missing is what each
vector owes to later positions by its thoughts: with y_t = blocks(x_0 .. x_t)_t and x_{t+1} = e_{t+1} + c(y_t), the gradient l_t of
x_t obeys

    l_t = sum over s >= t of (dy_s / dx_t)^T m_s,    m_s = dL/dy_s + (dc / dy_s)^T l_{s+1}

which a second kernel computes from the last position to the first. Both are exact: see the test beside the plain loop,
thoughts.one_by_one. Shuffled thoughts cross items, which the kernels keep apart: they take the plain loop.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode

WIDEST = 512  # vectors that registers hold
Saved = tuple[torch.Tensor, ...]
STAGES: dict[tuple, int] = {}  # of kernels that ran, by what they were compiled for: how far ahead they load


def usable(thoughts: Any, x: torch.Tensor) -> bool:
    """Whether the kernels take this network and these vectors: not of several networks at once (torch.func.vmap), and not
    where operations are counted, which they would not be."""
    there = x.is_cuda or os.environ.get("TRITON_INTERPRET") == "1"
    plain = x.dtype == torch.float32 and x.shape[-1] <= WIDEST and not is_functorch_wrapped_tensor(x)
    return there and plain and arriving(thoughts, x) is not None and _get_current_dispatch_mode() is None


def arriving(thoughts: Any, x: torch.Tensor) -> torch.Tensor | None:
    """1 where thoughts arrive at positions of x [N, T, W], else 0: float [T + 1]. None where they come from other items."""
    sources, kept = thoughts.change(thoughts.number, range(x.shape[1] + 1), len(x))
    return (
        None if sources is not None else torch.ones(x.shape[1] + 1) if kept is None else torch.from_numpy(kept).float()
    )


@dataclass
class Scan:
    """The two kernels for one network. trunk: nets.lm.Trunk; thoughts: nets.thoughts.Thoughts; kind: type of the products;
    places: int32 [N, T]; kept: of `arriving`."""

    thoughts: Any
    trunk: Any
    kind: torch.dtype
    places: torch.Tensor
    kept: torch.Tensor

    @torch.no_grad()
    def weights(self) -> Saved:
        """Cosines, sines, norms [2 D, W], four matrices of all blocks, gains [C], where thoughts arrive."""
        blocks = self.trunk.blocks
        norms = torch.stack([norm.weight for block in blocks for norm in (block.norm_1, block.norm_2)])
        parts = ("qkv", "out", "gate_up", "down")
        matrices = [torch.stack([getattr(block, part).weight for block in blocks]).to(self.kind) for part in parts]
        return self.trunk.cos, self.trunk.sin, norms, *matrices, self.thoughts.norm.weight, self.kept

    def constants(self, steps: int) -> dict:
        """What the kernels are compiled for."""
        import triton
        import triton.language as tl

        from . import recurrence_kernel as kernel

        block, width = self.trunk.blocks[0], self.trunk.width
        pairs = width // block.heads // 2
        half = self.kind == torch.bfloat16
        return {
            "T": steps,
            "D": self.trunk.depth,
            "H": block.heads,
            "P": pairs,
            "W": width,
            "C": block.down.in_features,
            "READ": self.thoughts.readable,
            "SCALE": (2 * pairs) ** -0.5,
            "EPS": torch.finfo(torch.float32).eps,
            "KIND": tl.bfloat16 if half else tl.float32,
            "PRECISION": "tf32" if half else "ieee",
            "BW": max(16, triton.next_power_of_2(width)),
            "BP": max(16, triton.next_power_of_2(pairs)),
            "ROWS": kernel.ROWS,
            "KEYS": kernel.KEYS,
            "FEATURES": kernel.FEATURES,
        }

    def launch(self, kernel: Any, x: torch.Tensor, *given: Any, **more: Any) -> None:
        """Run a kernel on the items of x [N, T, W]: with loads as far ahead as the memory of the device's processors allows."""
        from triton.runtime.errors import OutOfResources

        from .recurrence_kernel import ROWS

        constants = self.constants(x.shape[1]) | more
        known = (kernel.__name__, *map(str, constants.values()))
        with torch.cuda.device_of(x):
            for stages in range(STAGES.get(known, 3), 0, -1):
                try:
                    kernel[(-(-len(x) // ROWS),)](*given, len(x), **constants, num_warps=8, num_stages=stages)
                except OutOfResources:
                    if stages == 1:
                        raise
                    continue
                STAGES[known] = stages
                return

    def forward(self, e: torch.Tensor, save: bool) -> tuple[torch.Tensor, Saved]:
        """(what the last block leaves [N, T, W] of embedded tokens, what the way back needs; nothing where that is not to come)."""
        from . import recurrence_kernel as kernel

        (items, steps, width), depth = e.shape, self.trunk.depth
        heads = self.trunk.blocks[0].heads
        stream = (depth, items, steps, width) if save else (0,)
        split = (depth, items, heads, steps, width // heads)
        left = torch.empty_like(e, memory_format=torch.contiguous_format)
        xs, mids = e.new_empty(stream), e.new_empty(stream)
        keys, values = (e.new_empty(split, dtype=self.kind) for _ in range(2))
        queries, sums = (e.new_empty(split if save else (0,), dtype=self.kind) for _ in range(2))
        logs = e.new_empty(split[:-1] if save else (0,))
        weights, saved = self.weights(), (left, xs, mids, queries, keys, values, sums, logs)
        self.launch(kernel.forward, e, e.contiguous(), self.places, *weights, *saved, SAVE=save)
        return left, (*weights, *saved) if save else ()

    def backward(self, g: torch.Tensor, saved: Saved) -> torch.Tensor:
        """The gradient of all that enters the first block, [N, T, W], from that of what the last one leaves."""
        from . import recurrence_kernel as kernel

        found, keys = torch.empty_like(g, memory_format=torch.contiguous_format), saved[-4]
        grown = [torch.zeros_like(keys, dtype=torch.float32) for _ in range(2)]
        cut = self.thoughts.count
        self.launch(kernel.backward, g, g.contiguous(), found, self.places, *saved, *grown, CUT=cut)
        return found


class Later(torch.autograd.Function):
    """What the blocks left, y [N, T, W]; back, `came` [N, T - 1, C], what is carried of it, has the gradients of later positions."""

    @staticmethod
    def forward(ctx, y: torch.Tensor, came: torch.Tensor, scan: Scan, *saved: torch.Tensor) -> torch.Tensor:
        ctx.scan = scan
        ctx.save_for_backward(*saved)
        return y.view_as(y)

    @staticmethod
    def backward(ctx, g: torch.Tensor):
        found = ctx.scan.backward(g, ctx.saved_tensors)
        read = ctx.scan.thoughts.readable
        return g, found[:, 1:, read:], None, *[None] * len(ctx.saved_tensors)


@torch.compiler.disable
def recurrence(thoughts: Any, trunk: Any, e: torch.Tensor, places: torch.Tensor | None) -> torch.Tensor:
    """As thoughts.one_by_one of positions that begin: [N, T, W] of e [N, T, W]."""
    kind, steps = e.device.type, e.shape[1]
    if steps > trunk.context:
        raise ValueError(f"{steps} positions; this network was made for {trunk.context}")
    half = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.bfloat16
    at = torch.arange(steps, device=e.device).expand(e.shape[:2]) if places is None else places
    kept, save = arriving(thoughts, e).to(e.device), torch.is_grad_enabled()
    scan = Scan(thoughts, trunk, torch.bfloat16 if half else torch.float32, at.int().contiguous(), kept)
    y, saved = scan.forward(e.detach(), save)
    if not save:
        return y
    with torch.no_grad():
        come = thoughts.joined(torch.zeros_like(e), None, y, 0)
    y = trunk.run(e + come, 0, trunk.depth, None, places)
    passes = torch.arange(1, steps, device=e.device)[:, None] % thoughts.count != 0
    came = thoughts.carried(torch.where(passes, y[:, :-1], y[:, :-1].detach()), 1)[..., thoughts.readable :]
    return Later.apply(y, came, scan, *saved)
