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
from torch.utils._python_dispatch import _get_current_dispatch_mode

WIDEST = 512  # vectors that registers hold
NARROW = 128  # up to which four warps are faster than eight (9 ms against 11 and 17 against 20 on an H200)
Saved = tuple[torch.Tensor, ...]
STAGES: dict[tuple, int] = {}  # of kernels that ran, by what they were compiled for: how far ahead they load


@torch.compiler.disable
def usable(thoughts: Any, x: torch.Tensor) -> bool:
    """Whether the kernels take this network and these vectors: not where operations are counted, which they would not
    be."""
    there = x.is_cuda or os.environ.get("TRITON_INTERPRET") == "1"
    plain = x.dtype == torch.float32 and x.shape[-1] <= WIDEST
    return there and plain and arriving(thoughts, x) is not None and _get_current_dispatch_mode() is None


def arriving(thoughts: Any, x: torch.Tensor) -> torch.Tensor | None:
    """1 where thoughts arrive at positions of x [N, T, W], else 0: float [T + 1]. None where they come from other items."""
    sources, kept = thoughts.change(thoughts.number, range(x.shape[1] + 1), len(x))
    return (
        None if sources is not None else torch.ones(x.shape[1] + 1) if kept is None else torch.from_numpy(kept).float()
    )


@dataclass
class Scan:
    """The two kernels for networks of one shape: trunk: nets.lm.Trunk; thoughts: nets.thoughts.Thoughts; kind: type of the
    products. Tensors have an axis of S networks first."""

    thoughts: Any
    trunk: Any
    kind: torch.dtype

    @torch.no_grad()
    def weights(self) -> Saved:
        """Of this one network: cosines, sines, norms [2 D, W], four matrices of all blocks, gains [C]."""
        blocks = self.trunk.blocks
        norms = torch.stack([norm.weight for block in blocks for norm in (block.norm_1, block.norm_2)])
        parts = ("qkv", "out", "gate_up", "down")
        matrices = [torch.stack([getattr(block, part).weight for block in blocks]).to(self.kind) for part in parts]
        return self.trunk.cos, self.trunk.sin, norms, *matrices, self.thoughts.norm.weight.detach()

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

    def launch(self, kernel: Any, *given: torch.Tensor, **more: Any) -> None:
        """Run a kernel, of which the first argument is [S, N, T, W]: with loads as far ahead as the memory of the device's processors
        allows."""
        from triton.runtime.errors import OutOfResources

        from .recurrence_kernel import ROWS

        networks, items, steps, _ = given[0].shape
        constants = self.constants(steps) | more
        known = (kernel.__name__, *map(str, constants.values()))
        warps = 4 if self.trunk.width <= NARROW else 8
        with torch.cuda.device_of(given[0]):
            for stages in range(STAGES.get(known, 3), 0, -1):
                try:
                    kernel[(-(-items // ROWS), networks)](
                        *given, items, **constants, num_warps=warps, num_stages=stages
                    )
                except OutOfResources:
                    if stages == 1:
                        raise
                    continue
                STAGES[known] = stages
                return

    def forward(self, save: bool, e: torch.Tensor, *weights: torch.Tensor) -> Saved:
        """What the last block leaves, [S, N, T, W], of embedded tokens e, and what the way back needs, if it is to come."""
        from . import recurrence_kernel as kernel

        networks, items, steps, width = e.shape
        depth, heads = self.trunk.depth, self.trunk.blocks[0].heads
        nothing = (networks, 0)
        stream = (networks, items, depth, steps, width)
        split = (networks, items, depth, heads, steps, width // heads)
        left = torch.empty_like(e, memory_format=torch.contiguous_format)
        xs, mids = (e.new_empty(stream if save else nothing) for _ in range(2))
        keys, values = (e.new_empty(split, dtype=self.kind) for _ in range(2))
        queries, sums = (e.new_empty(split if save else nothing, dtype=self.kind) for _ in range(2))
        logs = e.new_empty(split[:-1] if save else nothing)
        found = (left, xs, mids, queries, keys, values, sums, logs)
        self.launch(kernel.forward, e, *weights, *found, SAVE=save)
        return found

    def backward(self, g: torch.Tensor, *saved: torch.Tensor) -> torch.Tensor:
        """The gradient of all that enters the first block, [S, N, T, W], from that of what the last one leaves. saved: the weights
        and what `forward` found."""
        from . import recurrence_kernel as kernel

        found = torch.empty_like(g, memory_format=torch.contiguous_format)
        grown = [torch.zeros_like(saved[-4], dtype=torch.float32) for _ in range(2)]  # as large as the keys
        self.launch(kernel.backward, g.contiguous(), found, *saved, *grown, CUT=self.thoughts.count)
        return found


def folded(info: Any, dims: tuple, given: tuple) -> list[torch.Tensor]:
    """Tensors that vmap took an axis from, or that are the same for all of it, as networks side by side."""
    count = info.batch_size
    each = [x.expand(count, *x.shape) if dim is None else x.movedim(dim, 0) for x, dim in zip(given, dims)]
    return [x.flatten(0, 1).contiguous() for x in each]


class Forth(torch.autograd.Function):
    """Scan.forward; no gradient passes."""

    @staticmethod
    def forward(scan: Scan, save: bool, e: torch.Tensor, *weights: torch.Tensor) -> Saved:
        return scan.forward(save, e, *weights)

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: Saved) -> None:
        ctx.mark_non_differentiable(*output)

    @staticmethod
    def vmap(info, in_dims: tuple, scan: Scan, save: bool, *given: torch.Tensor):
        found = Forth.apply(scan, save, *folded(info, in_dims[2:], given))
        return tuple(x.unflatten(0, (info.batch_size, -1)) for x in found), (0,) * len(found)

    @staticmethod
    def backward(ctx, *g: torch.Tensor):
        raise NotImplementedError("nothing that is found has a gradient")


class Later(torch.autograd.Function):
    """What the blocks left, y [S, N, T, W]; back, `came` [S, N, T - 1, C], what is carried of it, has the gradients of later
    positions."""

    @staticmethod
    def forward(scan: Scan, y: torch.Tensor, came: torch.Tensor, *saved: torch.Tensor) -> torch.Tensor:
        return y.clone()

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: torch.Tensor) -> None:
        ctx.scan = inputs[0]
        ctx.save_for_backward(*inputs[3:])

    @staticmethod
    def vmap(info, in_dims: tuple, scan: Scan, *given: torch.Tensor):
        return Later.apply(scan, *folded(info, in_dims[1:], given)).unflatten(0, (info.batch_size, -1)), 0

    @staticmethod
    def backward(ctx, g: torch.Tensor):
        found = ctx.scan.backward(g, *ctx.saved_tensors)
        return None, g, found[..., 1:, ctx.scan.thoughts.readable :], *[None] * len(ctx.saved_tensors)


@torch.compiler.disable
def recurrence(thoughts: Any, trunk: Any, e: torch.Tensor, places: torch.Tensor | None) -> torch.Tensor:
    """As thoughts.one_by_one of positions that begin: [N, T, W] of e [N, T, W]."""
    kind, steps = e.device.type, e.shape[1]
    if steps > trunk.context:
        raise ValueError(f"{steps} positions; this network was made for {trunk.context}")
    half = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.bfloat16
    at = torch.arange(steps, device=e.device).expand(e.shape[:2]) if places is None else places
    scan, save = Scan(thoughts, trunk, torch.bfloat16 if half else torch.float32), torch.is_grad_enabled()
    given = (at.int().contiguous(), *scan.weights(), arriving(thoughts, e).to(e.device))
    weights = [x[None] for x in given]
    left, *rest = Forth.apply(scan, save, e.detach().contiguous()[None], *weights)
    if not save:
        return left[0]
    with torch.no_grad():
        come = thoughts.joined(torch.zeros_like(e), None, left[0], 0)
    y = trunk.run(e + come, 0, trunk.depth, None, places)
    passes = torch.arange(1, steps, device=e.device)[:, None] % thoughts.count != 0
    came = thoughts.carried(torch.where(passes, y[:, :-1], y[:, :-1].detach()), 1)[..., thoughts.readable :]
    return Later.apply(scan, y[None], came[None], *weights, left, *rest)[0]
