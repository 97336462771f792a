"""What a fragment draws item by item."""

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from ..rng import generators


class Draws:
    """The generators of one operation, one an item, made when they are first asked for: many operations draw none."""

    def __init__(self, seed: int, index: np.ndarray, position: int, name: str):
        self.of = seed, index, position, name

    @property
    def seed(self) -> int:
        """The command's."""
        return self.of[0]

    @cached_property
    def generators(self) -> list[np.random.Generator]:
        return generators(*self.of)

    def __iter__(self) -> Iterator[np.random.Generator]:
        return iter(self.generators)


def ends(value) -> tuple:
    """(low, high) of a parameter that is a number or a pair."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def shown(value) -> str:
    """The parameter as the user wrote it."""
    return "-".join(f"{v:g}" for v in dict.fromkeys(ends(value)))


def draw(value, draws: Draws, integer: bool = False):
    """A parameter as it applies to the items: the number itself, or an array [N] drawn from the pair (low, high)."""
    if not isinstance(value, (tuple, list)):
        return value
    low, high = value
    if integer:
        return np.array([g.integers(low, high + 1) for g in draws], np.uint8 if high < 256 else np.int64)
    return np.array([g.uniform(low, high) for g in draws], np.float32)
