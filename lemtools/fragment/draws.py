"""Parameters that a fragment draws item by item."""

import numpy as np


def draw(value, draws: list[np.random.Generator], integer: bool = False):
    """A parameter as it applies to the items: the number itself, or an array [N] drawn from the pair (low, high)."""
    if not isinstance(value, (tuple, list)):
        return value
    low, high = value
    if integer:
        return np.array([g.integers(low, high + 1) for g in draws], np.uint8 if high < 256 else np.int64)
    return np.array([g.uniform(low, high) for g in draws], np.float32)
