"""States and what became of them, to learn from: from rollouts of several rows, or from pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..denoise.moments import Moments
from ..rng import generator
from ..signal import LemError

SOME = 1 << 12  # states that are looked at together


class Stretches:
    """States in a row, as items: item i is [K + 1, ...state], part k of it row i + offset of an array.

    parts: (array [M, ...state], offset), in order of time. count: of the items. Tokens stay whole numbers, all else is
    float32.
    """

    def __init__(self, parts: Sequence[tuple[Any, int]], count: int):
        self.parts, self.count = list(parts), count
        self.shape = (count, len(self.parts), *self.parts[0][0].shape[1:])
        whole = self.parts[0][0].dtype
        self.dtype = whole if whole.kind in "iu" else np.dtype(np.float32)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int | np.ndarray) -> np.ndarray:
        found = [array[i + offset] for array, offset in self.parts]
        return np.stack(found, axis=np.ndim(i)).astype(self.dtype, copy=False)


@dataclass
class Rollout:
    """States [M, ...state] of `rows` rows side by side: the successor of state i is state i + rows. Or pairs: nexts
    [M, ...state] are the successors. Or triples: claimed [M, ...state] are what an emulator says that they are. steps:
    consecutive ones that an item needs besides the first. called: what messages call the states."""

    states: Any
    nexts: Any = None
    rows: int = 1
    steps: int = 1
    called: str = "states"
    claimed: Any = None

    def __post_init__(self) -> None:
        count, side = len(self.states), f"--rows {self.rows}"
        if count % self.rows:
            raise LemError(f"{side} does not divide the {count} {self.called} of --data")
        for name, array, needed in (("target", self.nexts, "successor"), ("drift", self.claimed, "claimed one")):
            if array is not None and array.shape != self.states.shape:
                here, there = (" x ".join(map(str, each.shape)) for each in (self.states, array))
                raise LemError(f"--data of {here} and --{name} of {there}: each state needs its {needed}")
        if self.nexts is None and count <= self.rows * self.steps:
            more = "a successor" if self.steps == 1 else f"{self.steps} successors"
            way = ", or what became of each state as --target" if self.called == "states" else ""
            raise LemError(
                f"none of {count} {self.called}, {count // self.rows} for each of {side}, has {more}; give a longer "
                f"rollout, or other --rows{way}"
            )

    @property
    def stretches(self) -> Stretches:
        """All items; those of one step of all rows are neighbours."""
        if self.nexts is not None:
            parts = (self.states, self.claimed, self.nexts)
            return Stretches([(part, 0) for part in parts if part is not None], len(self.states))
        reach = self.rows * self.steps
        return Stretches([(self.states, self.rows * k) for k in range(self.steps + 1)], len(self.states) - reach)

    def split(self, seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """(items to validate on, items to learn from), no state in both: the last steps of all rows, `count` items or some
        more; of a rollout that is too short for that whole rows, drawn by the seed."""
        if not count:
            return np.arange(0), np.arange(len(self.stretches))
        grid = np.arange(len(self.stretches)).reshape(-1, self.rows)  # [steps, rows]
        kept = -(-count // self.rows)
        apart = self.steps  # items that begin in these steps have states on either side
        if kept + apart < len(grid):
            return grid[-kept:].ravel(), grid[: -kept - apart].ravel()
        rows = -(-count // len(grid))
        if rows >= self.rows:
            raise LemError(f"--holdout {count} leaves nothing of {grid.size} steps to learn from; give fewer, or 0")
        drawn = generator(seed, 0, 0, "holdout").permutation(self.rows)
        back, learnt = np.sort(drawn[:rows]), np.sort(drawn[rows:])
        return grid[:, back].ravel(), grid[:, learnt].ravel()


def moments(items: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(mean, standard deviation) of every channel over the first states of stretches, and all places of them, [C, 1, ...]
    float32. Sums are in float64. Raises LemError for a channel that is constant, by its number from 1.
    """
    found, (channels, *places) = Moments(full=False), items[0].shape[1:]
    for at in range(0, len(items), SOME):
        states = np.asarray(items[np.arange(at, min(at + SOME, len(items)))])[:, 0]
        found.add(np.moveaxis(states.astype(np.float64), 1, -1).reshape(-1, channels))
    mean, std = found.mean, np.sqrt(found.variance)
    constant = np.flatnonzero(std <= 1e-7 * np.abs(mean))
    if len(constant):
        where = f"channel {constant[0] + 1}" if channels > 1 else "the one channel"
        raise LemError(f"{where} of the states is constant ({mean[constant[0]]:.6g}): there is nothing to learn of it")
    shape = (channels, *[1] * len(places))
    return mean.reshape(shape).astype(np.float32), std.reshape(shape).astype(np.float32)
