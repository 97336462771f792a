"""Denoising networks: convolution only, after Kamb & Ganguli (arXiv 2412.20292), and a residual MLP for vectors.

    net(x_t, alpha_bar, condition=None, label=None) -> [N, ...item]: 'eps', 'x0' or 'v', as ``net.predicts`` says

x_t: [N, ...item]. alpha_bar: float64 [N]. condition: a ``Condition`` of N items if ``net.conditioned``. label: int64
[N] below ``net.classes``, negative for no class (learned where training drops labels); None: no class for any item.
There are no normalisation layers: a convolution sees a neighbourhood, and nothing else of the image.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import prod

import torch
from torch import nn
from torch.nn import functional as F

from ..catalogue.networks import COORDINATES, PREDICTS
from ..signal import LemError
from .condition import Condition
from .grid import conv, high, rings, sides

FREQUENCIES = 32  # sinusoids of the noise level, periods from 100 down to 0.8 in units of log-SNR
LOG_SNR = 20.0  # beyond it, either way, noise levels look alike
EMBEDDING = 256  # largest width of the embedding of noise level and class


class Embedding(nn.Module):
    """Noise level and class as one vector [N, width], through a small MLP."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.classes = classes
        self.register_buffer("frequency", 2.0 ** torch.linspace(-4, 3, FREQUENCIES), persistent=False)
        self.level = nn.Linear(2 * FREQUENCIES, width)
        self.kind = nn.Embedding(classes + 1, width) if classes else None
        self.out = nn.Linear(width, width)

    def forward(self, alpha_bar: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
        # log a^2/b^2 in float64: float32 has no 1 - alpha_bar; clamped, it is finite at both ends
        log_snr = torch.logit(alpha_bar.double()).clamp(-LOG_SNR, LOG_SNR)
        angle = log_snr[:, None].to(self.frequency) * self.frequency
        hidden = self.level(torch.cat([angle.sin(), angle.cos()], 1))
        if self.kind is not None:
            if label is None:
                label = torch.full(alpha_bar.shape, -1, device=hidden.device)
            label = label.to(hidden.device)
            hidden = hidden + self.kind(torch.where(label < 0, self.classes, label))
        return F.silu(self.out(F.silu(hidden)))


class DenoisingNet(nn.Module):
    """What the networks here share: attributes, embedding, checks of a call."""

    family = "denoise"

    def __init__(self, width: int, classes: int, predicts: str, conditioned: bool):
        super().__init__()
        if not PREDICTS.fits(predicts):
            raise LemError(f"a denoiser predicts one of {PREDICTS.wanted()}, not {predicts!r}")
        self.classes, self.predicts, self.conditioned = classes, predicts, conditioned
        self.embedding = Embedding(min(width, EMBEDDING), classes)
        self.embedded = min(width, EMBEDDING)

    def check(self, condition: Condition | None, label: torch.Tensor | None) -> None:
        """Raise ValueError where a condition or a label is missing, or given to a network that takes none."""
        if self.conditioned != (condition is not None):
            raise ValueError(f"this network takes {'a' if self.conditioned else 'no'} condition")
        if label is not None and not self.classes:
            raise ValueError("this network knows no classes: it takes no label")


class Convolutional(DenoisingNet):
    """Images, spectra and states [N, channels, H, W], or with axes = 1 states [N, channels, L], whose windows are then 3
    long (grid.py). With a condition, its channels + 3 planes stand beside x_t's, and then those of the coordinates:
    'frequency', the place in the rows from -1 (row 0) to 1, 'time', that in the columns, or 'both'. padding: 'zeros',
    'circular', or that of rows and of columns, as in 'zeros,circular'."""

    def __init__(
        self,
        channels: int,
        width: int,
        padding: str,
        classes: int,
        predicts: str,
        conditioned: bool,
        axes: int,
        coordinates: str,
    ):
        super().__init__(width, classes, predicts, conditioned)
        if not COORDINATES.fits(coordinates):
            raise LemError(f"coordinates are one of {COORDINATES.wanted()}, not {coordinates!r}")
        self.channels, self.padding, self.axes = channels, padding, axes
        self.along = {"none": (), "frequency": (2,), "time": (3,), "both": (2, 3)}[coordinates]
        if axes == 1 and 2 in self.along:
            raise LemError(f"coordinates {coordinates} are of rows; states along one axis take time")
        self.planes = (2 * channels + 3 if conditioned else channels) + len(self.along)

    def conv(self, inputs: int, outputs: int) -> nn.Conv2d:
        """3 x 3 at the padding of this network."""
        return conv(inputs, outputs, axes=self.axes, padding=self.padding)

    def inputs(self, x_t: torch.Tensor, condition: Condition | None, label: torch.Tensor | None) -> torch.Tensor:
        """All input planes [N, planes, H, W]."""
        self.check(condition, label)
        if x_t.ndim != 2 + self.axes or x_t.shape[1] != self.channels:
            raise ValueError(
                f"x_t has shape {list(x_t.shape)}: expected [N, {self.channels}, {'H, W' if self.axes == 2 else 'L'}]"
            )
        x = high(x_t if condition is None else torch.cat([x_t, condition.planes().to(x_t)], 1))
        return torch.cat([x, *(_place(x, axis) for axis in self.along)], 1) if self.along else x


def _place(x: torch.Tensor, axis: int) -> torch.Tensor:
    """[N, 1, H, W]: the place along an axis, from -1 to 1."""
    shape = [-1 if k == axis else 1 for k in range(4)]
    return torch.linspace(-1, 1, x.shape[axis], dtype=x.dtype, device=x.device).view(shape).expand_as(x[:, :1])


class ResNet(Convolutional):
    """3 x 3 in, `blocks` residual blocks of one 3 x 3 convolution each, 3 x 3 out (the paper's: 6 blocks of 256).

    A block adds the embedding to its input: x + relu(conv(x + e)). Any H, W, or L. ``receptive_field`` is the side of the
    window an output pixel depends on: 1 + 2 (blocks + 2), 17 in the paper's shape.
    """

    def __init__(
        self,
        channels: int = 3,
        width: int = 256,
        blocks: int = 6,
        padding: str = "zeros",
        classes: int = 0,
        predicts: str = "eps",
        conditioned: bool = False,
        axes: int = 2,
        coordinates: str = "none",
    ):
        super().__init__(channels, width, padding, classes, predicts, conditioned, axes, coordinates)
        self.receptive_field = 1 + 2 * (blocks + 2)
        self.first = self.conv(self.planes, width)
        self.shifts = nn.ModuleList(nn.Linear(self.embedded, width) for _ in range(blocks))
        self.convs = nn.ModuleList(self.conv(width, width) for _ in range(blocks))
        self.last = self.conv(width, channels)

    def forward(
        self,
        x_t: torch.Tensor,
        alpha_bar: torch.Tensor,
        condition: Condition | None = None,
        label: torch.Tensor | None = None,
    ) -> torch.Tensor:
        x = self.first(self.inputs(x_t, condition, label))
        embedding = self.embedding(alpha_bar, label)
        for shift, layer in zip(self.shifts, self.convs):
            x = x + F.relu(layer(x + shift(embedding)[:, :, None, None]))
        return self.last(x).reshape(x_t.shape)


class UNetLevel(nn.Module):
    """Two 3 x 3 convolutions, one level of a UNet, with the embedding: h = relu(conv x + e), then h + relu(conv h)."""

    def __init__(self, enter: nn.Conv2d, conv: nn.Conv2d, embedded: int):
        super().__init__()
        self.enter, self.conv, self.shift = enter, conv, nn.Linear(embedded, enter.out_channels)

    def forward(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.enter(x) + self.shift(embedding)[:, :, None, None])
        return x + F.relu(self.conv(x))


class UNet(Convolutional):
    """Levels of `widths` channels, each at half the resolution of the one before (the paper's: 64, 128, 256).

    Down by 2 x 2 means, up by transposed 2 x 2 convolutions, skips concatenated, 3 x 3 out. ``multiple`` is the
    coarsest stride: other sizes are padded with zeros and cropped, or along an axis of circular padding raise LemError.
    """

    def __init__(
        self,
        channels: int = 3,
        widths: Sequence[int] = (64, 128, 256),
        padding: str = "zeros",
        classes: int = 0,
        predicts: str = "eps",
        conditioned: bool = False,
        axes: int = 2,
        coordinates: str = "none",
    ):
        super().__init__(channels, max(widths), padding, classes, predicts, conditioned, axes, coordinates)
        self.multiple = 2 ** (len(widths) - 1)
        self.down = nn.ModuleList(self.level(i, o) for i, o in zip((self.planes, *widths), widths))
        fine_to_coarse = list(itertools.pairwise(widths))
        self.cell = sides(2, axes)  # of a coarser grid, in places of the finer one
        coarse = [2**level for level in range(len(widths))]
        self.reach = 2 * sum(coarse) + 2 * sum(coarse[:-1]) + self.multiple  # places beyond it do not matter
        self.rise = nn.ModuleList(nn.ConvTranspose2d(c, f, self.cell, self.cell) for f, c in fine_to_coarse[::-1])
        self.up = nn.ModuleList(self.level(2 * f, f) for f, _ in fine_to_coarse[::-1])
        self.last = self.conv(widths[0], channels)

    def level(self, inputs: int, outputs: int) -> UNetLevel:
        return UNetLevel(self.conv(inputs, outputs), self.conv(outputs, outputs), self.embedded)

    def forward(
        self,
        x_t: torch.Tensor,
        alpha_bar: torch.Tensor,
        condition: Condition | None = None,
        label: torch.Tensor | None = None,
    ) -> torch.Tensor:
        x = self.inputs(x_t, condition, label)
        height, width = x.shape[-2:]
        tall, wide = sides(self.multiple, self.axes)
        more = (0, -width % wide, 0, -height % tall)
        rows, columns = rings(self.padding, self.axes)
        if (rows and more[3]) or (columns and more[1]):
            here = f"{width} x {height} px" if rows and columns else f"{height} rows" if rows else f"{width} columns"
            here = here if self.axes == 2 else f"{width} places"
            raise LemError(f"{here}: this network's circular padding needs multiples of {self.multiple}")
        x = F.pad(x, more)
        embedding, skips = self.embedding(alpha_bar, label), []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else F.avg_pool2d(x, self.cell), embedding)
            skips.append(x)
        for skip, rise, block in zip(skips[-2::-1], self.rise, self.up):
            x = block(torch.cat([skip, rise(x)], 1), embedding)
        return self.last(x)[..., :height, :width].reshape(x_t.shape)


class Vector(DenoisingNet):
    """Residual MLP for embeddings ([D] or [L, D], flattened) and small images: `depth` blocks h + out(silu(in(h) + e)).

    item: shape of x_t's items; source: the fragment's where it is another (an image recalled from an embedding).
    The answer has a part proportional to x_t, by a gain of the noise level for each element: with fewer hidden units
    than elements, the noise could not pass otherwise.
    """

    def __init__(
        self,
        item: Sequence[int],
        width: int = 512,
        depth: int = 4,
        classes: int = 0,
        predicts: str = "eps",
        conditioned: bool = False,
        source: Sequence[int] | None = None,
    ):
        super().__init__(width, classes, predicts, conditioned)
        self.item, size = tuple(item), prod(item)
        self.first = nn.Linear(size + (3 * prod(source or item) + 1 if conditioned else 0), width)
        self.enter = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.shifts = nn.ModuleList(nn.Linear(self.embedded, width, bias=False) for _ in range(depth))
        self.leave = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.last, self.gain = nn.Linear(width, size), nn.Linear(self.embedded, size)

    def forward(
        self,
        x_t: torch.Tensor,
        alpha_bar: torch.Tensor,
        condition: Condition | None = None,
        label: torch.Tensor | None = None,
    ) -> torch.Tensor:
        self.check(condition, label)
        if tuple(x_t.shape[1:]) != self.item:
            raise ValueError(f"x_t has shape {list(x_t.shape)}: expected [N, {', '.join(map(str, self.item))}]")
        x, embedding = x_t.flatten(1), self.embedding(alpha_bar, label)
        h = self.first(x if condition is None else torch.cat([x, condition.vector().to(x)], 1))
        for enter, shift, leave in zip(self.enter, self.shifts, self.leave):
            h = h + leave(F.silu(enter(h) + shift(embedding)))
        return (self.last(F.silu(h)) + self.gain(embedding) * x).reshape(x_t.shape)
