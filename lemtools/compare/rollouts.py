"""Rollouts judged by true states: which rows are alive, do they obey the equation, are their spectra and values right; and
whether a candidate beats controls that started from the same states.

A rollout is [T R, C, ...] of R rows side by side: item t R + r is row r at step t. Where it is long, `most` steps are judged,
evenly spaced, the last one among them.

    alive       in every judged state as `survival` counts it: finite, and its rms not above 3 times the largest true one
    residual    of a step, claimed against solved from the claimed state before: rms over a state, every channel in units of
                its std among the true states; rms, median and 99 % over the rows that are alive, and their steps
    band, all   mean |log10| of the ratio of the spectra, modes 1 to 7 and all, as `log_spectrum`; W1 as `w1`. Spectra of rows
                that died say nothing: there are numbers only where all rows are alive

A candidate beats a control that has fewer rows alive, or where the two cannot be told apart by that, whose residual and band
together, as the mean of the logarithms of both ratios, are larger, and neither of them smaller. All outside the 95 %
interval of a bootstrap over rows, the same rows of both, and rows of the true states by themselves; of few rows it is
widened (`_ends`), but for the last: where the plain percentiles say that one is smaller, that is enough.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from ..catalogue import LemError
from ..denoise.moments import student_t
from ..rng import generator
from .states import LIMIT, NO_POWER, log_spectrum, log_spectrum_low, power, rms, w1
from .summary import FEWEST, share_interval

STEPS, BYTES = 1000, 1 << 28  # steps, and bytes of states, that are judged at most
BAND = 7  # the highest mode of the band
DRAWS = 2000
Solve = Callable[[np.ndarray], np.ndarray]


@dataclass
class Judged:
    """What one rollout of R rows is like. alive: bool [R]. square: mean square residual [R], nan of dead rows, None without
    a solver; residual: (rms, median, 99 %) over rows alive. spectra: float64 [R, C, modes], power of each row. Numbers that
    there are not are None."""

    name: str
    alive: np.ndarray
    square: np.ndarray | None
    spectra: np.ndarray
    residual: tuple[float, float, float] | None = None
    band: float | None = None
    every: float | None = None
    w1: float | None = None

    @property
    def share(self) -> tuple[float, float | None, float | None]:
        """Of rows alive, and the ends of its interval (Wilson)."""
        return share_interval(self.alive)


class Against(NamedTuple):
    """A candidate against a control. said: 'better', 'no better' or 'worse'. alive: difference of the shares; residual and
    band: log10 of the ratios, candidate to control; both: the mean of these two. Each with its interval (value, low, high), or
    None where it could not be told."""

    candidate: str
    control: str
    said: str
    why: str
    alive: tuple[float, float, float]
    residual: tuple[float, float, float] | None
    band: tuple[float, float, float] | None
    both: tuple[float, float, float] | None


@dataclass
class Judge:
    """Measures rollouts by true states [T R, C, ...] of `rows` rows. solve: states [R, C, ...] to those one step later, for
    residuals. most: steps that are judged. itself: the true states as a rollout; their band, all and W1 are floors, the
    distances of two halves. Raises LemError for true states that have no scale, or no spectrum."""

    true: Any
    rows: int
    solve: Solve | None = None
    most: int = STEPS
    seed: int = 0
    itself: Judged = field(init=False)

    def __post_init__(self) -> None:
        shape = tuple(self.true.shape)
        if len(shape) not in (3, 4) or math.prod(shape[2:]) < 2:
            raise LemError(f"a spectrum needs states [N, C, L] or [N, C, H, W], not {list(shape)}")
        _, states = self._taken(self.true, self.rows)
        if not np.isfinite(states).all():
            raise LemError("the true states have values that are NaN or infinite")
        self.sample = states
        axes = (0, 1, *range(3, states.ndim))
        self.std = states.std(axes, dtype=np.float64)
        self.limit = LIMIT * rms(states.reshape(-1, *shape[1:]).astype(np.float64)).max(0)
        self.spectra = _spectra(states)
        if not (self.std > 0).all() or not self.spectra.any((0, 2)).all():
            raise LemError("a channel of the true states is constant: it has no scale, or no spectrum")
        self.itself = self.judged("true", self.true, self.rows)
        flat = states.reshape(-1, *shape[1:])
        for name, metric in (("band", log_spectrum_low), ("every", log_spectrum), ("w1", w1)):
            setattr(self.itself, name, metric(flat, flat).beside)

    def judged(self, name: str, values: Any, rows: int) -> Judged:
        """The numbers of one rollout. Raises LemError for states of another shape, and for too few steps."""
        if tuple(values.shape[1:]) != tuple(self.true.shape[1:]):
            was, now = (list(x.shape[1:]) for x in (self.true, values))
            raise LemError(f"{name}: states of {now}, where the true ones are of {was}")
        steps, states = self._taken(values, rows, name)
        with np.errstate(all="ignore"):
            size = np.stack([rms(x.astype(np.float64)) for x in states])  # [t, R, C]
        alive = (size <= self.limit).all((0, 2))
        found = Judged(name, alive, None, np.full((rows, *self.spectra.shape[1:]), np.nan))
        if alive.any():
            found.spectra[alive] = _spectra(states[:, alive])
        if self.solve is not None:
            residuals = np.stack([self._residual(values, rows, t, alive) for t in steps])  # [t, R]
            square = np.where(alive, np.square(residuals).mean(0), np.nan)
            found.square = square
            if alive.any():
                left = residuals[:, alive]
                found.residual = (
                    float(np.sqrt(np.square(left).mean())),
                    float(np.median(left)),
                    float(np.quantile(left, 0.99)),
                )
        if alive.all():
            p, q = self.spectra.mean(0), found.spectra.mean(0)
            found.band, found.every = float(apart(p, q, BAND)), float(apart(p, q))
            few = min(states.shape[0] * rows, self.sample.shape[0] * self.rows)
            a, b = (x.reshape(-1, *x.shape[2:])[:few] for x in (self.sample, states))
            found.w1 = w1(a, b).value
        return found

    def _taken(self, values: Any, rows: int, name: str = "the true states") -> tuple[np.ndarray, np.ndarray]:
        """(judged steps, states [t, R, C, ...]) of a rollout."""
        if rows < 1 or not len(values) or len(values) % rows:
            raise LemError(f"{name}: {len(values)} states are no whole number of steps of {rows} rows side by side")
        steps, first = len(values) // rows, 1 if self.solve is not None else 0
        if steps < first + 1:
            raise LemError(f"{name}: one step has no residual; give two or more")
        most = max(min(self.most, BYTES // (4 * rows * math.prod(values.shape[1:]))), 1)
        if steps - first <= most:
            taken = np.arange(first, steps)
        else:
            taken = np.unique(np.linspace(first, steps - 1, most + 1)[1:].astype(int))
        states = [np.asarray(values[t * rows : (t + 1) * rows], np.float32) for t in taken]
        return taken, np.stack(states)

    def _residual(self, values: Any, rows: int, step: int, alive: np.ndarray) -> np.ndarray:
        """[R] of the claim for a step; nan of dead rows. The solver gets as many rows as there are, none of them dead."""
        before, claimed = (np.asarray(values[t * rows : (t + 1) * rows], np.float32) for t in (step - 1, step))
        if not alive.any():
            return np.full(rows, np.nan)
        sound = np.isfinite(before).reshape(rows, -1).all(1) & alive
        place = np.where(sound, np.arange(rows), int(sound.argmax()))
        assert self.solve is not None
        off = (claimed - self.solve(before[place]).astype(np.float64)).reshape(rows, before.shape[1], -1)
        with np.errstate(all="ignore"):
            found = np.sqrt((np.square(off).mean(2) / self.std**2).mean(1))
        found[np.isnan(found) | ~sound] = np.inf  # no state follows from that
        return np.where(alive, found, np.nan)

    def against(self, candidate: Judged, control: Judged) -> Against:
        """Whether the candidate is better. Raises LemError unless both have the same rows."""
        rows = len(candidate.alive)
        if rows != len(control.alive):
            raise LemError(
                f"{candidate.name} has {rows} rows, {control.name} {len(control.alive)}; they are judged row by row"
            )
        rng = generator(self.seed, 0, 0, "report")
        drawn = rng.integers(0, rows, (DRAWS, rows))
        lead = candidate.alive.astype(float) - control.alive
        names, share = (candidate.name, control.name), float(lead.mean())
        if rows < FEWEST:
            why = f"{rows} rows are too few to tell, {FEWEST} at least"
            return Against(*names, "no better", why, (share, -1.0, 1.0), None, None, None)
        alive = _ends(share, lead[drawn].mean(1), rows)
        if alive[1] > 0 or alive[2] < 0:
            why = f"{int(candidate.alive.sum())} of {rows} rows alive, not {int(control.alive.sum())}"
            return Against(*names, "better" if alive[1] > 0 else "worse", why, alive, None, None, None)
        both = np.flatnonzero(candidate.alive & control.alive)
        if len(both) < FEWEST:
            why = f"{len(both)} rows are alive in both, too few to tell"
            return Against(*names, "no better", why, alive, None, None, None)
        drawn = both[rng.integers(0, len(both), (DRAWS, len(both)))]
        true = rng.integers(0, len(self.spectra), (DRAWS, len(self.spectra)))
        draws = [(both, np.arange(len(self.spectra))), (drawn, true)]
        residual, ratios = None, []
        if candidate.square is not None and control.square is not None:
            ratios = [_ratio(*(side.square[r].mean(-1) for side in (candidate, control))) / 2 for r, _ in draws]  # type: ignore[index]
            residual = _ends(float(ratios[0]), ratios[1], len(both))
        spectra = []
        for r, t in draws:
            p = _mean(self.spectra, t)
            spectra.append(_ratio(*(apart(p, _mean(side.spectra, r), BAND) for side in (candidate, control))))
        band = _ends(float(spectra[0]), spectra[1], len(both))
        if residual is None:
            whole = band
        else:
            whole = _ends((residual[0] + band[0]) / 2, (ratios[1] + spectra[1]) / 2, len(both))
        parts = [("residual", residual, ratios[1])] if residual is not None else []
        parts.append(("band", band, spectra[1]))
        worse = [name for name, _, draws in parts if np.quantile(draws, 0.025) > 0]  # (less is asked of a doubt)
        why = ", ".join(f"{name} {_times(part[0])}" for name, part, _ in parts)
        if whole[2] < 0 and not worse:
            said = "better"
        else:
            said = "worse" if whole[1] > 0 else "no better"
            why += f"; the {' and the '.join(worse)} {'are' if len(worse) > 1 else 'is'} worse" if worse else ""
        return Against(*names, said, why, alive, residual, band, whole)

    def best(self, controls: Sequence[Judged]) -> Judged:
        """The control to beat: most rows alive, then the least residual and band together."""

        def rank(each: Judged) -> tuple[float, float]:
            if not each.alive.any():
                return 0.0, math.inf
            distance = apart(self.spectra.mean(0), each.spectra[each.alive].mean(0), BAND)
            residual = 1.0 if each.residual is None else each.residual[0]
            return -float(each.alive.mean()), float(residual * distance)

        return min(controls, key=rank)


def _spectra(states: np.ndarray) -> np.ndarray:
    """[R, C, modes]: mean power of each row of states [t, R, C, ...]."""
    return np.stack([power(states[:, r]) for r in range(states.shape[1])])


def _mean(spectra: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Means [..., C, modes] of spectra [R, C, modes] over rows [..., r]."""
    count = np.zeros((*rows.shape[:-1], len(spectra)))
    np.add.at(count, (*np.indices(rows.shape)[:-1], rows), 1 / rows.shape[-1])
    return np.einsum("...r,rcm->...cm", count, np.nan_to_num(spectra))


def apart(p: np.ndarray, q: np.ndarray, last: int | None = None) -> Any:
    """Mean of |log10(q / p)| over channels and the modes 1 to `last` of spectra [..., C, modes]; modes in which neither has
    power, up to rounding, are left out."""
    used = (p > NO_POWER * p.sum(-1, keepdims=True)) | (q > NO_POWER * q.sum(-1, keepdims=True))
    used = used[..., :last]
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.abs(np.log10(q[..., :last]) - np.log10(p[..., :last]))
        return (np.where(used, off, 0.0).sum(-1) / used.sum(-1)).mean(-1)


def _ratio(a: Any, b: Any) -> Any:
    """log10(a / b); 0 where both are 0."""
    a, b = np.maximum(a, 1e-300), np.maximum(b, 1e-300)
    return np.log10(a) - np.log10(b)


def _ends(value: float, draws: np.ndarray, rows: int) -> tuple[float, float, float]:
    """(value, and the ends of its 95 % interval) from draws of `rows` rows: percentiles so far out that of few rows the
    interval of a mean is as wide as Student's (the expanded percentile interval: Hesterberg 2015, section 5.3)."""
    beyond = NormalDist().cdf(-student_t(0.95, rows - 1) * math.sqrt(rows / (rows - 1)))
    low, high = np.quantile(draws, [beyond, 1 - beyond])
    return value, float(low), float(high)


def _times(log: float) -> str:
    return f"{10**log:.3g} times"
