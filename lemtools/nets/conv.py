"""Convolutional estimators of what a fragment's memory was, and the first guess that every estimator improves.

An estimate is guess + size * residual, element by element. The guess is the decoded value, and an average of what is
observed nearby for lost ones (`fill`); the size is how far the truth may be from it (`sizes`): half a bin, the noise,
a constant for lost values, nothing for exact ones. So one bit and seven bits are equally hard numerically, and exact
values come back exactly. No normalisation layers; the last layer starts at zero, so that training starts at the
guess.

Both take images and spectra of any size: [N, C, H, W].
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from .condition import Condition
from .grid import conv, high

FARTHEST = 1024  # pixels
FINEST = 1 / 255  # smallest size that detail is measured in: half a level of an 8-bit image in [-1, 1]


COARSE = 5  # grid of `Condition.coarse`: cells of 32 x 32 pixels


def fill(value: torch.Tensor, observed: torch.Tensor, coarse: torch.Tensor | None = None) -> torch.Tensor:
    """Lost values as averages of the observed ones nearby (push-pull; Gortler et al. 1996).

    value [N, C, H, W]; observed, bool or 0/1, the same shape. On grid k a cell is the mean of the observed values among
    its 2^k x 2^k; from the coarsest grid (one cell) to the finest, a cell with none takes the bilinear interpolation of
    the grid above it. Returns the shape of value: value itself where observed; 0 everywhere where nothing is observed.
    observed may also count observations of which value is the mean. coarse: grid COARSE as it comes out for the whole
    of which this is a part whose corner lies on it.
    """
    weight = observed.to(value)
    sums, grids = value * weight, []
    while True:
        grids.append((sums / weight.clamp(min=1), weight > 0))
        height, width = sums.shape[-2:]
        if (coarse is not None and len(grids) > COARSE) or (coarse is None and height == width == 1):
            break
        margin = (0, width % 2, 0, height % 2)
        sums, weight = (4 * F.avg_pool2d(F.pad(x, margin), 2) for x in (sums, weight))
    out, seen = grids.pop()
    if coarse is not None:
        out = torch.where(seen, out, coarse)
    for mean, seen in reversed(grids):
        up = F.interpolate(out, scale_factor=2, mode="bilinear", align_corners=False)
        out = torch.where(seen, mean, up[..., : mean.shape[-2], : mean.shape[-1]])
    return torch.where(observed.bool(), value, out)


def guess(condition: Condition) -> torch.Tensor:
    """[N, ...item]: the decoded values; lost ones filled in images and spectra, 0 (the mean) in vectors."""
    if condition.value.ndim != 4:
        return condition.value
    return fill(condition.value, condition.observed, condition.coarse)


def sizes(condition: Condition, lost: float) -> torch.Tensor:
    """[N, ...item] >= 0: how far the truth may be from the guess; `lost` where lost, 0 for exact values."""
    half = (condition.high - condition.low) / 2
    # a bin without an outer end: as far as its one end
    near = torch.minimum(condition.high - condition.value, condition.value - condition.low)
    half = torch.where(half.isfinite(), half, near)
    sigma = condition.sigma.reshape(-1, *[1] * (half.ndim - 1))
    return torch.where(condition.observed, torch.sqrt(half.square() + sigma.square()), lost)


def box(x: torch.Tensor, side: int, axis: int) -> torch.Tensor:
    """[N, C, H, W]: means over `side` neighbours (odd) along axis -1 or -2; at the border over those that are there."""
    half, count = side // 2, x.shape[axis]
    if x.is_cuda:
        window, margin = ((1, side), (0, half)) if axis == -1 else ((side, 1), (half, 0))
        return F.avg_pool2d(x, window, 1, margin, count_include_pad=False)
    # on a CPU this takes an eighth of the time, and gives the same bits
    wide = F.pad(x, (half, half) if axis == -1 else (0, 0, half, half))
    total = wide.narrow(axis, 0, count).clone()
    for k in range(1, side):
        total += wide.narrow(axis, k, count)
    place = torch.arange(count, device=x.device)
    there = 1 + place.clamp(max=half) + (count - 1 - place).clamp(max=half)
    return total / (there if axis == -1 else there[:, None])


def inputs(
    condition: Condition, first: torch.Tensor, size: torch.Tensor, details: Sequence[int] = (5,), opponent: bool = False
) -> torch.Tensor:
    """[N, C + C len(details) + 3, H, W]: the guess, its details, and the planes of observed, known and sigma.

    A detail is what the guess differs by from its mean over a square of that side, in units of its size, squashed into
    (-1, 1). In units of full scale the small differences that matter at many bits would be too faint to learn from.
    opponent: then come the details of the opponent colours, C len(details) more: of each channel less the mean over
    channels, of guess and of size alike. They vary less than the channels do, and are not lost among those.
    """
    planes = [first, *contrast(first, size, details)]
    if opponent:
        planes += contrast(first - first.mean(1, keepdim=True), size.mean(1, keepdim=True), details)
    return torch.cat([*planes, condition.planes()[:, first.shape[1] :]], 1)


def contrast(x: torch.Tensor, size: torch.Tensor, details: Sequence[int]) -> list[torch.Tensor]:
    """One [N, C, H, W] for each side in `details`: see `inputs`."""
    unit = size.clamp(min=FINEST)
    return [F.softsign((x - box(box(x, side, -1), side, -2)) / unit) for side in details]


def pad(x: torch.Tensor, multiple: int) -> torch.Tensor:
    """x [N, C, H, W] with H and W extended to multiples: mirrored at the lower right, or repeated if too small."""
    for axis, margin in ((-1, (0, 1, 0, 0)), (-2, (0, 0, 0, 1))):
        more = -x.shape[axis] % multiple
        if more:
            mode = "reflect" if more < x.shape[axis] else "replicate"
            x = F.pad(x, [side * more for side in margin], mode=mode)
    return x


def near(sides: Sequence[int]) -> Sequence[int]:
    """Windows and dilations as they are; ValueError for what is none, or wider than FARTHEST."""
    if not all(type(side) is int and 1 <= side <= FARTHEST for side in sides):
        raise ValueError(f"windows and dilations are of 1 to {FARTHEST} pixels, not {list(sides)}")
    return sides


class ConvBlock(nn.Module):
    """x + conv(relu(conv(x))), 3x3; gain: of the second one's initial weights."""

    def __init__(self, width: int, gain: float, dilation: int = 1, axes: int = 2):
        super().__init__()
        self.first = conv(width, width, axes=axes, dilation=dilation)
        self.second = conv(width, width, axes=axes, dilation=dilation)
        kaiming(self.first)
        kaiming(self.second, gain)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(F.relu(self.first(x), inplace=True))


def kaiming(layer: nn.Conv2d | nn.Linear, gain: float = 1.0) -> None:
    """He et al. 2015: keeps the variance through a ReLU; times gain."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    with torch.no_grad():
        layer.weight.mul_(gain)


def zero(layer: nn.Conv2d | nn.Linear) -> nn.Conv2d | nn.Linear:
    """The same layer, all zeros: the last one, so that training starts at the guess."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class Restorer(nn.Module):
    """A U-Net of plain residual blocks: the estimate of images of any size.

    channels: of the image. shuffle: the finest grid has cells of shuffle x shuffle pixels, whose values become
    channels. widths: channels on every grid, each twice as coarse as the one before. blocks: their number on every
    grid on the way down, at the bottom, and on the way up: 2 len(widths) - 1 numbers. lost: size of the residual of a
    lost value. details, opponent: see `inputs`; opponent colours are those of images of several channels.
    """

    family = "estimate"

    def __init__(
        self,
        channels: int = 3,
        widths: Sequence[int] = (80, 112, 128),
        blocks: Sequence[int] = (4, 1, 1, 1, 4),
        shuffle: int = 2,
        lost: float = 0.25,
        details: Sequence[int] = (3, 9, 27),
        opponent: bool = False,
    ):
        super().__init__()
        if opponent not in (True, False):
            raise ValueError(f"opponent is true or false, not {opponent!r}")
        if opponent and channels < 2:
            raise ValueError("an image of one channel has no opponent colours: leave opponent out")
        if len(blocks) != 2 * len(widths) - 1:
            raise ValueError(f"{len(widths)} widths go with {2 * len(widths) - 1} numbers of blocks, not {len(blocks)}")
        self.shuffle, self.lost, self.blocks = shuffle, lost, tuple(blocks)
        self.details, self.opponent = tuple(near(details)), opponent
        self.stride = shuffle * 2 ** (len(widths) - 1)
        gain = sum(blocks) ** -0.5
        pairs = list(itertools.pairwise(widths))

        def stack(width: int, count: int) -> nn.Sequential:
            return nn.Sequential(*(ConvBlock(width, gain) for _ in range(count)))

        planes = (1 + (1 + opponent) * len(details)) * channels + 3
        self.enter = nn.Conv2d(planes * shuffle**2, widths[0], 3, padding=1)
        self.down = nn.ModuleList(stack(w, n) for w, n in zip(widths, blocks))  # the last one is the bottom
        self.coarser = nn.ModuleList(nn.Conv2d(fine, coarse, 2, 2) for fine, coarse in pairs)
        self.finer = nn.ModuleList(nn.Conv2d(coarse, 4 * fine, 1) for fine, coarse in reversed(pairs))
        self.up = nn.ModuleList(stack(w, n) for w, n in zip(reversed(widths[:-1]), blocks[len(widths) :]))
        self.leave = zero(nn.Conv2d(widths[0], channels * shuffle**2, 3, padding=1))

    @property
    def reach(self) -> int:
        """Pixels beyond this distance do not matter, but through the fill of large holes: an overlap for tiles."""
        levels = len(self.coarser)
        grids = [self.shuffle * 2 ** min(i, 2 * levels - i) for i in range(2 * levels + 1)]
        blocks = sum(2 * n * g for n, g in zip(self.blocks, grids))
        return 2 * self.shuffle + blocks + self.stride + max(self.details) // 2

    def forward(self, condition: Condition, steps: int | None = None) -> torch.Tensor:
        """[N, C, H, W] in coordinates; steps is of no use to it."""
        first, size = guess(condition), sizes(condition, self.lost)
        planes = inputs(condition, first, size, self.details, self.opponent)
        return first + size * self.residual(planes).to(first)

    def residual(self, planes: torch.Tensor) -> torch.Tensor:
        """What `inputs` gives to [N, C, H, W], in units of the size."""
        height, width = planes.shape[-2:]
        x = F.pixel_unshuffle(pad(planes, self.stride), self.shuffle)
        x = self.enter(x.contiguous(memory_format=torch.channels_last))  # convolutions keep it, and are faster so
        kept = []
        for blocks, coarser in zip(self.down, self.coarser):
            x = blocks(x)
            kept.append(x)
            x = coarser(x)
        x = self.down[-1](x)
        for blocks, finer in zip(self.up, self.finer):
            x = blocks(F.pixel_shuffle(finer(x), 2) + kept.pop())
        return F.pixel_shuffle(self.leave(x), self.shuffle)[..., :height, :width]


class Flat(nn.Module):
    """Residual blocks at full resolution: the estimate of small images, of spectra, and of states on any grid.

    channels: of the item; target_channels: of what it recalls, if that is not the item itself; height and width stay.
    dilations: of the blocks, over and over; every block sees 2 * dilation pixels further. lost: as for `Restorer`. axes: 1
    for states [N, C, L] (see grid.py).
    """

    family = "estimate"

    def __init__(
        self,
        channels: int,
        width: int = 64,
        blocks: int = 6,
        target_channels: int | None = None,
        dilations: Sequence[int] = (1, 2, 4),
        lost: float = 0.5,
        axes: int = 2,
    ):
        super().__init__()
        self.lost, self.improves, self.axes = lost, target_channels in (None, channels), axes
        self.enter = conv(2 * channels + 3, width, axes=axes)
        steps = [near(dilations)[i % len(dilations)] for i in range(blocks)]
        self.blocks = nn.Sequential(*(ConvBlock(width, blocks**-0.5, dilation, axes) for dilation in steps))
        self.leave = zero(conv(width, target_channels or channels, axes=axes))
        self.reach = 4 + 2 * sum(steps)

    def forward(self, condition: Condition, steps: int | None = None) -> torch.Tensor:
        """[N, C, H, W], or [N, target_channels, H, W], in coordinates (of states along one axis without the H); steps
        is of no use to it."""
        if self.axes == 1:
            condition = condition.each(lambda part: high(part) if part.ndim == 3 else part)
        first, size = guess(condition), sizes(condition, self.lost)
        out = self.leave(self.blocks(self.enter(inputs(condition, first, size)))).to(first)
        out = first + size * out if self.improves else out
        return out.squeeze(2) if self.axes == 1 else out
