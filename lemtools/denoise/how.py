"""How a denoiser over stored memories is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from .store import Store


class Share(Protocol):
    """One process among those that share a store (``ranks.Ranks`` is one)."""

    rank: int
    world: int

    def gather(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """What every process gave, in their order; all must call it together."""


@dataclass(frozen=True)
class How:
    """device: 'cpu', 'cuda' or 'mps'. memory: bytes that a call may take beyond the memories and its answer. skip: share
    of the weights that may be left out, 0 for none. size: of patches, odd, of a square or of (rows, columns), or a
    function alpha_bar -> size. equivariance: where it can be chosen, the directions in which places are alike, 'both',
    'time' (along columns), 'freq' (along rows) or 'none'. padding: of the network, along rows and columns. valid: patches that wrap are not known (as in Kamb & Ganguli's released code). share: this process among those that
    hold a part of the memories each; None: alone. shrink: ridge of a covariance, see gaussian.Gaussian.fit."""

    device: str = "cpu"
    memory: int = 1 << 30
    skip: float = 1e-6
    size: int | tuple[int, int] | Callable[[float], int | tuple[int, int]] = 3
    equivariance: str = "both"
    padding: tuple[str, str] = ("zeros", "zeros")
    valid: bool = False
    share: Share | None = None
    shrink: float | str = 1e-4


class Stored(Protocol):
    """Memories with more about them (an ``els.bank.Bank`` is one)."""

    @property
    def store(self) -> Store: ...
