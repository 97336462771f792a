"""Positions of one text in other tokens: they belong together where a token of each ends at the same byte.

The state after a token has read the text up to the token's end. Where two tokens of other vocabularies end at the same byte, both
states have read the same text; between, the last token that ends at or before a byte has read no more than that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from ..signal import LemError, Signal
from .text import bytes_of

Text = tuple[np.ndarray, np.ndarray]  # tokens [L] and where each ends, in bytes from the beginning, ascending
Array = TypeVar("Array")


class Beside(NamedTuple, Generic[Array]):
    """Windows of texts in the tokens of A and of B, which begin and end at the same bytes; padded with token 0.

    a: int64 [N, R], without the last token of each. b: int64 [N, S]. last: int64 [N, S - 1], for each position of B the one of A
    whose token ends last at or before its own; -1: there is none yet. seen: bool [N, S - 1], where B has a token to predict.
    """

    a: Array
    b: Array
    last: Array
    seen: Array


def alike(batches: Sequence[Signal]) -> bool:
    """Whether activations were made of the same tokens, as far as their histories say what tokens stand for."""
    return len({_said(batch) for batch in batches}) < 2


def by_text(sides: Sequence[tuple[str, Iterable[Signal]]]) -> Iterator[tuple[np.ndarray, ...]]:
    """Blocks ([n, D], [n, E], ...) of the vectors of positions whose tokens end at the same byte in all sides.

    sides: what errors call each, and its activations, whose history says what its tokens stand for; tokens of which it says nothing
    are bytes. The texts are read one after another, so they have to be the same in one order; their windows need not be. No more
    is held than how far one side is ahead. LemError where there are no tokens, and where the texts differ.
    """
    readers = [_Reader(of, iter(batches)) for of, batches in sides]
    first, at, count = readers[0], 0, 0
    while min(had := [reader.ready() for reader in readers]) > 0:
        n = min(had)
        for other in readers[1:]:
            if other.text[:n] != first.text[:n]:
                one, two = (np.frombuffer(bytes(reader.text[:n]), np.uint8) for reader in (first, other))
                _differ(first.of, other.of, at + int(np.argmax(one != two)))
        ends = reduce(np.intersect1d, [reader.ends[reader.ends <= n] for reader in readers])
        block = tuple(reader.taken(n, ends) for reader in readers)
        at, count = at + n, count + len(ends)
        if len(ends):
            yield block
    if max(had) > 0:
        _differ(readers[had.index(max(had))].of, readers[had.index(min(had))].of, at)
    if not count:
        raise LemError("no vectors")


def side_by_side(texts: Iterable[tuple[Text, Text]], most: tuple[int, int]) -> Beside[np.ndarray]:
    """Windows that lie side by side, each as long as A's tokens and B's are no more than `most`; the rest of each text is left out.

    texts: each in the tokens of A and of B. Windows are cut where tokens of both end. LemError where no text is that long.
    """
    found = [window for a, b in texts for window in _windows(a, b, most)]
    if not found:
        raise LemError(f"no text has {most[1]} tokens; give a smaller --window than {most[1] - 1}")
    sizes = [max(len(each) for each in column) for column in zip(*found)]
    a, b, last = (np.zeros((len(found), size), np.int64) for size in sizes)
    seen = np.zeros(last.shape, bool)
    for i, rows in enumerate(found):
        for whole, row in zip((a, b, last), rows):
            whole[i, : len(row)] = row
        seen[i, : len(rows[2])] = True
    return Beside(a, b, last, seen)


def ended(ids: np.ndarray, table: Sequence[bytes], text: bytes, of: str) -> Text:
    """Tokens and where they end. LemError where they are another text than this one."""
    pieces = [table[token] for token in ids.tolist()]
    if b"".join(pieces) != text:
        raise LemError(f"{of}: its tokens are another text")
    return ids, np.cumsum([len(piece) for piece in pieces])


def _windows(a: Text, b: Text, most: tuple[int, int]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(tokens of A but the last, tokens of B, and of A's which has been read last at each of B's but the last) of windows."""
    common = np.intersect1d(a[1], b[1])
    counts = [np.append(0, np.searchsorted(ends, common, "right")) for _, ends in (a, b)]
    i, end = 0, len(common)
    while i < end:
        reach = [int(np.searchsorted(count, count[i] + size, "right")) - 1 for count, size in zip(counts, most)]
        j = max(min(reach), i + 1)  # (a token may be longer than a window of the other's: it is passed over)
        sizes = [count[j] - count[i] for count in counts]
        if j == end and all(size < limit for size, limit in zip(sizes, most)):
            return
        if min(reach) > i and min(sizes) > 1:
            parts = [slice(count[i], count[j]) for count in counts]
            last = np.searchsorted(a[1][parts[0]][:-1], b[1][parts[1]][:-1], "right") - 1
            yield a[0][parts[0]][:-1], b[0][parts[1]], last
        i = j


class _Reader:
    """The text of one side from where the sides are compared, where its tokens end in it, and their vectors."""

    def __init__(self, of: str, batches: Iterator[Signal]):
        self.of, self.batches = of, batches
        self.text, self.ends, self.rows = bytearray(), np.zeros(0, np.int64), np.zeros((0, 0))
        self.said: str | None = ""
        self.table: list[bytes] = []

    def ready(self) -> int:
        """Bytes that are there; 0: there are no more."""
        while not self.text and (batch := next(self.batches, None)) is not None:
            self._add(batch)
        return len(self.text)

    def taken(self, n: int, ends: np.ndarray) -> np.ndarray:
        """The vectors at these ends; then go on behind byte n."""
        rows, past = self.rows[np.searchsorted(self.ends, ends)], int(np.searchsorted(self.ends, n, "right"))
        del self.text[:n]
        self.ends, self.rows = self.ends[past:] - n, self.rows[past:]
        return rows

    def _add(self, batch: Signal) -> None:
        self.of = batch.origin or self.of
        if batch.tokens is None:
            raise LemError(f"{self.of}: no tokens beside its vectors, to pair them by the text")
        if (said := _said(batch)) != self.said:
            try:
                self.said, self.table = said, bytes_of(said)
            except ValueError as error:
                raise LemError(f"{self.of}: damaged history ({error})") from error
        ids = batch.tokens.reshape(-1)
        if int(ids.min(initial=0)) < 0 or int(ids.max(initial=0)) >= len(self.table):
            raise LemError(f"{self.of}: token {int(ids.max())}, and nothing says what it stands for; --codec says it")
        pieces = [self.table[token] for token in ids.tolist()]
        self.text = bytearray(b"".join(pieces))
        self.ends = np.cumsum([len(piece) for piece in pieces])
        self.rows = batch.data.reshape(-1, batch.data.shape[-1])


def _said(batch: Signal) -> str | None:
    """What the tokens of activations stand for (text.Text.pieces); None: nothing is said."""
    found = [entry["pieces"] for entry in batch.history if isinstance(entry.get("pieces"), str)]
    return found[-1] if found else None


def _differ(one: str, other: str, at: int) -> None:
    raise LemError(
        f"{one} and {other}: texts that differ at byte {at}; other tokens pair where both have read the same text"
    )
