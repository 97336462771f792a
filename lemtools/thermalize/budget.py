"""The threshold that a budget sets: by a trial in a closed loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..catalogue import LemError
from .loop import Thermalizer, rollout

ROWS, STEPS = 64, 400  # of the trial
GAIN, SETTLING = 0.5, 40  # of the stochastic approximation, and after how many steps its strides have halved


def budgeted(
    thermalizer: Thermalizer, step: Callable[[Any], Any], budget: float, rows: int = ROWS, steps: int = STEPS
) -> float:
    """Set the threshold of the gate so that rows of this emulator call the corrector `budget` times a step on average.

    step: the emulator, as of `rollout`. It runs from `rows` held-out states for so many steps, thermalized; after each the
    logarithm of the threshold moves by how much the mean of the calls differs from the budget (Robbins & Monro 1951), in
    units of what a row that fires has cost so far: `max_calls` and a corrector of many steps make that more than one. Its
    mean over the second half is kept. One threshold for all rows: one that strays calls more often than another, so from
    then on no row saves calls up (`thermalizer.budget` is None). Answers the calls a row and step in that half.
    Raises LemError for a budget outside of 0 to 1, and where all rows die.
    """
    if not 0 < budget < 1:
        raise LemError(
            f"--budget {budget:g}: a threshold is found for shares between 0 and 1; --always calls at every step"
        )
    held, gate = thermalizer.known.held, thermalizer.gate
    drawn = np.linspace(0, len(held), rows, endpoint=False).astype(np.int64)
    start = thermalizer.known.states.decoded(held[drawn]).astype(np.float32)
    thermalizer.budget = None
    thermalizer.reset()
    now: float | None = None
    found: list[float] = []
    spent: list[float] = []
    calls = fires = 0
    for t, done in enumerate(rollout(step, start, steps, thermalizer)):
        alive = done.action != "dead"
        if not alive.any():
            raise LemError(
                f"--budget {budget:g}: all rows of the trial died at step {t + 1}; give a --threshold, or more calls"
            )
        if now is None:  # the first states of an emulator tell of its scale
            scores = done.more["score"][alive]
            now = math.log(max(float(np.quantile(scores, 1 - budget)), 1e-12))
        mean = float(done.calls[alive].mean())
        calls, fires = calls + int(done.calls[alive].sum()), fires + int((done.calls[alive] > 0).sum())
        cost = calls / fires if fires else 1.0
        share, wanted = mean / cost, budget / cost
        now += GAIN / (1 + t / SETTLING) * (share - wanted) / max(wanted, 1 - wanted)
        gate.threshold = math.exp(now)
        if t >= steps // 2:
            found.append(now)
            spent.append(mean)
    gate.threshold = math.exp(float(np.mean(found)))
    thermalizer.reset()
    return float(np.mean(spent))
