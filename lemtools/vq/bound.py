"""What a number of bits can do for vectors of a given spectrum: the rate-distortion function of a Gaussian source.

Reverse water-filling (Cover & Thomas, Elements of Information Theory, theorem 10.3.3): of independent Gaussians with
variances lambda_i each takes max(0, 1/2 log2(lambda_i / level)) bits and keeps an error of min(lambda_i, level). No
code of as many bits does better on Gaussian vectors, however long the blocks; of all sources with this covariance the
Gaussian is the hardest, so only what is *not* in the covariance (clusters, a curved manifold) lets a code go below.

Shapes: spectrum [D], variances along the principal directions, in any order; bits: a vector.
"""

from __future__ import annotations

import heapq
import math
from typing import NamedTuple

import numpy as np

TINY = 1e-10  # of the largest variance: what is below is rounding


class Filled(NamedTuple):
    """level: error variance of every direction that takes bits. rank: how many do, the largest first. nmse: error over
    the sum of the spectrum."""

    level: float
    rank: int
    nmse: float


def _sorted(spectrum: np.ndarray) -> np.ndarray:
    values = np.sort(np.asarray(spectrum, np.float64))[::-1]
    return values[values > TINY * max(values[0], 0.0)] if len(values) else values


def water_fill(spectrum: np.ndarray, bits: float, least: float = 0.0) -> Filled:
    """The least NMSE of `bits` bits a vector, and which directions they go to; NMSE 0 for a spectrum of zeros.

    least: bits that a direction must take to take any, so that fewer do.
    """
    values = _sorted(spectrum)
    if not len(values):
        return Filled(0.0, 0, 0.0)
    logs, ranks = np.log2(values), np.arange(1, len(values) + 1)
    # bits it takes to bring the level down to the r-th variance: those within the budget hold all directions in use
    spent = 0.5 * (np.cumsum(logs) - ranks * logs) + ranks * least
    rank = max(1, int(np.searchsorted(spent, bits, side="right")))
    level = 2.0 ** ((logs[:rank].sum() - 2 * bits) / rank)
    return Filled(float(level), rank, float((rank * level + values[rank:].sum()) / values.sum()))


def bits_for(spectrum: np.ndarray, nmse: float) -> float:
    """Bits a vector at which the bound reaches `nmse`, 0 < nmse <= 1: the inverse of `water_fill`."""
    if not 0 < nmse <= 1:
        raise ValueError(f"NMSE must lie in (0, 1], not {nmse}")
    values = _sorted(spectrum)
    if not len(values):
        return 0.0
    tails = values.sum() - np.cumsum(values)
    # error if the level stood at the r-th variance, falling with r: above the target, that direction takes bits
    rank = int(np.count_nonzero(np.arange(1, len(values) + 1) * values + tails > nmse * values.sum() * (1 + 1e-12)))
    if not rank:
        return 0.0
    level = (nmse * values.sum() - tails[rank - 1]) / rank
    return float(0.5 * np.log2(values[:rank] / level).sum())


def cosine_of(nmse: float) -> float:
    """sqrt(1 - NMSE): cosine of the best recall with its original, both centred, each vector weighted by its energy."""
    return math.sqrt(max(0.0, 1 - nmse))


def allocate(spectrum: np.ndarray, bits: float, groups: int) -> list[np.ndarray]:
    """Deal the D principal directions into `groups` slices of D / groups that need equally many bits.

    After Ge et al. 2013 (OPQ, eigenvalue allocation), in bits above the common level in place of log variances. Returns
    for each group the indices of its directions, largest variance first.
    """
    spectrum = np.asarray(spectrum, np.float64)
    level = max(water_fill(spectrum, bits).level, np.finfo(np.float64).tiny)
    room = len(spectrum) // groups
    heap: list[tuple[float, int, int]] = [(0.0, 0, g) for g in range(groups)]  # bits, members, group
    members: list[list[int]] = [[] for _ in range(groups)]
    for i in np.argsort(-spectrum, kind="stable"):
        need, count, g = heapq.heappop(heap)
        members[g].append(int(i))
        if count + 1 < room:
            heapq.heappush(heap, (need + 0.5 * max(0.0, math.log2(max(spectrum[i], level) / level)), count + 1, g))
    return [np.array(m) for m in members]


def verdict(
    spectrum: np.ndarray, stages: int, codes: int, groups: int, extra_bits: float = 0.0, cosine: float = 0.9
) -> str | None:
    """One sentence where the bound forbids a cosine of `cosine`, and what would allow it; None where it does not.

    extra_bits: a vector, beside the stages' (the gain's).
    """
    dims, per_code = len(spectrum), math.log2(codes)
    bits = groups * stages * per_code + extra_bits
    nmse = water_fill(spectrum, bits).nmse
    if cosine_of(nmse) >= cosine:
        return None
    need = bits_for(spectrum, 1 - cosine**2)
    least = math.ceil((need - extra_bits) / per_code - 1e-9)
    wide = next((g for g in range(groups, dims + 1) if dims % g == 0 and g * stages >= least), None)
    ways = [f"--stages {math.ceil(least / groups)}" + (f" --groups {groups}" if groups > 1 else "")]
    if wide and wide > groups:
        ways.append(f"--stages {stages} --groups {wide}")
    setting = f"{stages} x {codes} codes" + (f" x {groups} groups" if groups > 1 else "")
    return (
        f"{setting} = {bits:g} bits for {dims} dimensions: on Gaussian vectors of this spectrum no code of as many "
        f"bits has an NMSE below {nmse:.3f} (cosine, weighted by energy, {cosine_of(nmse):.3f}); a cosine of {cosine:g} "
        f"takes at least {math.ceil(need)} bits ({least} codes, as {' or '.join(ways)})"
    )
