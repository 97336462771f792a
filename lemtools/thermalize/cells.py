"""Nearest neighbours among a million points: cells of a k-d tree, of which the nearest ones are looked through."""

from __future__ import annotations

import torch

from ..catalogue import LemError

SIZE = 64  # points of a cell, and up to twice as many
PROBED = 16  # cells that are looked through: .96 of 65 neighbours among 1,000,000 points in 14 directions were found
TOGETHER = 64  # queries that are looked up at once
SPARE = 4  # candidates beyond those that are asked for: distances in float32 confuse neighbours as far as each other


class Cells:
    """Points float32 [N, Q] in cells of equal size, each cut in two at the median of the direction in which it is widest
    (Friedman, Bentley & Finkel 1977). Of N points so many as fill the cells are kept, the first ones: all but 2^depth - 1
    at most, and of up to 2 SIZE points all.

    ``nearest`` looks through the PROBED cells whose means are nearest, so a neighbour may be missed; where there are no
    more cells than that it is exact.
    """

    def __init__(self, points: torch.Tensor):
        depth = max((len(points) // SIZE).bit_length() - 1, 0)
        count = len(points) >> depth << depth
        self.number = torch.arange(count, device=points.device)[None]  # of the points, [cells, points of a cell]
        self.points = points[None, :count]
        for _ in range(depth):
            widest = self.points.var(1).argmax(1)[:, None, None].expand(-1, self.points.shape[1], 1)
            order = self.points.gather(2, widest)[..., 0].argsort(1)
            half = len(order) * 2, order.shape[1] // 2
            self.number = self.number.gather(1, order).reshape(half)
            self.points = self.points.gather(1, order[..., None].expand_as(self.points)).reshape(*half, -1)
        self.half = self.points.square().sum(2) / 2
        self.middle = self.points.mean(1)
        self.far = self.middle.square().sum(1) / 2

    def __len__(self) -> int:
        return self.number.numel()

    def nearest(self, x: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of each of x, float64 [R, Q]: the numbers of its `count` nearest points [R, K], squared distances float64 [R, K],
        rising, and the points, float64 [R, K, Q]. Raises LemError for fewer points than that."""
        size = self.points.shape[1]
        cells = min(max(PROBED, -(-(count + SPARE) // size)), len(self.points))
        if count > cells * size:
            raise LemError(
                f"{count} neighbours are asked for among {len(self)}; store more, or ask for fewer (--neighbours)"
            )
        found = [self._nearest(part, count, cells) for part in x.split(TOGETHER)]
        number, distance, there = (torch.cat(parts) for parts in zip(*found))
        return number, distance, there

    def _nearest(self, x: torch.Tensor, count: int, cells: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        rows, z = len(x), x.float()
        probed = torch.addmm(self.far, z, self.middle.T, alpha=-1).topk(cells, largest=False, sorted=False).indices
        points = self.points[probed].reshape(rows, -1, z.shape[1])
        # half a squared distance is |z|^2 / 2 + |s|^2 / 2 - z s
        half = torch.baddbmm(self.half[probed].reshape(rows, -1, 1), points, z[..., None], alpha=-1)[..., 0]
        near = half.topk(min(count + SPARE, half.shape[1]), largest=False, sorted=False).indices
        there = points.gather(1, near[..., None].expand(-1, -1, z.shape[1])).double()
        number = self.number[probed].reshape(rows, -1).gather(1, near)
        distance, order = (there - x[:, None]).square().sum(2).sort(dim=1, stable=True)
        order = order[:, :count]
        there = there.gather(1, order[..., None].expand(-1, -1, there.shape[2]))
        return number.gather(1, order), distance[:, :count], there
