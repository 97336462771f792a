"""A hub of several models' embeddings (align.hub): a map into one space of a set width and a map out of it for each, in one file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..align.hub import ALL, Joined, fitted, joined
from ..align.maps import Map
from ..align.pairs import Paired, check_vectors
from ..catalogue import listed
from ..signal import Layout, LemError, Signal, Tensor, Value
from ..signal.layout import Found
from .contract import Fitted
from .pairing import Block, together

Sources = Mapping[str, Callable[[], Iterable[Signal]]]
RECORD = {
    "map": Value(("hub",)),
    "hub": Value("text"),
    "count": Value("whole", 2),
    "width": Value("whole", 1, ALL),
    "members": Value("whole", 2, 4096),
    "spaces": Value("list"),
    "joined": Value("list"),
}


class Hub(Fitted):
    """Embedding [N, D] or [N, L, D] of one of the spaces <-> hub vectors [N, W] or [N, L, W], float32, vector by vector.

    found: the maps, by the space's name. made: what `card` keeps of the fit. entry, exit: the space of what is encoded, and of what
    is decoded; None: not said, and of what is decoded that which it came from. LemError for a space that the hub does not have, for
    vectors of another width, that are not finite, or that are zero, and for vectors of another hub.
    """

    name = "translate"

    def __init__(self, found: Joined, made: dict[str, Any], entry: str | None = None, exit: str | None = None):
        self.found, self.made_of, self.entry, self.exit = found, made, entry, exit

    @classmethod
    def described(cls, record: dict, found: Found) -> Layout:
        members = record.get("members")
        tensors = {}
        for i in range(min(members, len(found)) if isinstance(members, int) else 0):
            sides = {
                f"mean.{i}": f"D{i}",
                f"centre.{i}": "width",
                f"there.{i}": f"D{i} width",
                f"back.{i}": f"width D{i}",
            }
            tensors |= {name: Tensor("F64", shape) for name, shape in sides.items()}
        return Layout(RECORD, tensors)

    @classmethod
    def fit(
        cls, signals: Any, *, common: int | None = None, pairs: int | None = None, seed: int = 0
    ) -> tuple[Hub, dict]:
        """signals: what yields the batches of each space, by name; common: the hub's width. Else as of Translate."""
        spaces: Sources = _named(signals, "--common")
        blocks = together({name: source() for name, source in spaces.items()})
        found = fitted(list(spaces), blocks, common or 0, pairs=pairs, seed=seed)
        marks = hashlib.blake2b(digest_size=8)
        for one in found.maps.values():
            for part in (*one.mean, one.there, one.back):
                marks.update(np.ascontiguousarray(part).tobytes())
        hub = cls(found, {"hub": marks.hexdigest(), "count": found.count, "width": common, "joined": []})
        widths = {f"width-{name}": one.widths[0] for name, one in found.maps.items()}
        return hub, {"items": found.count, "width": common, **widths, **found.facts}

    def joined_by(
        self, signals: Any, add: Any, *, map: str = "auto", pairs: int | None = None, seed: int = 0
    ) -> tuple[Hub, dict]:
        """This hub with one more space; nothing of it changes. add: what yields its batches, by its name; signals: of members, of
        the same items: what is paired with is the mean of their hub vectors. map: of the catalogue. Else as of `fit`."""
        ((name, source),) = add.items()
        if name in self.found.maps:
            raise LemError(f"--add {name}: the hub has a space of this name; give the file another name")
        members = _named(signals, "--add")
        for member in members:
            self._map(member)
        blocks = together({name: source(), **{member: made() for member, made in members.items()}})
        taken = Paired.read(self._beside(blocks, list(members)), pairs=pairs, seed=seed, of=(name, "the hub"))
        one = joined(taken, map)
        facts = dict(one.facts)
        chosen = str(facts.pop("chosen", map))
        found = replace(self.found, maps={**self.found.maps, name: one})
        note = {"space": name, "map": chosen, "pairs": taken.count}
        made = {**self.made_of, "joined": [*self.made_of["joined"], note]}
        report = {"pairs": taken.count, "width": taken.x.shape[1], "width-hub": self.made_of["width"], "map": chosen}
        return Hub(found, made), {**report, **facts}

    def _beside(self, blocks: Iterable[Block], names: list[str]) -> Iterator[Block]:
        """Blocks of vectors of a new space, the first of `blocks`, and of the means of the members' hub vectors."""
        coders = [self._map(name) for name in names]
        for x, *others in blocks:
            for name, one, side in zip(names, coders, others, strict=True):
                _check(side, one.widths[0], f"{name} has such of")
            yield x, sum(one.apply(side) for one, side in zip(coders, others, strict=True)) / len(coders)

    def asked(self, *, from_space: str | None = None, to_space: str | None = None) -> Hub:
        for space in from_space, to_space:
            if space is not None:
                self._map(space)
        return Hub(self.found, self.made_of, from_space, to_space)

    def tensors(self) -> dict[str, np.ndarray]:
        held = {}
        for i, one in enumerate(self.found.maps.values()):
            parts = {"mean": one.mean[0], "centre": one.mean[1], "there": one.there, "back": one.back}
            held |= {f"{name}.{i}": array for name, array in parts.items()}
        return held

    def card(self) -> dict:
        spaces = list(self.found.maps)
        return {"map": "hub", "members": len(spaces), "spaces": spaces, **self.made_of}

    @classmethod
    def restore(cls, record: dict, tensors: dict[str, np.ndarray]) -> Hub:
        spaces = record["spaces"]
        if (
            len(spaces) != record["members"]
            or len(set(spaces)) != len(spaces)
            or not all(isinstance(s, str) for s in spaces)
        ):
            raise ValueError("names of its spaces")
        t = {name: array.astype(np.float64) for name, array in tensors.items()}
        maps = {
            name: Map((t[f"mean.{i}"], t[f"centre.{i}"]), t[f"there.{i}"], t[f"back.{i}"])
            for i, name in enumerate(spaces)
        }
        made = {key: record[key] for key in ("hub", "count", "width", "joined")}
        return cls(Joined(maps, record["count"]), made)

    def record(self, signal: Signal) -> dict:
        return {"fitted": True, "map": "hub", "hub": self.made_of["hub"], "from": self.entry}

    def encode(self, signal: Signal) -> list[Signal]:
        if self.entry is None:
            raise LemError(f"this is a hub; say whose vectors these are: --from {' or '.join(self.found.maps)}")
        return [self._through(signal, self.entry, back=False)]

    def decode(self, signal: Signal, record: dict) -> list[Signal]:
        if record.get("encoder") == self.name and record.get("hub") != self.made_of["hub"]:
            raise LemError("vectors of another hub; name its file, or one that grew from it by --add")
        space = self.exit or record.get("from")
        if space is None:
            raise LemError(f"say into which space of the hub: --to-space {' or '.join(self.found.maps)}")
        return [self._through(signal, space, back=True)]

    def _map(self, space: str) -> Map:
        if space not in self.found.maps:
            raise LemError(f"no space {space!r} in this hub; it has {listed(self.found.maps)}")
        return self.found.maps[space]

    def _through(self, signal: Signal, space: str, back: bool) -> Signal:
        x, one = signal.data, self._map(space)
        _check(x, one.widths[back], "the hub has such of" if back else f"{space} has such of")
        rows = x.reshape(-1, x.shape[-1])
        check_vectors(rows)
        return replace(signal, data=one.apply(rows, back).reshape(*x.shape[:-1], -1), depth=None)


def refuse_hub(record: dict) -> None:
    """LemError where what a map of two spaces is to decode is a hub's, by its record."""
    if "hub" in record:
        raise LemError("vectors of a hub, not of the space that this map translates into: --model HUB")


def _check(x: np.ndarray, width: int, said: str) -> None:
    if x.shape[-1] != width:
        raise LemError(f"vectors of {x.shape[-1]} numbers; {said} {width}")


def _named(signals: Any, flag: str) -> Sources:
    if not isinstance(signals, Mapping):
        raise LemError(f"{flag} takes several inputs by name, as in {{'A': x, 'B': y}}")
    return signals
