"""The softmax over patches in one pass (Milakov & Gimelshein 2018): for each query the sums, and what was left out.

Logits are powers of two: l = log2(e) times the natural one, since 2^x takes half the time of e^x on a CPU. What a tile
could add is bounded, by its largest logit, before it is summed: a tile that cannot matter is left out, and how much
that is at most is kept beside the sums.

Letters: R rows of queries that share their keys, Q queries a row, T keys of a tile, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

LOG2E = 1.4426950408889634
EMPTY = -1e30  # larger than -inf, so that differences are numbers
HEADROOM = 16  # powers of two by which a logit may exceed its reference before the sums are scaled anew


@dataclass
class Sums:
    """reference [R, Q]: a logit that the sums are relative to. sums [R, Q, C + 1]: of 2^(l - reference) (value, 1), at
    least 1 in the last. skipped: a bound on what was left out of any of them, in the same units. peak, best [R, Q]: the
    largest logit and the number of its key, or None."""

    reference: torch.Tensor
    sums: torch.Tensor
    skipped: float | torch.Tensor = 0.0
    peak: torch.Tensor | None = None
    best: torch.Tensor | None = None

    @classmethod
    def empty(cls, rows: int, queries: int, channels: int, like: torch.Tensor, track: bool = False) -> Sums:
        reference = torch.full((rows, queries), EMPTY, dtype=like.dtype, device=like.device)
        best = torch.full((rows, queries), -1, dtype=torch.int64, device=like.device) if track else None
        sums = torch.zeros(rows, queries, channels + 1, dtype=like.dtype, device=like.device)
        return cls(reference, sums, 0.0, reference.clone() if track else None, best)

    def add(
        self, logits: torch.Tensor, values: torch.Tensor, skip: float = 0.0, keys: torch.Tensor | None = None
    ) -> None:
        """Take in a tile. logits: [R, Q, T], overwritten. values: [R, C + 1, T], the last row ones. skip: share of a
        query's sum that may be left out. keys: [R, T] numbers of the keys, where the best is tracked."""
        if self.best is None:
            top = logits.amax(2)
        else:
            top = logits.amax(2)
            found = torch.where(logits == top[..., None], keys[:, None], torch.iinfo(torch.int64).max).amin(2)
            better = (top > self.peak) | (top == self.peak) & (found < self.best)
            self.best = torch.where(better, found, self.best)
            self.peak = torch.maximum(top, self.peak)
        rise = float((top - self.reference).max())
        if skip:
            bound = self.skipped + logits.shape[2] * 2.0 ** min(rise, 100.0)
            if bound <= skip:
                self.skipped = bound
                return
        if rise > HEADROOM:
            higher = torch.maximum(self.reference, top)
            self.sums *= torch.exp2(self.reference - higher)[..., None]
            self.reference = higher
        weights = torch.exp2(logits.sub_(self.reference[..., None]), out=logits)
        self.sums += torch.bmm(weights, values.transpose(1, 2))

    def merge(self, other: Sums) -> Sums:
        """The same over the keys of both."""
        reference = torch.maximum(self.reference, other.reference)
        sums = sum(s.sums * torch.exp2(s.reference - reference)[..., None] for s in (self, other))
        merged = Sums(reference, sums, self.skipped + other.skipped)
        if self.best is not None:
            mine = (self.peak > other.peak) | (self.peak == other.peak) & (self.best < other.best)
            merged.best = torch.where(mine, self.best, other.best)
            merged.peak = torch.maximum(self.peak, other.peak)
        return merged

    def packed(self) -> torch.Tensor:
        """[R, Q, ...] float64 of all that this holds, to send elsewhere."""
        parts = [self.reference[..., None], self.sums, torch.zeros_like(self.reference).add_(self.skipped)[..., None]]
        if self.best is not None:
            parts += [self.peak[..., None], self.best[..., None]]
        return torch.cat([p.double() for p in parts], -1)

    def unpacked(self, packed: torch.Tensor) -> Sums:
        """What another of the same shape packed."""
        channels = self.sums.shape[2]
        rows = packed.view(*self.reference.shape, -1)
        reference, sums, skipped, *tracked = rows.split([1, channels, 1] + [1, 1] * (self.best is not None), 2)
        peak, best = (tracked[0][..., 0], tracked[1][..., 0].long()) if tracked else (None, None)
        return Sums(reference[..., 0].contiguous(), sums.contiguous(), float(skipped.max()), peak, best)

    def weight(self) -> torch.Tensor:
        """[R, Q] posterior weight of the best key."""
        return torch.exp2(self.peak - self.reference) / (self.sums[..., -1] + self.skipped)
