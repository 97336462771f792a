"""Streams of symbols whose state is known at every position, to learn and to test on (catalogue.tasks).

A network reads symbols; its output where it is asked is the state there. Symbols and states are numbers of one alphabet, whose
last one is the blank: what stands behind the end of a short sequence, and what a pause is. The state of a group's task is the
product of its symbols so far (Merrill, Petty & Sabharwal 2024, arXiv 2404.08819; parity and counting as in Grazzi et al. 2024,
arXiv 2411.12537). Symbols are drawn evenly, so that every state is as likely as any other at every position.

An item follows from the seed, its number and the part of the data (learnt, kept back, tested) that it is in, alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from typing import NamedTuple

import numpy as np
import torch

from ..catalogue.tasks import PREFIX, TASKS
from ..rng import generator
from ..signal import LemError

Drawn = tuple[np.ndarray, np.ndarray, np.ndarray]  # symbols, states int [T]; known bool [T]: where there is a state
PLACES = ("spread", "plain", "moved")  # see Stream


@dataclass(frozen=True)
class Task:
    """draw: (generator, length T) -> Drawn. symbols, states: how many of each there are; least: symbols of the shortest
    sequence; nested: whether the beginning of a sequence is a sequence; chance: of T, how often a guess is right that knows
    what cannot be the answer."""

    name: str
    draw: Callable[[np.random.Generator, int], Drawn]
    symbols: int
    states: int
    least: int
    nested: bool
    chance: Callable[[int], float]

    @property
    def vocabulary(self) -> int:
        return max(self.symbols, self.states) + 1

    @property
    def blank(self) -> int:
        return self.vocabulary - 1


def is_task(path: str) -> bool:
    """Whether what was given as data names a task, not a file."""
    return path.startswith(PREFIX)


def task(text: str, most: int) -> Task:
    """Of 'task:NAME' or 'task:NAME:VALUE'. most: symbols of the longest sequence that will be drawn. LemError for what is no
    task, or a value that it does not take."""
    name, colon, given = text.removeprefix(PREFIX).partition(":")
    row = TASKS.find(name)
    option = row.options[0] if row.options else None
    if option is None and colon:
        raise LemError(f"--data {text}: {row.name} takes no value; write {PREFIX}{row.name}")
    if option is None:
        return row.load()(None, most)
    value = (int(given) if given.isdecimal() else given) if colon else option.value()
    if value is None or not option.fits(value):
        raise LemError(f"--data {text}: {option.flag} is {option.wanted()}, as in {PREFIX}{row.shown}")
    return row.load()(value, most)


# words of a group: the state is the product so far


def parity(value: None, most: int) -> Task:
    """Z_2: the sum of the bits so far, modulo 2."""
    return _word("parity", counting(2), 2)


def counter(value: int, most: int) -> Task:
    """Z_M: the sum of the steps so far, modulo M."""
    return _word(f"counter:{value}", counting(value), value)


def s5(value: str, most: int) -> Task:
    """S_5: a symbol is a permutation that is applied after those before it. swaps: but for the first, which is any of the
    120, symbols are the four swaps of neighbours."""
    swaps = None
    if value == "swaps":
        swaps = [FIVE.index(p) for p in ((1, 0, 2, 3, 4), (0, 2, 1, 3, 4), (0, 1, 3, 2, 4), (0, 1, 2, 4, 3))]
    return _word("s5" if swaps is None else "s5:swaps", products(), 120, swaps)


FIVE = tuple(permutations(range(5)))


def counting(modulo: int) -> np.ndarray:
    """[state, symbol] -> state of Z_M."""
    steps = np.arange(modulo)
    return (steps[:, None] + steps) % modulo


@cache
def products() -> np.ndarray:
    """[state, symbol] -> state of S_5, numbered as FIVE: thing i is first taken to state[i], and then to symbol[state[i]]."""
    numbers = {p: i for i, p in enumerate(FIVE)}
    return np.array([[numbers[tuple(g[i] for i in s)] for g in FIVE] for s in FIVE])


def _word(name: str, table: np.ndarray, states: int, further: list[int] | None = None) -> Task:
    """further: the symbols behind the first, where those are not all."""
    rows = table.tolist()

    def draw(rng: np.random.Generator, length: int) -> Drawn:
        symbols = rng.integers(states, size=length)
        if further is not None:
            symbols[1:] = np.array(further)[symbols[1:] % len(further)]
        found, state = [], 0  # (0 changes nothing, in all groups here)
        for symbol in symbols.tolist():
            state = rows[state][symbol]
            found.append(state)
        return symbols, np.array(found), np.ones(length, bool)

    return Task(name, draw, states, states, 1, True, lambda length: 1 / states)


# a map that is shown


def hops(value: int, most: int) -> Task:
    """A cycle of m names, drawn out of all there are, as m pairs (name, what follows it) in any order; a mark; and names, of
    each of which the K-th that follows it is asked. A third of a sequence are names that are asked of.

    K < m, so that no name follows itself in K steps, and every other one is as likely. (Images of a map that is no
    permutation would run together: after K steps few names would be left to guess among.)
    """
    names, least = _pairs(most), 3 * (value + 1) + 1

    def draw(rng: np.random.Generator, length: int) -> Drawn:
        count = _pairs(length)
        cycle = rng.permutation(names)[:count]
        shown = rng.permutation(count)
        asked = rng.integers(count, size=length - 2 * count - 1)
        pairs = np.stack([cycle[shown], cycle[(shown + 1) % count]], 1).ravel()
        symbols = np.concatenate([pairs, [names], cycle[asked]])
        states = np.zeros(length, np.int64)
        states[-len(asked) :] = cycle[(asked + value) % count]
        return symbols, states, np.arange(length) > 2 * count

    return Task(f"hops:{value}", draw, names + 1, names, least, False, lambda length: 1 / (_pairs(length) - 1))


def _pairs(length: int) -> int:
    """Pairs that are shown in a sequence."""
    return (length - 1) // 3


# items


KNOWN, ASKED = 1, 2  # what an item says of a position; 0: there is no state


class Parts(NamedTuple):
    """An item taken apart, each [..., W]: what is read, the state, where that is known and where it is asked for, and where
    each symbol stands."""

    symbols: torch.Tensor
    states: torch.Tensor
    known: torch.Tensor
    asked: torch.Tensor
    places: torch.Tensor

    @classmethod
    def of(cls, items: torch.Tensor) -> Parts:
        """Of items [..., 4, W]."""
        symbols, states, asked, places = items.long().unbind(-2)
        return cls(symbols, states, asked >= KNOWN, asked == ASKED, places)


@dataclass(frozen=True)
class Asking:
    """How a task is put. least, longest: symbols of a sequence, drawn evenly between; every: the state is asked for at
    every position that has one, else at the last alone; positions: where symbols stand, see Stream; pause: blanks behind
    every symbol, at the last of which it is answered; context: places that there are."""

    least: int
    longest: int
    every: bool = True
    positions: str = "plain"
    pause: int = 0
    context: int = 400


class Stream:
    """Items int32 [4, W] of a task, W = longest (1 + pause): symbols, states, KNOWN or ASKED, places. part: of the data, a
    name.

    positions: plain: one after the other from 0. moved: from a place drawn evenly, so that the last stays within the
    context; rotary positions, which know distances alone, cannot tell this from plain. spread: a range whose
    logarithm is drawn evenly from that of W to that of the context, and in it places in order, drawn evenly (Ruoss et al.
    2023, arXiv 2305.16843): all distances within the context occur, and neighbours remain usual.
    """

    def __init__(self, task: Task, asking: Asking, count: int, seed: int, part: str):
        self.task, self.asking, self.count, self.seed, self.part = task, asking, count, seed, part
        self.width = asking.longest * (1 + asking.pause)
        if not task.least <= asking.least <= asking.longest:
            raise LemError(
                f"{PREFIX}{task.name}: sequences of {asking.longest} symbols, where it takes {task.least} or more"
            )
        if self.width > asking.context:
            raise LemError(
                f"{PREFIX}{task.name}: {self.width} positions, where there are {asking.context}; take shorter sequences, "
                "or train with a larger --context"
            )

    def __len__(self) -> int:
        return self.count

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.count, 4, self.width)

    def __getitem__(self, i: int) -> np.ndarray:
        rng, asking, step = generator(self.seed, int(i), 0, f"task {self.part}"), self.asking, 1 + self.asking.pause
        length = int(rng.integers(asking.least, asking.longest + 1))
        symbols, states, known = self.task.draw(rng, length)
        asked = known if asking.every else np.arange(length) == length - 1
        item = np.zeros((4, self.width), np.int32)
        item[0] = self.task.blank
        item[0, : length * step : step] = symbols
        item[1, step - 1 : length * step : step] = states
        item[2, step - 1 : length * step : step] = np.where(asked, ASKED, known * KNOWN)
        item[3] = self._places(rng)
        return item

    def _places(self, rng: np.random.Generator) -> np.ndarray:
        width, context = self.width, self.asking.context
        if self.asking.positions == "spread":
            reach = int(np.rint(width * (context / width) ** rng.random()))
            return np.sort(rng.permutation(reach)[:width])
        first = int(rng.integers(context - width + 1)) if self.asking.positions == "moved" else 0
        return first + np.arange(width)
