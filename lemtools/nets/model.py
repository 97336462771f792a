"""A trained network on disk: one safetensors file, weights and all that is needed to use them.

The JSON object under the metadata key `lem` holds

    v, tool, version    1, 'lem-train', the version that wrote it
    recipe, net         the recipe; the network's record for ``nets.build``
    kind, item          'image', 'spectrum', 'embedding' or 'tokens'; the shape of one item, 0 for a side of any length
    target              {'kind': …, 'item': […]} of what it recalls
    fragment            specifications of the losses it was trained on, as lem-fragment's options; [] for none
    classes             number of classes that it knows, or 0
    bytes, measured     of text: bytes a token on average, and whether that was measured (else 1)
    encoder             of a model that is an encoder, what encode.load reads it by
    step, seed          how many updates it was trained for, and the run's seed
    card                free text by key: data, licence, seeds, command, numbers

Offsets and gains of the two scales are the tensors `scale.offset`, `scale.gain`, `target_scale.offset` and
`target_scale.gain`.
Nothing is unpickled. train.checkpoint writes it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from ..catalogue.networks import NETWORKS
from ..denoise.contract import Scale
from ..signal import LemError
from ..stream.files import LEM, load_tensors
from . import build

SCALES = ("scale", "target_scale")


@dataclass
class Model:
    """A network with its record. scale, target_scale: coordinates of its input and of its answer."""

    net: nn.Module
    meta: dict
    scale: Scale = field(default_factory=Scale.image)
    target_scale: Scale = field(default_factory=Scale.image)

    @property
    def family(self) -> str:
        """'estimate', 'denoise' or 'sequence'."""
        return self.net.family

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.net.parameters())

    def fits(self, kind: str, item: tuple[int, ...]) -> bool:
        """Whether it was made for items of this kind and shape."""
        mine = self.meta["item"]
        return kind == self.meta["kind"] and len(mine) == len(item) and all(m in (0, n) for m, n in zip(mine, item))

    def tensors(self) -> dict[str, torch.Tensor]:
        """All that the file holds, on the CPU."""
        state = {k: v.detach().cpu().contiguous() for k, v in self.net.state_dict().items()}
        for name in SCALES:
            scale = getattr(self, name)
            for part in ("offset", "gain"):
                state[f"{name}.{part}"] = torch.tensor(np.asarray(getattr(scale, part), np.float32))
        return state


def load(path: str, device: str | torch.device = "cpu") -> Model:
    """Read a model, in float32 and ready for use (eval mode). LemError for a file that is not one, or not whole."""
    shown = os.fsdecode(path)
    wanted = "a model of lem-train (no record of a network in it)"
    meta, tensors = load_tensors(path, LEM, wanted, "pt")
    net = meta.get("net")
    if net is None:
        raise LemError(f"{shown}: not {wanted}")
    if not isinstance(net, dict):
        raise LemError(f"{shown}: damaged record of a network")
    if "encoder" in meta and net.get("net") == "codebooks":
        raise LemError(f"{shown}: codebooks, for lem-encode --model; there is no network in it")
    if net.get("net") not in NETWORKS:
        raise LemError(f"{shown}: made by a newer lemtools ({meta.get('version')}), which knows other networks")
    try:
        scales = [Scale(*(_plain(tensors.pop(f"{name}.{part}")) for part in ("offset", "gain"))) for name in SCALES]
        net = build(meta["net"])
        net.load_state_dict(tensors)
        for key, kind in (("item", list), ("target", dict), ("kind", str), ("fragment", list)):
            if not isinstance(meta[key], kind):
                raise ValueError(key)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise LemError(f"{shown}: its weights do not fit its record ({str(error).splitlines()[0]})") from error
    return Model(net.float().to(device).eval(), meta, *scales)


def _plain(tensor: torch.Tensor) -> float | np.ndarray:
    return float(tensor) if tensor.ndim == 0 else tensor.numpy()
