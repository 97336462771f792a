"""Exact nearest neighbours on a CPU: boxes of a k-d tree, of which those are looked through that can hold one."""

from __future__ import annotations

import torch
from torch.nn.functional import pad

SIZE = 32  # points of a box, and up to twice as many
PROBED = 16  # boxes that are looked through first
SHARE = 8  # of so many boxes one: who needs more of them is looked up among all points
AXES = 8  # along which boxes are bounded: those in which points spread most
LOST = 1e-5  # of |z|^2: what distances in float32 may be wrong by


class Boxes:
    """Points float32 [N, Q], their first coordinates the widest, in boxes of equal numbers, each cut in two at the median of
    the direction in which it is widest (Friedman, Bentley & Finkel 1977)."""

    def __init__(self, points: torch.Tensor):
        depth = max((len(points) // SIZE).bit_length() - 1, 0)
        count, boxes = len(points), 1 << depth
        more = -count % boxes  # copies of some, which fill the boxes and are nobody's neighbours
        self.number = torch.cat([torch.arange(count), torch.arange(more) * count // max(more, 1)])[None]
        real = (torch.arange(count + more) < count)[None]
        for _ in range(depth):
            there = points[self.number]
            widest = there.var(1).argmax(1)[:, None, None].expand(-1, there.shape[1], 1)
            order = there.gather(2, widest)[..., 0].argsort(1)
            shape = len(order) * 2, order.shape[1] // 2
            self.number, real = (v.gather(1, order).reshape(shape) for v in (self.number, real))
        there = points[self.number]
        half = torch.where(real, there.square().sum(2) / 2, torch.inf)
        self.points = torch.cat([there.mT, half[:, None]], 1)  # (|z - s|^2 / 2 - |z|^2 / 2 is (-z, 1) times these)
        self.low, self.high = (v[:, :AXES].T[:, None].contiguous() for v in (there.amin(1), there.amax(1)))

    def near(self, z: torch.Tensor, count: int, spare: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Of each of z, float32 [R, Q]: the numbers of count + spare points [R, count + spare], with the `count` nearest among
        them; and which rows of it that is not sure of, bool [R]."""
        along = z.T[:AXES, :, None]
        bound = torch.clamp(along, self.low, self.high).sub_(along).square_().sum(0)
        length = z.square().sum(1)
        probed = min(max(PROBED, -(-2 * (count + spare) // self.points.shape[2])), len(self.points))
        found, reach, full = self._among(bound, z, probed, count, spare)
        needed = (bound <= ((1 + LOST) * (2 * reach + length) + LOST * length)[:, None]).sum(1)
        most = max(len(self.points) // SHARE, probed)
        again = (full & (needed > probed) & (needed <= most)).nonzero()[:, 0]
        if len(again):
            found[again] = self._among(bound[again], z[again], int(needed[again].max()), count, spare)[0]
        return found, ~full | (needed > most)

    def _among(
        self, bound: torch.Tensor, z: torch.Tensor, boxes: int, count: int, spare: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(count + spare points of so many boxes, those with the least bounds; (|z - s|^2 - |z|^2) / 2 of the last of `count`;
        whether there are as many points)."""
        best = bound.topk(boxes, largest=False, sorted=False).indices
        points = self.points.index_select(0, best.flatten()).reshape(len(z), boxes, *self.points.shape[1:])
        half = (pad(-z, (0, 1), value=1.0)[:, None, None] @ points).flatten(1)
        near = half.topk(min(count + spare, half.shape[1]), largest=False)
        each = points.shape[3]
        number = self.number[best.gather(1, near.indices // each), near.indices % each]
        return number, near.values[:, count - 1], torch.isfinite(near.values[:, -1])
