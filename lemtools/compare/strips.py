"""Labels with times as pictures: a strip along time, its colour the class of the phone that is spoken."""

from __future__ import annotations

import numpy as np

from ..signal.phones import CLASSES
from ..signal.segments import SILENCE, Segments
from .boundaries import Boundaries
from .sheet import heat

WIDTH, HEIGHT = 512, 24  # px
_SILENT, _OTHER = (235, 235, 235), (120, 120, 120)


def strips(item: Boundaries) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """uint8 [HEIGHT, WIDTH, 3] of the original, the guess, and where their classes differ (light), on one axis of time from 0 to the
    later end of both. Silence is pale, what has no class, such as a word, grey; a boundary is a dark column."""
    end = max(float(side.ends[-1]) for side in item.sides)
    times = (np.arange(WIDTH) + 0.5) * end / WIDTH
    classes = [_at(side, times) for side in item.sides]
    apart = heat(np.array([[float(a != b) for a, b in zip(*classes)]]))
    return (
        _strip(item.sides[0], classes[0], end),
        _strip(item.sides[1], classes[1], end),
        np.repeat(apart, HEIGHT, axis=0),
    )


def _at(side: Segments, times: np.ndarray) -> list[str | None]:
    """The class at each time: that of the segment which began last; silence before the first one."""
    places = np.searchsorted(side.begins, times, "right") - 1
    return [side.classes[i] if i >= 0 else SILENCE for i in places]


def _strip(side: Segments, classes: list[str | None], end: float) -> np.ndarray:
    shades = heat(np.linspace(0.15, 0.95, len(CLASSES))[None])[0]
    colours = dict(zip(CLASSES, map(tuple, shades))) | {SILENCE: _SILENT}
    row = np.array([colours.get(name, _OTHER) for name in classes], np.uint8)
    row[np.minimum(side.begins[1:] * WIDTH / end, WIDTH - 1).astype(int)] = 0
    return np.repeat(row[None], HEIGHT, axis=0)
