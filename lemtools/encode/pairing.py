"""Which vector of one input belongs to which of another: by name, or by order where neither has names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from ..signal import LemError, Signal, stem

Block = tuple[np.ndarray, np.ndarray]


def paired(a: Iterable[Signal], b: Iterable[Signal]) -> Iterator[Block]:
    """Blocks of pairs of vectors ([n, D], [n, E]) of two sets of embeddings; items [L, D] pair position by position.

    Items pair by name, without extension, where both sides have names, else by order. As long as the names come in one order,
    nothing is held; from there on, what is left of B is. LemError for anything but whole embeddings, where one side alone has
    names or items, for a name that comes twice or on one side alone, and for items of different lengths.
    """
    sides, seen = (_Side(a, "the input"), _Side(b, "--onto")), set[str]()
    while (n := min(left := [side.left() for side in sides])) > 0:
        x, y = (side.take(n) for side in sides)
        if (x.names is None) != (y.names is None):
            named, other = sides[:: 1 if y.names is None else -1]
            raise LemError(
                f"{named.of} has names, {other.of} has none; items pair by name where both have them, else by order"
            )
        if x.names is not None:
            for name in (names := _stems(x, sides[0])):
                _once(name, seen, sides[0])
            if names != _stems(y, sides[1]):
                yield from _by_name(x, y, sides, seen)
                return
        yield _vectors(x, y, sides)
    if max(left) > 0:
        longer, count = sides[0 if left[0] else 1], sides[0].seen
        if (names := longer.take(1).names) is not None:
            raise LemError(f"{longer.of}: {names[0]} is there alone; leave it out")
        raise LemError(f"{longer.of}: more than the {count} items of the other side, and no names to pair them by")
    if not sides[0].seen:
        raise LemError("no vectors")


class _Side:
    """A place in a sequence of batches of embeddings."""

    def __init__(self, batches: Iterable[Signal], of: str):
        self.batches, self.of, self.at, self.seen = iter(batches), of, 0, 0
        self.batch: Signal | None = None

    def left(self) -> int:
        """Items of the batch that are not yet taken; 0: there are no more."""
        while self.batch is None or self.at >= len(self.batch):
            self.batch, self.at = next(self.batches, None), 0
            if self.batch is None:
                return 0
            self.of = self.batch.origin or self.of
            if self.batch.kind != "embedding" or self.batch.ops:
                what = "fragments" if self.batch.ops else self.batch.kind
                raise LemError(f"{self.of}: {what}; translate is fitted to whole embeddings")
        return len(self.batch) - self.at

    def take(self, n: int) -> Signal:
        self.at, self.seen = self.at + n, self.seen + n
        return self.batch.take(slice(self.at - n, self.at))

    def rest(self, first: Signal) -> Iterator[Signal]:
        """A batch, and all that is not yet taken."""
        yield first
        while n := self.left():
            yield self.take(n)


def _by_name(x: Signal, y: Signal, sides: tuple[_Side, _Side], seen: set[str]) -> Iterator[Block]:
    """Pairs of x, y and all that follows, whose names come in different orders. seen: names of A, those of x among them."""
    known, partners = seen - set(_stems(x, sides[0])), {}
    for batch in sides[1].rest(y):
        for i, name in enumerate(_stems(batch, sides[1])):
            _once(name, known, sides[1])
            partners[name] = batch.data[i]
    for batch in sides[0].rest(x):
        names = _stems(batch, sides[0])
        for name in names if batch is not x else ():
            _once(name, seen, sides[0])
        alone = next((name for name in names if name not in partners), None)
        if alone is not None:
            raise LemError(f"{sides[0].of}: {alone} is there alone; leave it out")
        rows = [partners.pop(name) for name in names]
        if len({row.shape for row in rows}) > 1:
            raise LemError(f"{sides[1].of}: {names[0]} and items beside it differ in shape")
        yield _vectors(batch, Signal("embedding", np.stack(rows)), sides)
    if partners:
        raise LemError(f"{sides[1].of}: {next(iter(partners))} is there alone; leave it out")


def _stems(batch: Signal, side: _Side) -> list[str]:
    if batch.names is None:
        raise LemError(f"{side.of}: some items have names and some have none")
    return [stem(name) for name in batch.names]


def _once(name: str, seen: set[str], side: _Side) -> None:
    if name in seen:
        raise LemError(f"{side.of}: two items of the name {name}")
    seen.add(name)


def _vectors(x: Signal, y: Signal, sides: tuple[_Side, _Side]) -> Block:
    if x.data.shape[1:-1] != y.data.shape[1:-1]:
        shapes = [f"items of {list(batch.data.shape[1:])} in {side.of}" for batch, side in zip((x, y), sides)]
        raise LemError(f"{' and '.join(shapes)}; positions pair one to one")
    one, other = (batch.data.reshape(-1, batch.data.shape[-1]) for batch in (x, y))
    return one, other
