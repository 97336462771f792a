"""A translation through a latent space, which learns from pairs, if there are any, and from vectors without partners (vec2vec).

After Jha et al. 2025, "Harnessing the Universal Geometry of Embeddings". Theirs learns from nothing but a million vectors, and its
discriminators say how translations should be spread. Here a batch has some hundreds of some thousands, and what says where a
translation belongs are its neighbours of the other side by CSLS (Conneau et al. 2018), the hubs among them held down; and it begins
as a linear map, since from drawn matrices no such loss finds one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from ...align.choose import FEWEST as FEW
from ...align.choose import auto
from ...align.clouds import Cloud
from ...align.dictionary import FEWEST, learnt
from ...align.linear import procrustes
from ...align.maps import Map
from ...align.pairs import Paired, check_varied
from ...align.unpaired import mapped, search
from ...catalogue.maps import MAPS
from ...encode.learned import scale
from ...nets import build
from ...nets.model import Model
from ...signal import LemError
from ..network import blamed, card, record
from ..objectives import Objective
from ..settings import Settings

NEAREST, SHARP = 10, 30.0  # neighbours of which CSLS is the mean, and sharpness of the softmax over it
SIDES = ((0, 1), (1, 0))
Sides = tuple[torch.Tensor, torch.Tensor]


class Known(NamedTuple):
    """What is learnt from: vectors of A [n, D] and of B [m, E] without partners, and pairs [K, D] and [K, E]; of either there may be
    none."""

    more: tuple[np.ndarray, np.ndarray]
    pairs: tuple[np.ndarray, np.ndarray]

    @property
    def sides(self) -> tuple[np.ndarray, np.ndarray]:
        """All vectors of A, and all of B."""
        one, other = (np.concatenate(both) for both in zip(self.pairs, self.more, strict=True))
        return one, other

    def items(self) -> tuple[np.ndarray, np.ndarray]:
        """(vectors of A [N, D], what stands beside them [N, E] or [N, E + D + E]: one of B, and a pair), N that of the longer side.

        The shorter ones come again and again. Who stands beside whom is of no account: a batch is two heaps, and pairs.
        """
        x, y = self.sides
        count = max(len(x), len(y))
        sides = [side for side in (y, *self.pairs) if len(side)]
        beside = np.concatenate([side[np.arange(count) % len(side)] for side in sides], axis=1)
        return x[np.arange(count) % len(x)], beside


class Shared(Objective):
    """The sum of the losses by the weights of the network (nets.latent); each is [N].

    An item is a vector of A; its label has one of B, and a pair, where there are any. pairs: squared errors of translations, and of
    their latent vectors. reconstruct: of the way in and out on one side. cycle: of the way there and back. similar: squared
    differences of the cosines among the vectors of a batch and among their translations. neighbours: how far translations are, by
    cosine, from the softmax-weighted nearest of the other side. spread: sliced Wasserstein distances (Bonneel et al. 2015) of
    directions, translations' from those of the other side, along as many lines as there are items.

    paired: whether there are pairs. LemError where no loss that can be measured has a weight.
    """

    needs_fragments = False

    def __init__(self, model: Model, widths: tuple[int, int], paired: bool):
        super().__init__(model, "plain")
        self.widths, self.used = widths, {name: weight for name, weight in self.net.losses.items() if weight}
        if not self.used.keys() - (set() if paired else {"pairs"}):
            raise LemError(
                "no loss has a weight: --set reconstruct=1 and the like"
                + " (pairs has one, but there are none)" * ("pairs" in self.used)
            )

    def lines(self, rng: np.random.Generator, item: tuple[int, ...]) -> dict[str, np.ndarray]:
        """A direction, as long as the wider side."""
        return {"line": rng.standard_normal(max(self.widths)).astype(np.float32)}

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        found = self.measured(batch)
        return sum(
            (self.used[name] * loss for name, loss in found.items()), torch.zeros((), device=batch["target"].device)
        )

    def measure(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor | tuple[torch.Tensor, torch.Tensor]]:
        return {"loss": self(batch), **self.measured(batch)}

    def measured(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """{loss: [N]} of those that have a weight; of pairs where there are some."""
        (d, e), net, label = self.widths, self.net, batch["label"].float()
        scales = self.model.scale, self.model.target_scale
        own = scales[0].encode(batch["target"].float()), scales[1].encode(label[:, :e].contiguous())
        high = net.lift(own[0], 0), net.lift(own[1], 1)
        made = net.lower(high[1], 0), net.lower(high[0], 1)  # (of A, from B; of B, from A)
        losses = {
            "reconstruct": lambda: sum(_squares(net.lower(high[i], i), own[i]) for i in (0, 1)),
            "cycle": lambda: sum(_squares(net.lower(net.lift(made[j], j), i), own[i]) for i, j in SIDES),
            "similar": lambda: sum(_unlike(own[i], made[j]) for i, j in SIDES),
            "neighbours": lambda: sum(_apart(made[i], own[i]) for i in (0, 1)),
            "spread": lambda: sum(_spread(made[i], own[i], batch["line"]) for i in (0, 1)),
        }
        if label.shape[1] > e:
            known = scales[0].encode(label[:, e : e + d].contiguous()), scales[1].encode(label[:, e + d :].contiguous())
            losses["pairs"] = lambda: self._pairs(known)
        return {name: loss() for name, loss in losses.items() if name in self.used}

    def _pairs(self, known: Sides) -> torch.Tensor:
        high = self.net.lift(known[0], 0), self.net.lift(known[1], 1)
        off = sum(_squares(self.net.lower(high[i], j), known[j]) for i, j in SIDES)
        return off + _squares(*high)


def _squares(made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return (made - wanted).square().mean(1)


def _cosines(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.normalize(x, dim=1) @ F.normalize(y, dim=1).T


def _unlike(own: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
    return (_cosines(own, own) - _cosines(made, made)).square().mean(1)


def _apart(made: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """1 less the mean cosine to the nearest of the other side, weighted by the softmax of CSLS, through which no gradient goes.

    What CSLS takes from a whole row, a softmax over the row leaves out.
    """
    near = _cosines(made, other)
    with torch.no_grad():
        crowd = near.topk(min(NEAREST, len(made)), dim=0).values.mean(0)
        weight = (SHARP * (2 * near - crowd)).softmax(1)
    return 1 - (weight * near).sum(1)


def _spread(made: torch.Tensor, other: torch.Tensor, lines: torch.Tensor) -> torch.Tensor:
    """Of every line the mean squared difference of the sorted projections of the two, in units of 1 / width."""
    width = made.shape[1]
    along = F.normalize(lines[:, :width], dim=1).T
    one, two = (torch.sort(F.normalize(side, dim=1) @ along, dim=0).values for side in (made, other))
    return width * (one - two).square().mean(0)


def model(settings: Settings, known: Known) -> Model:
    """The network, in coordinates of all vectors of either side, as the linear map of `first` where nothing else is asked.

    LemError for fewer than 2 vectors of a side, and where they are all the same.
    """
    sides = known.sides
    if len(sides[0]) < 2:
        raise LemError(f"{len(sides[0])} pair to learn from; 2 are needed at least, beside those of --holdout")
    for side, of in zip(sides, ("--data", "--onto"), strict=True):
        check_varied(side.mean(0, dtype=np.float64), side.var(0, dtype=np.float64), of)
    widths = [side.shape[1] for side in sides]
    config = record(settings, "embedding", (widths[0],), source=widths[:1], onto=widths[1:])
    torch.manual_seed(settings.seed)
    with blamed(config["net"]):
        net = build(config)
    scales = [scale(side.mean(0, dtype=np.float64), side.var(0, dtype=np.float64).mean()) for side in sides]
    if net.start == "map":
        begin(net, first(known), scales[1].gain / scales[0].gain)
    encoder = {"v": 1, "encoder": "translate", "map": "latent", "count": len(known.pairs[0]), "net": config}
    target = {"kind": "embedding", "item": config["onto"]}
    meta = card(settings, config, "embedding", widths[:1], target=target, fragment=[], classes=0, encoder=encoder)
    return Model(net, meta, *scales)


def begin(net: torch.nn.Module, found: Map, ratio: float) -> None:
    """Make the network a linear map each way. Its latent axes are those of A that the map weighs, there and back, the weightiest
    first. ratio: of the gains of B's coordinates and of A's."""
    assert found.there is not None and found.back is not None
    there, back = found.there * ratio, found.back / ratio
    u = np.linalg.svd(np.hstack([there, back.T]), full_matrices=False)[0]
    u = _filled(u, (len(u), net.trunk.linear.in_features))
    for ways, matrices in ((net.into, (u, back @ u)), (net.out, (u.T, u.T @ there))):
        for way, matrix in zip(ways, matrices, strict=True):
            way.begin(matrix)


def _filled(matrix: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Its first rows and columns, and zeros where there are no more."""
    out = np.zeros(shape)
    rows, columns = np.minimum(shape, matrix.shape)
    out[:rows, :columns] = matrix[:rows, :columns]
    return out


def first(known: Known) -> Map:
    """The linear map that pairs make, grown by self-learning where that helps with pairs left out; without pairs the best of a search
    (align.unpaired), whether or not that is more than chance."""
    clouds = known.more[0].astype(np.float64), known.more[1].astype(np.float64)
    if not len(known.pairs[0]):
        a, b = (Cloud.of(side, side.mean(0)) for side in clouds)
        return mapped(a, b, search(a, b).turn, *clouds, facts={})
    pairs = Paired.of(*(side.astype(np.float64) for side in known.pairs))
    if len(pairs.x) < max(FEW, FEWEST):
        return procrustes(pairs)
    made = auto(pairs, [row.name for row in MAPS.rows if row.tried and row.linear])
    return learnt(pairs, clouds, made, MAPS.load(made.facts["chosen"])) if len(clouds[0]) else made
