"""All pixels of which both coordinates stand alone: each against the same place of every image. In plain PyTorch.

Letters: S seeds, C channels, I images, U such pixels.
"""

from __future__ import annotations

from functools import lru_cache

import torch

from .local import Level
from .plan import Axis
from .sums import EMPTY, LOG2E, Sums


@lru_cache(maxsize=64)
def near(axis: Axis, device: torch.device, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Lines that windows of the axis' lone coordinates reach; where these are among them; and [U, lines] which line
    belongs to which window: a product with it is a box sum."""
    about = range(-axis.reach, axis.reach + 1)
    reached = sorted({k + d for k in axis.alone for d in about if 0 <= k + d < axis.length})
    lines, alone = torch.tensor(reached), torch.tensor(axis.alone)
    band = ((lines - alone[:, None]).abs() <= axis.reach).to(dtype)
    return lines.to(device), torch.searchsorted(lines, alone).to(device), band.to(device)


@lru_cache(maxsize=64)
def places(rows: Axis, cols: Axis, device: torch.device) -> torch.Tensor:
    """[U, 1] numbers row * W + column."""
    return (torch.tensor(rows.alone)[:, None] * cols.length + torch.tensor(cols.alone)).reshape(-1, 1).to(device)


class Corners:
    """Sums of the lone pixels over a bank of uint8 images, from box sums of squared differences.

    x: float64 [S, C, H, W], a grey levels from the centre, of which `unit` are 1 in coordinates. centre: [C]. apart: in
    float64, where float32 is too coarse. first: number of the first seed.
    """

    def __init__(self, rows: Axis, cols: Axis, x: torch.Tensor, level: Level, unit: float, centre: torch.Tensor,
                 apart: bool, first: int = 0):
        self.dtype = torch.float64 if apart else torch.float32
        (self.down, *self.rows), (self.right, *self.cols) = (near(axis, x.device, self.dtype) for axis in (rows, cols))
        self.axes, self.first = (rows, cols), first
        self.x = self._crop(x).to(self.dtype)
        self.centre = centre.to(self.dtype)[:, None, None]
        self.a, self.factor = level.a, -0.5 / level.variance * LOG2E / unit**2
        reference = torch.full((len(rows.alone) * len(cols.alone), len(x)), EMPTY, dtype=torch.float64, device=x.device)
        self.sums = Sums(reference, torch.zeros(*reference.shape, x.shape[1] + 1, dtype=torch.float64, device=x.device))

    def _crop(self, images: torch.Tensor) -> torch.Tensor:
        return images.index_select(2, self.down).index_select(3, self.right)

    def bytes(self) -> int:
        """Scratch memory that an image of a chunk takes."""
        return self.dtype.itemsize * 4 * (len(self.x) + 1) * self.x[0].numel()

    def add(self, images: torch.Tensor, budget: float, top: bool) -> None:
        """Take in images uint8 [I, C, H, W]; nothing is left out."""
        part = self._crop(images) - self.centre  # [I, C, h, w]
        (inner, row_sums), (across, col_sums) = self.rows, self.cols
        values = part.index_select(2, inner).index_select(3, across).permute(2, 3, 0, 1).flatten(0, 1)
        values = torch.cat([values, torch.ones_like(values[..., :1])], 2).double()  # [U, I, C + 1]
        squared = self.x[:, None].sub(part, alpha=self.a).square_().sum(2)  # [S, I, h, w]
        logits = (squared @ col_sums.T).transpose(2, 3) @ row_sums.T  # [S, I, columns, rows]
        logits = logits.permute(3, 2, 0, 1).flatten(0, 1) * self.factor  # [U, S, I]
        reference = logits.amax(2)
        sums = torch.bmm(torch.exp2(logits.sub_(reference[..., None])).double(), values)
        self.sums = self.sums.merge(Sums(reference.double(), sums))

    def result(self) -> Sums:
        """Of grey levels from the centre."""
        return self.sums

    def pixels(self, height: int, width: int) -> list[torch.Tensor]:
        """[[U, S]] numbers (seed * H + row) * W + column of the pixels."""
        seeds = torch.arange(self.first, self.first + len(self.x), device=self.x.device)
        return [places(*self.axes, self.x.device) + seeds * (height * width)]
