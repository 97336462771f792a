"""A translation by a network, in the file of the network: learnt by steps (lem-train translate), or by a fit (--map mlp)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from ..align import linear
from ..align.maps import check_finite
from ..align.pairs import WIDEST, Paired, check_varied, check_vectors
from ..catalogue.networks import NETWORKS
from ..denoise.contract import Scale
from ..device import pick
from ..nets import build
from ..signal import Layout, LemError, Signal, Tensor, Value
from ..signal.layout import Found
from .contract import Fitted
from .hub import refuse_hub

AT_ONCE = 1 << 14  # vectors
SIDES = ("scale", "target_scale")
MAPS = {"adapter": "mlp", "latent": "latent"}  # what the map of a network is called
STEPS, BATCH, RATE = 1000, 256, 1e-3  # of the fit: updates at most, and pairs in each
EVERY = 50  # updates between looks at the pairs left out
PART = 10  # one pair in so many is left out
FEWEST = 20  # pairs


class Learned(Fitted):
    """Embedding [N, D] or [N, L, D] of space A <-> [N, E] or [N, L, E] of space B, float32, vector by vector.

    net: of nets.adapter or nets.latent; scales: its coordinates of A and of B. count: the pairs that it was learnt from. LemError for vectors of
    another width, that are not finite, or that are zero.
    """

    name = "translate"

    def __init__(self, net: torch.nn.Module, scales: tuple[Scale, Scale], record: dict):
        self.net, self.scales, self.made_of = net.eval(), scales, record
        self.widths = [record["net"][side][-1] for side in ("source", "onto")]
        self.device = torch.device("cpu")

    @classmethod
    def described(cls, record: dict, found: Found) -> Layout:
        return Layout(
            {"map": Value(tuple(MAPS.values())), "count": Value("whole", 0), "net": Value("object")},
            {"*": Tensor("float", "...")},
        )

    @classmethod
    def fit(cls, signals, **settings):
        raise LemError("a network is learnt from pairs: encode.fit('translate', map='mlp'), or lem-train translate")

    @classmethod
    def restore(cls, record: dict, tensors: dict[str, np.ndarray]) -> Learned:
        config = record["net"]
        if MAPS.get(config.get("net")) != record["map"] or not all(
            0 < config[key][-1] <= WIDEST for key in ("source", "onto")
        ):
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
        held = {name: weight.cpu().numpy() for name, weight in self.net.state_dict().items()}
        for side, scale in zip(SIDES, self.scales, strict=True):
            held |= {f"{side}.offset": np.float32(scale.offset), f"{side}.gain": np.float32(scale.gain)}
        return {name: np.asarray(array, np.float32) for name, array in held.items()}

    def card(self) -> dict:
        return self.made_of

    def to(self, device: str) -> Learned:
        self.device = torch.device(pick(device))
        self.net.to(self.device)
        return self

    def asked(self, *, from_space: str | None = None, to_space: str | None = None) -> Learned:
        if said := from_space or to_space:
            raise LemError(f"{said!r} names a space of a hub; this is a map of two, there and with --decode back")
        return self

    def record(self, signal: Signal) -> dict:
        return {"fitted": True, "map": self.made_of["map"], "pairs": self.made_of["count"]}

    def encode(self, signal: Signal) -> list[Signal]:
        return [self._translated(signal, self.net.there, 0)]

    def decode(self, signal: Signal, record: dict) -> list[Signal]:
        refuse_hub(record)
        return [self._translated(signal, self.net.back, 1)]

    @torch.inference_mode()
    def _translated(self, signal: Signal, way: Callable[[torch.Tensor], torch.Tensor], side: int) -> Signal:
        x, width = signal.data, self.widths[side]
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


def scale(mean: np.ndarray, variance: float) -> Scale:
    """Coordinates of one side: less the mean, in units of the rms. variance: the mean one of a number."""
    return Scale(mean.astype(np.float32), float(1 / np.sqrt(max(variance, np.finfo(float).tiny))))


def begin(net: torch.nn.Module, pairs: Paired) -> tuple[Scale, Scale]:
    """The coordinates of a nets.adapter, which becomes ridge regression of the pairs each way."""
    (aa, _, bb), begun = pairs.parts, linear.ridge(pairs)
    one, other = (scale(mean, np.trace(of) / len(of)) for mean, of in zip(pairs.mean, (aa, bb), strict=True))
    ratio = other.gain / one.gain
    for way, matrix in ((net.there, begun.there * ratio), (net.back, begun.back / ratio)):
        way.begin(matrix)
    return one, other


def mlp(pairs: Paired) -> tuple[Learned, dict]:
    """(the network of lem-train translate, from ridge regression on, by as many updates as do best on pairs left out; the facts).

    A tenth of the pairs (of more than 4,096 of a sample of as many) is left out, and looked at every 50 updates: so many as have the least
    squared error there, both ways, in units of the variance, are then made of all pairs. facts: `steps` (0: ridge was best, and it is
    ridge), `error-before` and `error-after`, of those left out. AdamW, float32, on the CPU, the same at every call. LemError for fewer
    than 20 pairs, and for a side whose vectors are all the same but for some that are left out.
    """
    if len(pairs.x) < FEWEST:
        raise LemError(f"{len(pairs.x)} pairs; --map mlp leaves some out and needs {FEWEST} at least")
    order = np.random.default_rng(18).permutation(len(pairs.x))
    out, rest = order[: len(order) // PART], np.sort(order[len(order) // PART :])
    trial = Paired.of(pairs.x[rest], pairs.y[rest])
    for mean, square, of in zip(trial.mean, (trial.parts[0], trial.parts[2]), ("the input", "--onto"), strict=True):
        check_varied(mean, square.diagonal(), f"{of}, {len(rest)} of {len(pairs.x)} pairs")
    *_, errors = _learnt(trial, STEPS, (pairs.x[out], pairs.y[out]))
    steps = EVERY * int(np.argmin(errors))
    net, sides, config, _ = _learnt(pairs, steps)
    facts = {"steps": steps, "error-before": errors[0], "error-after": min(errors)}
    return Learned(net, sides, {"map": "mlp", "count": pairs.count, "net": config}), facts


def _learnt(
    pairs: Paired, steps: int, others: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[torch.nn.Module, tuple[Scale, Scale], dict, list[float]]:
    """(the network after so many updates of STEPS, the coordinates, its description, the squared errors of other pairs before the first update
    and after every 50)."""
    widths = {"source": [pairs.x.shape[1]], "onto": [pairs.y.shape[1]]}
    config = {"net": "adapter", **widths, **{o.name: o.value() for o in NETWORKS["adapter"].options}}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(18)
        net = build(config)
    sides = begin(net, pairs)

    def inside(*rows: np.ndarray) -> list[torch.Tensor]:
        return [
            s.encode(torch.from_numpy(np.ascontiguousarray(r, np.float32))) for s, r in zip(sides, rows, strict=True)
        ]

    x, y = inside(pairs.x, pairs.y)
    seen = inside(*others) if others else None
    draw = np.random.default_rng(18)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.0)
    errors = [_error(net, *seen)] if seen else []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / STEPS))
        rows = draw.choice(len(x), min(BATCH, len(x)), replace=False)
        optimizer.zero_grad()
        _squares(net, x[rows], y[rows]).backward()
        optimizer.step()
        if seen and (step + 1) % EVERY == 0:
            errors.append(_error(net, *seen))
    return net, sides, config, errors


def _squares(net: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (net.there(x) - y).square().mean() + (net.back(y) - x).square().mean()


@torch.no_grad()
def _error(net: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    return float(_squares(net, x, y))
