"""The gate: how far a state has left the manifold, and from where on that is no chance. The rows of catalogue.gates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ..catalogue import LemError
from ..denoise.gaussian import Gaussian
from ..denoise.moments import student_t
from .correctors import local
from .states import Known

CHANCE = 1e-3  # that scores are said to rise, in time, which do not
RISE = 1.25  # times: less does no harm


@dataclass(frozen=True)
class Reader:
    """What a gate reads in states x float64 [R, D]: level(x), the noise in units of the std; score(x, level), what the
    threshold is about; both [R], nan where a state is not finite. static: that they wait for no number on the device.
    clean(share): the score that a share of clean states exceeds, where that is known without any of them."""

    level: Callable[[torch.Tensor], torch.Tensor]
    score: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    static: bool = False
    clean: Callable[[float], float] | None = None


class Gate:
    """Fires where the score of a state is above a threshold.

    gaussian: of the stored states, whose Wiener filter takes away what noise is left. threshold: the score that a share
    `false_fire` of clean states, held out, exceeds. reader: None for the level of the Gaussian. doubt: what speaks against
    the threshold, '' for nothing.
    """

    def __init__(self, gaussian: Gaussian, threshold: float, reader: Reader | None = None, doubt: str = ""):
        self.gaussian, self.threshold, self.doubt = gaussian, threshold, doubt
        self.reader = reader or _noise(gaussian)

    @classmethod
    def calibrated(
        cls, gaussian: Gaussian, held: torch.Tensor, false_fire: float, reader: Reader | None = None, rows: int = 1
    ) -> Gate:
        """held: clean states [V, D] in coordinates, of `rows` rows side by side, that follow those stored. Where they are fewer
        than the share asks, what the reader knows is taken; LemError where it knows nothing."""
        if not 0 < false_fire < 1:
            raise LemError(f"a share of false fires lies between 0 and 1, not {false_fire:g}")
        if len(held) * false_fire < 1 and reader is not None and reader.clean is not None:
            return cls(gaussian, reader.clean(false_fire), reader)
        if len(held) * false_fire < 1:
            raise LemError(
                f"a share of false fires of {false_fire:g} needs {round(1 / false_fire)} held-out states or more, not {len(held)}; store more, or give a larger --false-fire, or a --threshold"
            )
        gate = cls(gaussian, 0.0, reader)
        scores = torch.cat([gate.score(part, gate.level(part)) for part in held.split(256)])
        gate.threshold = float(torch.quantile(scores, 1 - false_fire))
        if (growth := rising(scores.reshape(-1, rows).cpu().numpy())) > RISE:
            gate.doubt = (
                f"held-out states score {growth:.2g} times higher at their end than where they follow those stored: the "
                "threshold is too low; store longer trajectories, or give a --threshold"
            )
        return gate

    def level(self, x: torch.Tensor) -> torch.Tensor:
        """[R] of x [R, D]; nan where a state is not finite."""
        return self.reader.level(x)

    def score(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """[R] of x [R, D] and its level."""
        return self.reader.score(x, level)

    def cleaned(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """E[x_0 | x] for noise of that level [R] under the Gaussian: the Wiener filter."""
        return self.gaussian.denoised(x, level)


def rising(scores: np.ndarray) -> float:
    """By what factor scores [T, R] of clean states grow from the first quarter of their steps to the last; 1 where that may be
    chance (Student's t over the rows). A state that comes soon after a stored one is nearer to it than others are."""
    steps, rows = scores.shape
    quarter = max(steps // 4, 1)
    early, late = scores[:quarter].mean(0), scores[-quarter:].mean(0)
    if rows < 3 or not early.mean() > 0:
        return 1.0
    error = float((late - early).std(ddof=1)) / math.sqrt(rows)
    sure = float((late - early).mean()) > student_t(1 - 2 * CHANCE, rows - 1) * error
    return float(late.mean() / early.mean()) if sure else 1.0


def level(known: Known) -> Reader:
    """The level of white noise (Gaussian.level), in units of the std. Where all eigenvalues of the covariance are large it
    is blind, and to what is no noise it always is."""
    return _noise(known.states.gaussian)


def distance(known: Known, gate_neighbours: int = 32, gate_noise: float = 0.02) -> Reader:
    """How far a state lies from its posterior mean under the Gaussian of its nearest stored states, rms, in units of the std.

    The posterior mean is for white noise of `gate_noise`: what lies in the directions in which the neighbours spread stays,
    and what is across them is the distance. So it is of second order in how far the neighbours are, where the distance to
    the nearest one is of first.
    """
    if gate_neighbours > len(known.states):
        have = f"there are {len(known.states)} stored states"
        raise LemError(f"--gate-neighbours {gate_neighbours}: {have}; store more, or ask for fewer")
    nearest = local(known, gate_neighbours, strict=False)

    def score(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        whole = torch.isfinite(x).all(1)
        there = torch.where(whole[:, None], x, 0.0)
        mean, _ = nearest(there, None, torch.full_like(level, gate_noise), ())
        return torch.where(whole, (there - mean).square().mean(1).sqrt(), torch.nan)

    return Reader(_noise(known.states.gaussian).level, score, static=True)


def _noise(gaussian: Gaussian) -> Reader:
    return Reader(lambda x: gaussian.level_along(gaussian.along(x)), lambda x, level: level, static=True)
