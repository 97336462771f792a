"""What a job may use, in one object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..denoise.how import How, Share
from ..els.plan import Size, sides

Report = Callable[[str], None]
SEEDS = {"cpu": 8, "cuda": 64}  # that share every tile of the bank: as many as help


@dataclass(frozen=True)
class Resources:
    """device: name. memory: bytes that a call may take beyond the bank and its answer. skip: share of a pixel's weights
    that may be left out, 0 for none. batch: seeds that go together; None: by memory. share: this process among those
    that each hold a part of the bank. report: called with a line about what is going on. shown: as of ``sample.start``."""

    device: str = "cpu"
    memory: int = 1 << 30
    skip: float = 1e-6
    batch: int | None = None
    share: Share | None = None
    report: Report | None = None
    shown: torch.Tensor | None = None

    def how(self, **settings: Any) -> How:
        """The same for a denoiser, with settings of its own kind."""
        return How(self.device, self.memory, self.skip, share=self.share, **settings)

    def say(self, line: str) -> None:
        """Report a line, where somebody listens."""
        if self.report is not None:
            self.report(line)

    def prefixed(self, name: str) -> Resources:
        """The same, whose lines begin with a name."""
        return replace(self, report=None if self.report is None else lambda line: self.say(f"{name}: {line}"))

    def fitted(self, item: Sequence[int], size: Size) -> Resources:
        """The same with a batch, if none was asked for: of its seeds the windows of `size` on items [C, H, W], twice in
        float64, take at most half of the memory."""
        channels, height, width = item
        rows, columns = sides(size)
        window = 16 * height * width * (channels * rows * min(columns, 2 * max(height, width)) + 1)
        most = SEEDS.get(self.device.split(":")[0], SEEDS["cuda"])
        return self if self.batch else replace(self, batch=max(1, min(most, self.memory // 2 // window)))

    def batches(self, seeds: Sequence[int]) -> list[list[int]]:
        """The seeds, as many at a time as go together."""
        count = self.batch or SEEDS["cpu"]
        return [list(seeds[i : i + count]) for i in range(0, len(seeds), count)]
