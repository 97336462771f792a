"""Thoughts that are broken before they are carried on, by the operations of lem-fragment: how much of one is needed?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from ..fragment import fragment
from ..signal import LemError, Signal, bits_per_element


class Breaking:
    """What is left of thoughts after operations (see fragment.fragment), each thought a memory by itself: its rms alone scales its
    bits and its noise, and it loses dimensions of its own.

    places: that a sequence has at most. Draws follow from the seed, the item's number and the place, and are the same in
    every pass. first: number of the first item of a batch. bits: of the thoughts that were broken last, as they would
    travel, on average; None before.
    """

    def __init__(self, operations: Sequence[dict], seed: int, places: int):
        self.operations, self.seed, self.places = list(operations), seed, places
        self.first, self.bits = 0, None

    def __call__(self, thoughts: torch.Tensor, place: int) -> torch.Tensor:
        """Thoughts [N, T, C] that positions leave, of which the first is `place`; no gradient passes. LemError for operations that
        do not suit embeddings, or leave fewer dimensions."""
        items, steps, size = thoughts.shape
        index = (self.first + np.arange(items))[:, None] * self.places + place + np.arange(steps)
        data = thoughts.detach().reshape(-1, size).cpu().numpy().astype(np.float32)
        (left,) = fragment([Signal("embedding", data, index=index.ravel())], self.operations, self.seed)
        if left.data.shape != data.shape:
            raise LemError(
                f"--{self.operations[-1]['op']}: {left.data.shape[-1]} of {size} dimensions of a thought; --mask loses some"
            )
        self.bits = float(bits_per_element(left).mean()) * size if len(left) else None
        return torch.from_numpy(np.ascontiguousarray(left.data)).to(thoughts).reshape(thoughts.shape)


@contextmanager
def breaking(net: nn.Module, operations: Sequence[dict], seed: int = 0) -> Iterator[Breaking]:
    """Within it the thoughts of a network are broken at every position before they are carried on. LemError for a network that
    carries none."""
    thoughts = getattr(net, "thoughts", None)
    if thoughts is None or not thoughts.carries:
        raise LemError(
            "it carries no thoughts that could be broken; lem-train lm --thoughts SHARE makes a model that does"
        )
    thoughts.broken = Breaking(operations, seed, net.context)
    try:
        yield thoughts.broken
    finally:
        thoughts.broken = None
