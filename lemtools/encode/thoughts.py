"""What every position of a text leaves to the next one: the thoughts of a language model that has some."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from ..signal import LemError, Signal
from .activations import TrainedLM
from .windows import Windows

BLOCK = 16  # rows at a time, always as many (a product of fewer may round differently, and thoughts accumulate)


class Thoughts(Windows):
    """Text or tokens [N, L] -> thoughts [n, M, C] of a model of lem-train lm --thoughts: what each position leaves, before the norm
    through which it is carried on; of passes, in the last one.

    model: its file. window, flat: as of Windows; a window begins without thoughts. What an item becomes does not depend on those
    beside it. LemError for a model that carries none, or those of other items.
    """

    name = "thoughts"

    def __init__(self, model: str | None = None, *, window: int | None = None, flat: bool = False, device: str = "cpu"):
        if model is None:
            raise LemError("thoughts need a model that has some: --model FILE, from lem-train lm --thoughts SHARE")
        lm = TrainedLM(model, device)
        self.net, thoughts = lm.net, getattr(lm.net, "thoughts", None)
        if thoughts is None or not thoughts.carries:
            way = "--encoder activations --lm FILE reads its hidden states"
            raise LemError(f"{lm.name}: a model that carries no thoughts (lem-train lm --thoughts); {way}")
        if thoughts.crosses:
            raise LemError(
                f"{lm.name}: its thoughts come from other items of a batch (--thoughts-carry), none are a text's own"
            )
        super().__init__(lm, "thoughts", window, flat)

    def record(self, signal: Signal) -> dict:
        return {"window": self.window, "dims": self.net.thoughts.size}

    def vectors(self, rows: list[np.ndarray]) -> list[torch.Tensor]:
        found: list[torch.Tensor] = []
        for _, alike in itertools.groupby(rows, len):
            same = np.stack(list(alike))
            for start in range(0, len(same), BLOCK):
                found += self._left(same[start : start + BLOCK])
        return found

    @torch.inference_mode()
    def _left(self, rows: np.ndarray) -> torch.Tensor:
        """[n, L, C] of as many rows as BLOCK, or fewer."""
        whole = np.zeros((BLOCK, rows.shape[1]), np.int64)
        whole[: len(rows)] = rows
        return self.net.left(torch.from_numpy(whole).to(self.model.device))[: len(rows)].cpu()
