"""How well a level of noise is read: measured on clean states with noise of known size, kept with the model that reads.

The record, by key (levels in units of the standard deviation of the states):

    states      how many clean states it was measured on, none of which was learnt from
    table       for each of some levels: true; read (median), low and high (16 and 84 %); bias and sd of log read - log true
    log_error   mean |log read - log true|, of true levels drawn evenly in their logarithm
    bias        mean of log read - log true, of the same draws
    binned_ece  binned expected calibration error: of BINS parts of the same draws, equal in number and ordered by what was
                read, the mean of |mean log read - mean log true|
    covered     share of the same draws of which true lies between the 16 % and the 84 % point that are told (.68 is right)
    clean       [share, level]: the level that this share of clean states exceeds
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..rng import generators
from ..signal import Layout, LemError, Value

LEVELS, BINS = 9, 20
SHARES = (0.9, 0.8, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
LAYOUT = Layout(
    {
        "states": Value("whole", 1, 2**53),
        "table": Value("objects"),
        **dict.fromkeys(("log_error", "bias", "binned_ece", "covered"), Value("number")),
        "clean": Value("list"),
    }
)
ROW = Layout(dict.fromkeys(("true", "read", "low", "high", "bias", "sd"), Value("number")))
Read = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


def measured(read: Read, clean: np.ndarray, low: float, high: float, seed: int = 0) -> dict[str, Any]:
    """The record of a reader: states float32 [N, ...item] in coordinates to log s, its 16 % and its 84 % point, [N].

    clean: held-out states [N, ...item], N >= 1, which get noise of levels from low to high. Noise is drawn by (seed, state).
    """
    draws = generators(seed, np.arange(len(clean)), 0, "calibration")
    noise = np.stack([rng.standard_normal(clean.shape[1:], dtype=np.float32) for rng in draws])
    shape = (-1, *[1] * (clean.ndim - 1))

    def logs(s: np.ndarray) -> list[np.ndarray]:
        return [part.astype(np.float64) for part in read(clean + s.astype(np.float32).reshape(shape) * noise)]

    table = []
    for true in np.geomspace(low, high, LEVELS):
        found = logs(np.full(len(clean), true))[0]
        ends = np.exp(np.quantile(found, (0.5, 0.16, 0.84)))
        row = (true, *ends, np.mean(found) - math.log(true), np.std(found))
        table.append({name: plain(value) for name, value in zip(ROW.record, row)})
    true = np.array([rng.uniform(math.log(low), math.log(high)) for rng in draws])
    found, least, most = logs(np.exp(true))
    off = found - true
    parts = np.array_split(off[np.argsort(found, kind="stable")], min(BINS, len(off)))
    calm = np.exp(logs(np.zeros(len(clean)))[0])
    return {
        "states": len(clean),
        "table": table,
        "log_error": plain(np.abs(off).mean()),
        "bias": plain(off.mean()),
        "binned_ece": plain(np.mean([abs(part.mean()) for part in parts])),
        "covered": plain(((least <= true) & (true <= most)).mean()),
        "clean": [[p, plain(np.quantile(calm, 1 - p))] for p in SHARES if p * len(clean) >= 1],
    }


def plain(value: float | np.floating) -> float:
    """A number with as many digits as are worth keeping."""
    return float(f"{value:.5g}")


def check(record: Any) -> None:
    """Raise LemError, in a few words, where a record is none of these."""
    if not isinstance(record, dict):
        raise LemError("its calibration is no object")
    LAYOUT.check(record, {})
    for row in record["table"]:
        ROW.check(row, {})
    level = Value("number", 0)
    for pair in record["clean"]:
        if not (isinstance(pair, list) and len(pair) == 2 and all(map(level.fits, pair)) and 0 < pair[0] < 1):
            raise LemError(f"its calibration has {str(pair)[:40]!r} among the clean levels")


def threshold(record: dict[str, Any], share: float) -> float:
    """The level that a share of clean states exceeds, between those of the record by straight lines in both logarithms.

    Raises LemError for a share that is smaller than the states it was measured on can tell.
    """
    pairs = sorted(record["clean"])
    if not pairs or share < pairs[0][0]:
        least = f", {pairs[0][0]:g} at least" if pairs else ""
        raise LemError(f"a share of false fires of {share:g} is less than {record['states']} states can tell{least}")
    shares, levels = np.array(pairs, np.float64).T
    return float(np.exp(np.interp(math.log(share), np.log(shares), np.log(np.maximum(levels, 1e-300)))))
