"""Whether stored states look as a symmetry says that they do: statistics that must be zero then, with rows as their units.

A symmetry of a system is one of its states, where these are many and come from everywhere: what is told of them here is a doubt
and no proof, and silence is none either.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..denoise.moments import student_t

UNITS, STATES = 8, 4096  # rows, else stretches of time, at least; states that are looked at
CHANCE = 1e-3  # that a symmetry which is true is doubted
PART = 0.1  # of the rms of a statistic that its mean has to be, for a doubt
BLOCKS, MODES = 4, 4  # along a direction: parts whose means are compared; the lowest modes whose phases are


def doubts(states: Any, rows: int, symmetry: tuple[str, ...]) -> dict[str, str]:
    """{symmetry: what speaks against it} of states [T R, C, ...] of R rows side by side.

    translate, of every direction, and translate-x, of the last one: the lowest modes of the values along it, and of their
    squares, have no phase that is preferred. reflect: with -u(-x) go the mean, the third moment, and u |grad u|^2; and along
    directions that no translation is a symmetry of, means of values and squares by place.
    A statistic speaks where the mean of the units is beyond Student's t, all statistics of a symmetry together, and is no
    small part of the statistic's own size.
    """
    values, unit = _sample(states, rows)
    rms = np.sqrt(np.square(values).mean((0, *range(2, values.ndim)), keepdims=True))
    values = values / np.where(rms > 0, rms, 1)
    axes, found = tuple(range(2, values.ndim)), {}
    moved = {"translate": axes, "translate-x": axes[-1:]}
    for name in symmetry:
        if name in moved:
            statistics = _phases(values, moved[name])
        else:
            still = [axis for axis in axes if not any(axis in moved.get(other, ()) for other in symmetry)]
            ours, other = _odd(values, still), _odd(-np.flip(values, axes), still)
            statistics = {key: ours[key] - other[key] for key in ours}
        if said := _speaking(statistics, unit):
            found[name] = said
    return found


def _sample(states: Any, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """(states float64 [N, C, ...], evenly spaced in time; the unit [N] of each)."""
    steps = len(states) // rows
    stretches = 1 if rows >= UNITS else math.ceil(UNITS / rows)
    times = np.unique(np.linspace(0, steps - 1, min(steps, max(STATES // rows, stretches))).astype(int))
    at = (times[:, None] * rows + np.arange(rows)).reshape(-1)
    unit = (times * stretches // steps)[:, None] * rows + np.arange(rows)
    return np.asarray(states[at], np.float64), unit.reshape(-1)


def _phases(x: np.ndarray, moved: tuple[int, ...]) -> dict[str, np.ndarray]:
    """{name: [N]} of states [N, C, ...], along axes."""
    off, found = x - x.mean((0, *range(2, x.ndim)), keepdims=True), {}
    for axis in moved:
        others = tuple(other for other in range(2, x.ndim) if other != axis)
        for what, values in (("values", off), ("squares", off**2)):
            size = x.shape[axis]
            f = np.fft.rfft(values.mean(others))[:, :, 1 : min(MODES + 1, (size + 1) // 2)] / size
            for c, k in np.ndindex(f.shape[1:]):
                for part, numbers in (("cosine", f.real), ("sine", f.imag)):
                    found[f"{part} {k + 1} of the {what} of channel {c} along axis {axis - 2}"] = numbers[:, c, k]
    return found


def _odd(x: np.ndarray, still: list[int]) -> dict[str, np.ndarray]:
    """{name: [N]} of states [N, C, ...]. still: axes whose places are told apart."""
    axes = tuple(range(2, x.ndim))
    slope = sum(((np.roll(x, -1, axis) - np.roll(x, 1, axis)) / 2) ** 2 for axis in axes)
    found = {}
    for name, values in (("mean", x), ("third moment", x**3), ("mean of u |grad u|^2", x * slope)):
        for c, numbers in enumerate(values.mean(axes).T):
            found[f"{name} of channel {c}"] = numbers
    for name, values in (("values", x), ("squares", x**2)) if still else ():
        for axis in axes:
            parts = np.array_split(values, min(BLOCKS, x.shape[axis]) if axis in still else 1, axis)
            values = np.stack([part.mean(axis) for part in parts], axis)
        for i, numbers in enumerate(values.reshape(len(x), -1).T):
            found[f"mean of the {name} at some places ({i})"] = numbers
    return found


def _speaking(statistics: dict[str, np.ndarray], unit: np.ndarray) -> str:
    """The statistic of [N] that is farthest from zero, with its numbers; '' where none speaks."""
    if not statistics:  # (axes of one point)
        return ""
    units, number = np.unique(unit, return_inverse=True)
    count = np.bincount(number)
    limit = student_t(1 - CHANCE / len(statistics), len(units) - 1) if len(units) > 1 else math.inf
    worst, said = limit, ""
    for name, values in statistics.items():
        size = math.sqrt(np.square(values).mean())
        means = np.bincount(number, values) / count
        mean, error = float(means.mean()), float(means.std(ddof=1)) / math.sqrt(len(units)) if len(units) > 1 else 0.0
        if size < 1e-6 or abs(mean) < PART * size:  # (of values of rms 1: less is rounding)
            continue
        far = abs(mean) / max(error, 1e-12)
        if far > worst:
            worst, said = far, f"{name}: {abs(mean) / size:.2g} of its size, {min(far, 999):.0f} standard errors from 0"
    return said
