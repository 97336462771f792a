"""Gaps in tokens by counts of stored texts: what an n-gram says of each lost one, from both sides, exactly (restore.ngram)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..restore.ngram import NGram, Segment, segments
from ..rng import generator
from ..signal import LemError, Signal
from . import tiles


class Counter:
    """Counts of stored texts, made ready; called with a batch of fragments of tokens, it answers (recalled, steps).

    What is known stays. A lost token is the likeliest one by itself given all that is known, so that as many are right as can be
    expected; of several likest ones it is the first. Draws are of all lost tokens together.

    memory: sequences of tokens [n], or an array [N, n], each counted by itself; of bytes (uint8) there are 256 kinds, of others as many as the
    attribute `kinds` says, or as occur. samples: 0 for the likeliest, else draws an item, named NAME#0 ... NAME#M-1. order: tokens before that counts go by.
    seed: of the draws, which are each item's own. LemError for memories that are no tokens.
    """

    method = name = "ngram"

    def __init__(self, memory: Sequence[np.ndarray], *, samples: int = 0, order: int = 5, seed: int = 0):
        rows = list(memory)
        if not rows or any(row.dtype.kind not in "iu" or row.ndim != 1 for row in rows):
            raise LemError("memory: --method ngram counts texts or tokens")
        if min(int(row.min(initial=0)) for row in rows) < 0:
            raise LemError("memory: tokens are whole numbers from 0 on")
        occur = 1 + max(int(row.max(initial=0)) for row in rows)
        kinds = 256 if all(row.dtype == np.uint8 for row in rows) else max(occur, getattr(memory, "kinds", 0))
        self.samples, self.seed, self.size = samples, seed, sum(map(len, rows))
        self.model = NGram(rows, kinds, order)

    def __call__(self, signal: Signal) -> tuple[Signal, list[str]]:
        """LemError for what are no tokens, and for one of more than the memory's kinds."""
        if signal.kind != "tokens":
            raise LemError(f"--method {self.method} recalls tokens, not {signal.kind}")
        whole = tiles.framed(signal)
        data, known = np.asarray(whole.data, np.int64), whole.observed() != 0
        bad = data[known & ((data < 0) | (data >= self.model.kinds))]
        if len(bad):
            raise LemError(f"token {bad[0]}, where the memory has 0 to {self.model.kinds - 1}")
        draws = self.samples or 1
        filled = data.repeat(draws, 0)
        for item in range(len(data)):
            self._fill(filled[item * draws : (item + 1) * draws], known[item], int(signal.index[item]), len(signal.ops))
        out = tiles.repeated(whole, self.samples) if self.samples else whole
        kind = whole.whole_dtype if filled.max(initial=0) <= np.iinfo(whole.whole_dtype).max else np.dtype(np.int64)
        made = f"{self.samples} draws" if self.samples else "the likeliest"
        step = f"{self.method}: {made} by counts of {self.size} tokens, {self.model.order} before"
        done = replace(out, data=filled.astype(kind, copy=False), mask=None, codes=None, ops=[])
        return done, [step]

    def _fill(self, rows: np.ndarray, known: np.ndarray, index: int, position: int) -> None:
        """Fill in the draws [M, T] of one item."""
        own = [generator(self.seed, index, position, f"{self.method}#{number}") for number in range(len(rows))]
        for begin, end in segments(known, self.model.order):
            here = slice(begin, end)
            state = self.model.at(rows[0, :begin])
            stretch = Segment(self.model, state, rows[0, here], known[here])
            if not self.samples:
                rows[0, here][~known[here]] = stretch.posterior().argmax(1)
            for row, each in zip(rows if self.samples else (), own, strict=False):
                row[here] = stretch.draw(each)


def ngram(memory=None, model=None, **options) -> Counter:
    """What fills gaps by counts of stored texts."""
    return Counter(memory, **options)
