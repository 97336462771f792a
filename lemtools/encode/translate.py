"""One model's embeddings as another's: a map between two spaces (align), learnt from pairs and kept in a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np

from ..align.dictionary import learnt
from ..align.maps import Map
from ..align.pairs import WIDEST, Paired, check_vectors, read_side
from ..align.unpaired import aligned
from ..catalogue.maps import MAPS
from ..signal import Layout, LemError, Signal, Tensor, Value
from ..signal.layout import Found
from .contract import Fitted
from .hub import Hub, refuse_hub
from .pairing import paired, without_names

LINEAR = Layout(
    {"map": Value("text"), "count": Value("whole", 0)},
    {
        "mean_a": Tensor("F64", "D"),
        "mean_b": Tensor("F64", "E"),
        "there": Tensor("F64", "D E"),
        "back": Tensor("F64", "E D"),
    },
)
RELATIVE = Layout(
    {**LINEAR.record, "sharp_there": Value("number", 0), "sharp_back": Value("number", 0)},
    {
        "mean_a": Tensor("F64", "D"),
        "mean_b": Tensor("F64", "E"),
        "anchors_a": Tensor("F64", "K D"),
        "anchors_b": Tensor("F64", "K E"),
    },
)


LEARNT = ("mlp", "latent")  # maps that are networks (learned.py, which loads torch)


class Translate(Fitted):
    """Embedding [N, D] or [N, L, D] of space A <-> [N, E] or [N, L, E] of space B, float32, vector by vector.

    found: the align.maps.Map. chosen: its name in the catalogue, and whether it learnt by itself from there. count: the pairs that it was fitted to. The means of these,
    or of all vectors where there were some without partners, are the centres of both sides. LemError for vectors of another width, that are not finite, or that are zero,
    and of a hub to decode.
    """

    name, layout = "translate", LINEAR

    def __init__(self, found: Map, chosen: str, count: int):
        self.found, self.chosen, self.count = found, chosen, count

    @classmethod
    def described(cls, record: dict, found: Found) -> Layout:
        if record.get("map") == "hub":
            return Hub.described(record, found)
        if record.get("map") in LEARNT:
            return _learned().described(record, found)
        return RELATIVE if "anchors_a" in found else LINEAR

    @classmethod
    def fit(
        cls,
        signals: Callable[[], Iterable[Signal]],
        *,
        onto: Callable[[], Iterable[Signal]] | None = None,
        map: str | None = None,
        pairs: int | None = None,
        more: Callable[[], Iterable[Signal]] | None = None,
        onto_more: Callable[[], Iterable[Signal]] | None = None,
        unpaired: bool = False,
        common: int | None = None,
        add: Mapping[str, Callable[[], Iterable[Signal]]] | None = None,
        hub: Fitted | None = None,
        seed: int = 0,
    ) -> tuple[Fitted, dict]:
        """signals: of A; onto: of B, see pairing.paired. map: of the catalogue; None: auto. pairs: how many to take, drawn by the
        seed; None: all. more, onto_more: vectors of A and of B that need no partners, for self-learning (align.dictionary).
        unpaired: no pairs are known, and neither names nor order are looked at (align.unpaired). Returns (Translate, report):
        pairs, widths, the map, and what its fit found.

        common: the width of a hub, and add: what joins `hub`, by its name; then signals are by the names of spaces, and what is
        returned is a Hub.
        """
        if common or add:
            given = {"--onto": onto, "--more": more, "--onto-more": onto_more, "--unpaired": unpaired or None}
            given |= {"--map": map, "--add": add} if common else {}
            if flag := next((name for name, value in given.items() if value is not None), None):
                raise LemError(f"{flag} is not for {'--common' if common else '--add'}: the inputs are the spaces")
            if common:
                return Hub.fit(signals, common=common, pairs=pairs, seed=seed)
            if not isinstance(hub, Hub):
                raise LemError("--add joins a hub: --model HUB, from --fit --common")
            return hub.joined_by(signals, add, map=map or "auto", pairs=pairs, seed=seed)
        if onto is None:
            raise LemError("translate needs the other side of the pairs: --onto FILE")
        if unpaired:
            given = {"--pairs": pairs, "--map": map, "--more": more, "--onto-more": onto_more}
            if flag := next((name for name, value in given.items() if value is not None), None):
                raise LemError(f"{flag} is for pairs; --unpaired has none")
            x, y = (
                read_side(without_names(side(), of), of, seed=seed)
                for side, of in ((signals, "the input"), (onto, "--onto"))
            )
            return cls._with(aligned(x, y), "unpaired", 0)
        taken = Paired.read(paired(signals(), onto()), pairs=pairs, seed=seed, of=("the input", "--onto"))
        row = MAPS.find(map or "auto")
        if row.steps:
            if more or onto_more:
                raise LemError(f"--more is not for --map {row.name}: lem-train translate learns from such vectors, too")
            made, facts = row.load()(taken)
            return made, {"pairs": taken.count, **cls._widths(taken.mean), "map": row.name, **facts}
        found = row.load()(taken)
        chosen = str(found.facts.pop("chosen", map))
        if more or onto_more:
            if not (more and onto_more):
                raise LemError("--more and --onto-more go together: self-learning needs vectors of both sides")
            widths = [len(mean) for mean in found.mean]
            sides = zip((more, onto_more), ("--more", "--onto-more"), widths, strict=True)
            clouds = [read_side(without_names(side(), of), of, width=width, seed=seed) for side, of, width in sides]
            found = learnt(taken, (clouds[0], clouds[1]), found, MAPS.load(chosen))
            chosen = f"{chosen}, self-learnt" if found.facts["rounds"] else chosen
        return cls._with(found, chosen, taken.count)

    @classmethod
    def _with(cls, found: Map, chosen: str, count: int) -> tuple[Translate, dict]:
        return cls(found, chosen, count), {"pairs": count, **cls._widths(found.mean), "map": chosen, **found.facts}

    @staticmethod
    def _widths(mean: tuple[np.ndarray, np.ndarray]) -> dict[str, int]:
        return {"width": len(mean[0]), "width-onto": len(mean[1])}

    def asked(self, *, from_space: str | None = None, to_space: str | None = None) -> Translate:
        if said := from_space or to_space:
            raise LemError(f"{said!r} names a space of a hub; this is a map of two, there and with --decode back")
        return self

    def tensors(self) -> dict[str, np.ndarray]:
        made = self.found
        held = (
            {"there": made.there, "back": made.back}
            if made.anchors is None
            else dict(zip(("anchors_a", "anchors_b"), made.anchors, strict=True))
        )
        return {"mean_a": made.mean[0], "mean_b": made.mean[1], **held}

    def card(self) -> dict:
        sharp = self.found.sharp
        both = {} if self.found.anchors is None else {"sharp_there": sharp[0], "sharp_back": sharp[1]}
        return {"map": self.chosen, "count": self.count, **both}

    @classmethod
    def restore(cls, record: dict, tensors: dict[str, np.ndarray]) -> Fitted:
        if record["map"] == "hub":
            return Hub.restore(record, tensors)
        if record["map"] in LEARNT:
            return _learned().restore(record, tensors)
        t = {name: array.astype(np.float64) for name, array in tensors.items()}
        if max(len(t["mean_a"]), len(t["mean_b"])) > WIDEST:
            raise ValueError(f"vectors of more than {WIDEST} numbers")
        mean = t["mean_a"], t["mean_b"]
        if "anchors_a" in t:
            sharp = float(record["sharp_there"]), float(record["sharp_back"])
            found = Map(mean, anchors=(t["anchors_a"], t["anchors_b"]), sharp=sharp)
        else:
            found = Map(mean, t["there"], t["back"])
        return cls(found, record["map"], record["count"])

    def record(self, signal: Signal) -> dict:
        return {"fitted": True, "map": self.chosen, "pairs": self.count}

    def encode(self, signal: Signal) -> list[Signal]:
        return [self._translated(signal, back=False)]

    def decode(self, signal: Signal, record: dict) -> list[Signal]:
        refuse_hub(record)
        return [self._translated(signal, back=True)]

    def _translated(self, signal: Signal, back: bool) -> Signal:
        x, width = signal.data, self.found.widths[back]
        if x.shape[-1] != width:
            from_to = "back from" if back else "from"
            raise LemError(f"vectors of {x.shape[-1]} numbers; this map translates {from_to} such of {width}")
        rows = x.reshape(-1, width)
        check_vectors(rows)
        return replace(signal, data=self.found.apply(rows, back).reshape(*x.shape[:-1], -1), depth=None)


def _learned() -> type[Fitted]:
    from .learned import Learned  # (it loads torch)

    return Learned
