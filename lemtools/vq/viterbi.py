"""The trellis' encoder (codes.trellis.viterbi) on PyTorch: many sequences at once, on any device; on CUDA by kernels.

The same codes to the last bit: every sum and product is rounded to float32 by itself, of equal errors the first counts.
Letters as in codes.trellis; B sequences.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import find_spec

import numpy as np
import torch

from ..codes import trellis
from ..device import pick

CPU_ROWS = 8  # sequences at a time: what a step touches stays in the cache
MOST_ROWS = 1024
MOST_BYTES = 1 << 33  # for the errors remembered, half of the free memory of the device at most


def searcher(device: str = "auto", fused: bool | None = None) -> Callable[[np.ndarray, int], np.ndarray]:
    """A function that does as codes.trellis.viterbi on `device`. fused: by the kernels; None: where there is CUDA.

    ValueError: a device that is not there.
    """
    place = torch.device(pick(device))
    kernels = place.type == "cuda" and find_spec("triton") is not None

    def search(x: np.ndarray, bits: int) -> np.ndarray:
        with torch.cuda.device(place) if place.type == "cuda" else nullcontext():  # where Triton launches
            return viterbi(x, bits, place, kernels if fused is None else fused)

    return search


def viterbi(x: np.ndarray, bits: int, device: torch.device, fused: bool) -> np.ndarray:
    """Codes uint8 [B, T] of x, float32 [B, T]: see codes.trellis.viterbi."""
    length, seam = x.shape[1], min(trellis.SEAM, x.shape[1] // 2)
    states = trellis.state_bits(bits, length)
    walks = TorchWalks
    if fused:
        from .viterbi_kernel import KernelWalks as walks
    steps = walks(bits, states, device)
    kept = 1 << states - bits
    step = _rows(length, kept, device)
    codes = np.empty(x.shape, np.uint8)
    memory = torch.empty((length + 1) * min(step, len(x)) * kept, device=device)
    for at in range(0, len(x), step):
        part = torch.from_numpy(np.ascontiguousarray(x[at : at + step])).to(device)  # (as the kernels read it)
        errors = memory[: (length + 1) * len(part) * kept].view(length + 1, len(part), kept)
        around = torch.cat([part[:, -seam:], part[:, :seam]], 1)
        errors[0] = 0
        steps.forward(around, errors)
        crossing = steps.back(around, errors, _first_least(errors[2 * seam]))[:, seam]
        errors[0] = torch.inf
        errors[0].scatter_(1, crossing[:, None], 0)
        steps.forward(part, errors)
        path = steps.back(part, errors, crossing)
        codes[at : at + step] = (path[:, 1:] % (1 << bits)).to(torch.uint8).cpu().numpy()
    return codes


def _rows(length: int, kept: int, device: torch.device) -> int:
    """How many sequences at a time."""
    if device.type == "cpu":
        return CPU_ROWS
    free = torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else MOST_BYTES
    return max(min(MOST_ROWS, min(free, MOST_BYTES) // (4 * (length + 1) * kept)), 1)


def _first_least(x: torch.Tensor) -> torch.Tensor:
    """int64 [B]: where in x [B, K] the least element stands first (argmin does not promise which)."""
    place = torch.arange(x.shape[1], device=x.device)
    return torch.where(x == x.amin(1, keepdim=True), place, x.shape[1]).amin(1)


class TorchWalks:
    """The two walks along the trellis, in PyTorch's own operations."""

    def __init__(self, bits: int, states: int, device: torch.device):
        self.values = torch.from_numpy(trellis.branches(bits, states)).to(device)

    def forward(self, x: torch.Tensor, errors: torch.Tensor) -> None:
        """errors [T + 1, B, W C]: from row 0 on; row t + 1 from the samples x[:, :t + 1]."""
        c, p, w = self.values.shape
        rows = len(x)
        error, least = x.new_empty(rows, c, p, w), x.new_empty(rows, c, w)
        for t in range(x.shape[1]):
            torch.sub(self.values, x[:, t, None, None, None], out=error)
            error.mul_(error).add_(errors[t].view(rows, 1, p, w))
            torch.amin(error, 2, out=least)
            errors[t + 1].view(rows, w, c).copy_(least.transpose(1, 2))

    def back(self, x: torch.Tensor, errors: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """Bits kept, int64 [B, T + 1], along the best paths that end with `kept` [B]."""
        c, p, w = self.values.shape
        every, choice = torch.arange(len(x), device=x.device)[:, None], torch.arange(p, device=x.device)
        path = [kept]
        for t in range(x.shape[1] - 1, -1, -1):
            window, code = kept[:, None] // c, kept[:, None] % c
            error = self.values[code, choice, window] - x[:, t, None]
            error = error * error + errors[t][every, choice * w + window]
            kept = _first_least(error) * w + window[:, 0]
            path.append(kept)
        return torch.stack(path[::-1], 1)
