"""A translation that was learnt by steps (lem-train translate), in the file of its network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ..align.maps import check_finite
from ..align.pairs import WIDEST, check_vectors
from ..denoise.contract import Scale
from ..nets import build
from ..signal import Layout, LemError, Signal, Tensor, Value
from ..signal.layout import Found
from .contract import Fitted
from .hub import refuse_hub

AT_ONCE = 1 << 14  # vectors
SIDES = ("scale", "target_scale")


class Learned(Fitted):
    """Embedding [N, D] or [N, L, D] of space A <-> [N, E] or [N, L, E] of space B, float32, vector by vector.

    net: of nets.adapter; scales: its coordinates of A and of B. count: the pairs that it was learnt from. LemError for vectors of
    another width, that are not finite, or that are zero.
    """

    name = "translate"

    def __init__(self, net: torch.nn.Module, scales: tuple[Scale, Scale], record: dict):
        self.net, self.scales, self.made_of = net.eval(), scales, record
        self.device = torch.device("cpu")

    @classmethod
    def described(cls, record: dict, found: Found) -> Layout:
        return Layout(
            {"map": Value(("mlp",)), "count": Value("whole", 2), "net": Value("object")}, {"*": Tensor("float", "...")}
        )

    @classmethod
    def fit(cls, signals, **settings):
        raise LemError("mlp is learnt by steps: lem-train translate --data A --onto B")

    @classmethod
    def restore(cls, record: dict, tensors: dict[str, np.ndarray]) -> Learned:
        config = record["net"]
        if config.get("net") != "adapter" or not all(0 < config[key][-1] <= WIDEST for key in ("source", "onto")):
            raise ValueError("its network")
        net = build(config)
        scales = [Scale(tensors[f"{side}.offset"], float(tensors[f"{side}.gain"])) for side in SIDES]
        weights = {name: torch.from_numpy(array.astype(np.float32)) for name, array in tensors.items()}
        try:
            net.load_state_dict({name: weight for name, weight in weights.items() if not name.startswith(SIDES)})
        except RuntimeError as error:
            raise ValueError("weights of another network") from error
        return cls(net, (scales[0], scales[1]), {key: record[key] for key in ("map", "count", "net")})

    def tensors(self) -> dict[str, np.ndarray]:
        held = {name: weight.numpy() for name, weight in self.net.cpu().state_dict().items()}
        for side, scale in zip(SIDES, self.scales, strict=True):
            held |= {f"{side}.offset": np.float32(scale.offset), f"{side}.gain": np.float32(scale.gain)}
        return {name: np.asarray(array, np.float32) for name, array in held.items()}

    def card(self) -> dict:
        return self.made_of

    def to(self, device: str) -> Learned:
        self.device = torch.device(device)
        self.net.to(self.device)
        return self

    def asked(self, *, from_space: str | None = None, to_space: str | None = None) -> Learned:
        if said := from_space or to_space:
            raise LemError(f"{said!r} names a space of a hub; this is a map of two, there and with --decode back")
        return self

    def record(self, signal: Signal) -> dict:
        return {"fitted": True, "map": "mlp", "pairs": self.made_of["count"]}

    def encode(self, signal: Signal) -> list[Signal]:
        return [self._translated(signal, self.net.there, 0)]

    def decode(self, signal: Signal, record: dict) -> list[Signal]:
        refuse_hub(record)
        return [self._translated(signal, self.net.back, 1)]

    @torch.inference_mode()
    def _translated(self, signal: Signal, way: torch.nn.Module, side: int) -> Signal:
        x, width = signal.data, way.linear.in_features
        if x.shape[-1] != width:
            from_to = "back from" if side else "from"
            raise LemError(f"vectors of {x.shape[-1]} numbers; this map translates {from_to} such of {width}")
        check_vectors(x.reshape(-1, width))
        rows = x.reshape(-1, width).astype(np.float32, copy=False)
        one, other = self.scales[:: -1 if side else 1]
        made = [
            other.decode(way(one.encode(torch.from_numpy(part).to(self.device)))).cpu().numpy()
            for part in np.split(rows, range(AT_ONCE, len(rows), AT_ONCE))
        ]
        out = np.concatenate(made)
        check_finite(out)
        return replace(signal, data=out.reshape(*x.shape[:-1], -1), depth=None)
