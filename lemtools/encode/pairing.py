"""Which vectors of several inputs belong together: by name, or by order where none has names; positions of unlike tokens by text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from ..align.pairs import check_vectors
from ..signal import LemError, Signal, stem
from .offsets import alike, by_text

Block = tuple[np.ndarray, ...]


def paired(a: Iterable[Signal], b: Iterable[Signal]) -> Iterator[Block]:
    """Blocks of pairs of vectors ([n, D], [n, E]) of two sets of embeddings, as `together` matches them."""
    return together({"the input": a, "--onto": b})


def together(sets: Mapping[str, Iterable[Signal]]) -> Iterator[Block]:
    """Blocks of vectors of the same items in sets of embeddings ([n, D], [n, E], ...); items [L, D] match position by position,
    activations of other tokens where both have read the same bytes (offsets.by_text).

    sets: by what errors call them. Items match by name, without extension, where all sets have names, else by order. As long as
    the names come in one order, nothing is held; from there on, what is left of all sets but the first is. LemError for anything
    but whole embeddings, for vectors of several widths and those that pairs.check_vectors refuses, where some sets alone have names
    or items, for a name that comes twice or in one set alone, and for items of different lengths.
    """
    sides, seen = [_Side(batches, of) for of, batches in sets.items()], set[str]()
    while (n := min(left := [side.left() for side in sides])) > 0:
        if not sides[0].seen and not alike([side.batch for side in sides if side.batch is not None]):
            yield from by_text([(side.of, side.all()) for side in sides])
            return
        taken = [side.take(n) for side in sides]
        without = [batch.names is None for batch in taken]
        if any(without) and not all(without):
            named, other = sides[without.index(False)], sides[without.index(True)]
            raise LemError(
                f"{named.of} has names, {other.of} has none; items pair by name where both have them, else by order"
            )
        if not without[0]:
            for name in (names := _stems(taken[0], sides[0])):
                _once(name, seen, sides[0])
            if any(names != _stems(batch, side) for batch, side in zip(taken[1:], sides[1:])):
                yield from _by_name(taken, sides, seen)
                return
        yield _vectors(taken, sides)
    if max(left) > 0:
        longer, count = sides[left.index(max(left))], sides[0].seen
        if (held := longer.take(1).names) is not None:
            raise LemError(f"{longer.of}: {held[0]} is there alone; leave it out")
        raise LemError(f"{longer.of}: more items than the other side's {count}, and no names to pair them by")
    if not sides[0].seen:
        raise LemError("no vectors")


def without_names(batches: Iterable[Signal], of: str) -> Iterator[np.ndarray]:
    """Blocks of vectors [n, D] of embeddings, whatever their names and order. of: what they are called where no file is known."""
    side = _Side(batches, of)
    while n := side.left():
        x = side.take(n).data
        yield x.reshape(-1, x.shape[-1])


class _Side:
    """A place in a sequence of batches of embeddings."""

    def __init__(self, batches: Iterable[Signal], of: str):
        self.batches, self.of, self.at, self.seen = iter(batches), of, 0, 0
        self.batch: Signal | None = None
        self.width, self.rows = 0, 0  # numbers of a vector, and vectors of this file that came before

    def left(self) -> int:
        """Items of the batch that are not yet taken; 0: there are no more."""
        while self.batch is None or self.at >= len(self.batch):
            self.batch, self.at = next(self.batches, None), 0
            if self.batch is None:
                return 0
            self._check(self.batch)
        return len(self.batch) - self.at

    def _check(self, batch: Signal) -> None:
        """What has come: LemError for anything but whole embeddings, of the first one's width, with a direction each."""
        if batch.origin and batch.origin != self.of:
            self.of, self.rows = batch.origin, 0
        if batch.kind != "embedding" or batch.ops:
            what = "fragments" if batch.ops else batch.kind
            raise LemError(f"{self.of}: {what}; translate is fitted to whole embeddings")
        rows = batch.data.reshape(-1, batch.data.shape[-1])
        self.width = self.width or rows.shape[1]
        if rows.shape[1] != self.width:
            raise LemError(f"{self.of}: vectors of {rows.shape[1]} numbers among such of {self.width}")
        check_vectors(rows, self.rows, f" of {self.of}")
        self.rows += len(rows)

    def take(self, n: int) -> Signal:
        self.at, self.seen = self.at + n, self.seen + n
        return self.batch.take(slice(self.at - n, self.at))

    def all(self) -> Iterator[Signal]:
        """All that is not yet taken."""
        while n := self.left():
            yield self.take(n)

    def rest(self, first: Signal) -> Iterator[Signal]:
        """A batch, and all that is not yet taken."""
        yield first
        yield from self.all()


def _by_name(taken: list[Signal], sides: list[_Side], seen: set[str]) -> Iterator[Block]:
    """Matches of these batches and all that follows, whose names come in different orders. seen: names of the first set, those
    of its batch among them."""
    first = seen - set(_stems(taken[0], sides[0]))
    partners = [_held(batch, side, set(first)) for batch, side in zip(taken[1:], sides[1:])]
    for batch in sides[0].rest(taken[0]):
        names, rows = _stems(batch, sides[0]), []
        for name in names if batch is not taken[0] else ():
            _once(name, seen, sides[0])
        for held, side in zip(partners, sides[1:]):
            alone = next((name for name in names if name not in held), None)
            if alone is not None:
                raise LemError(f"{sides[0].of}: {alone} is there alone; leave it out")
            found = [held.pop(name) for name in names]
            if len({row.shape for row in found}) > 1:
                raise LemError(f"{side.of}: {names[0]} and items beside it differ in shape")
            rows.append(Signal("embedding", np.stack(found)))
        yield _vectors([batch, *rows], sides)
    for held, side in zip(partners, sides[1:]):
        if held:
            raise LemError(f"{side.of}: {next(iter(held))} is there alone; leave it out")


def _held(first: Signal, side: _Side, known: set[str]) -> dict[str, np.ndarray]:
    """{name: item} of a batch of a set and all that follows in it. known: names that came before."""
    found = {}
    for batch in side.rest(first):
        for i, name in enumerate(_stems(batch, side)):
            _once(name, known, side)
            found[name] = batch.data[i]
    return found


def _stems(batch: Signal, side: _Side) -> list[str]:
    if batch.names is None:
        raise LemError(f"{side.of}: some items have names and some have none")
    return [stem(name) for name in batch.names]


def _once(name: str, seen: set[str], side: _Side) -> None:
    if name in seen:
        raise LemError(f"{side.of}: two items of the name {name}")
    seen.add(name)


def _vectors(taken: list[Signal], sides: list[_Side]) -> Block:
    for batch, side in zip(taken[1:], sides[1:]):
        if batch.data.shape[1:-1] != taken[0].data.shape[1:-1]:
            shapes = [f"items of {list(b.data.shape[1:])} in {s.of}" for b, s in ((taken[0], sides[0]), (batch, side))]
            raise LemError(f"{' and '.join(shapes)}; positions pair one to one")
    return tuple(batch.data.reshape(-1, batch.data.shape[-1]) for batch in taken)
