"""Whether a judge can tell rollouts from clean states, and how much of a state it has to see for that.

A judge gives every item a number; its AUC is the chance that the number of a drifted item is above that of a clean one. At .5
it sees nothing; below, it sees as well as above: states that were put onto stored ones are nearer to them than clean ones are.
Of every granularity the judge is fitted and chosen on one half of the rows, and the AUC is that of the other half.

    level       noise of greatest likelihood, by the Gaussian of stored items (Gaussian.level)
    distance    to the nearest stored item
    linear      Fisher's discriminant
    quadratic   ratio of the likelihoods under a Gaussian of clean and one of drifted items
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np
import torch

from ..catalogue import LemError
from ..denoise.gaussian import Gaussian
from ..denoise.moments import Moments, student_t
from ..rng import generator
from . import HELD

ENOUGH = 8  # rows that are units; of fewer, stretches of time are, so many or more
ITEMS, STORED, BYTES = 4096, 8192, 1 << 28  # windows of a side, and stored ones, at most; bytes of a set of windows
WIDE = 512  # dimensions of an item that is judged as it is
FAR = 1e3  # standard deviations at which a value is cut: a state that far off is seen anyway
Score = Callable[[torch.Tensor], torch.Tensor]


class Seen(NamedTuple):
    """What the best judge sees of items of one granularity: AUC between clean and drifted ones with an interval (95 % for
    all granularities together), which judge, how many rows of either side it was tested on, and that of every judge on
    the half on which it was chosen."""

    grain: str
    auc: float
    low: float
    high: float
    judge: str
    clean: int
    drifted: int
    chosen: dict[str, float]

    @property
    def visible(self) -> bool:
        """Whether chance lies outside the interval, on either side."""
        return not self.low <= 0.5 <= self.high


class Units(NamedTuple):
    """Windows of states float32 [N, W, P, V] (P places of V numbers), and the unit [N] that each is of."""

    x: torch.Tensor
    unit: np.ndarray

    def of(self, units: np.ndarray) -> Units:
        """Those of some units."""
        kept = np.isin(self.unit, units)
        return Units(self.x[kept], self.unit[kept])

    @property
    def units(self) -> np.ndarray:
        return np.unique(self.unit)


def check(
    memory: Any, rows: int, rollouts: Sequence[Any], rollout_rows: int, *, kind: str = "field", window: int = 8
) -> list[Seen]:
    """What can be seen of rollouts, for single vectors (the places of a state), states, pairs and windows of `window` states.

    memory: clean states [T R, C, ...] of `rows` rows side by side (item t R + r: row r at step t), or for the kind
    'embedding' [T R, L, D] or [T R, D]. rollouts: the same, each of `rollout_rows` rows; states that are not finite are left
    out. Clean items are from the last tenth of the steps of the memory; what is stored, from the rest, and of rows that the
    test does not have. Long rollouts are looked at in places that are evenly spaced. Rows are the units of the interval
    (DeLong, DeLong & Clarke-Pearson 1988, with rows for items: Obuchowski 1997); of fewer than 8, stretches of time are.
    Raises LemError for shapes that differ, for too few steps, and where no rollout has finite states.
    """
    if window < 2:
        raise LemError(f"--window {window}: two states or more")
    item = tuple(memory.shape[1:])
    for values in rollouts:
        if tuple(values.shape[1:]) != item:
            raise LemError(f"rollouts have states of {list(values.shape[1:])}, the memory of {list(item)}")
    steps = _steps(memory, rows, "the memory")
    held = max(steps // HELD, 2)
    clean = _units(steps - held, steps, rows, window, "the held-out tenth of the memory")
    apart = rows >= ENOUGH
    known = [
        (r, 0, steps - held) for r in range(0, rows, 2 if apart else 1)
    ]  # the rows of the fit, where rows are units
    stored = _windows(memory, rows, known, window, STORED, kind)
    clean_fit, clean_test = (_windows(memory, rows, part, window, ITEMS, kind) for part in clean)
    sides: list[list[Units]] = [[], []]
    first = 0
    for values in rollouts:
        both = _units(0, _steps(values, rollout_rows, "a rollout"), rollout_rows, window, "a rollout")
        for side, part in zip(sides, both):
            found = _windows(values, rollout_rows, part, window, max(ITEMS // len(rollouts), 64), kind)
            side.append(Units(found.x, found.unit + first))
        first += 1 << 20
    drifted_fit, drifted_test = (
        Units(torch.cat([s.x for s in side]), np.concatenate([s.unit for s in side])) for side in sides
    )
    for name, units in (("the memory", clean_test), ("the rollouts", drifted_test), ("the rollouts", drifted_fit)):
        if len(units.units) < 2:
            raise LemError(f"{name}: fewer than two rows with {window} finite states in a row to judge by")
    centre = stored.x.double().mean((0, 1, 2))
    spread = stored.x.double().sub(centre).square().mean((0, 1, 2)).sqrt()
    spread = torch.where(spread > 0, spread, 1.0)
    parts = [
        Units(((units.x - centre) / spread).clamp(-FAR, FAR).float(), units.unit)
        for units in (stored, clean_fit, clean_test, drifted_fit, drifted_test)
    ]
    grains = list(_grains(parts, window))
    return [_seen(name, 1 - 0.05 / len(grains), *items) for name, items in grains]


def _steps(values: Any, rows: int, what: str) -> int:
    if rows < 1 or not len(values) or len(values) % rows:
        raise LemError(f"{what}: {len(values)} states are no whole number of steps of {rows} rows side by side")
    return len(values) // rows


def _units(begin: int, end: int, rows: int, window: int, what: str) -> tuple[list[tuple[int, int, int]], ...]:
    """Units (row, first step, step behind the last) to fit on and to test on: every other row each, or of few rows the
    first and the second half of the stretches that each is cut into."""
    stretches = 1 if rows >= ENOUGH else 2 * math.ceil(ENOUGH / rows)
    if (end - begin) // stretches < window:
        few = f"{rows} rows are cut into stretches, {stretches} each" if stretches > 1 else "each row is a unit"
        raise LemError(f"{what}, {end - begin} steps, is too short for a --window of {window} ({few}); give more steps")
    if stretches == 1:
        return [(r, begin, end) for r in range(0, rows, 2)], [(r, begin, end) for r in range(1, rows, 2)]
    ends = np.linspace(begin, end, stretches + 1).astype(int)
    found = [[(r, int(a), int(b)) for r in range(rows)] for a, b in pairwise(ends)]
    early, late = (list(chain.from_iterable(part)) for part in (found[: stretches // 2], found[stretches // 2 :]))
    return early, late


def _windows(values: Any, rows: int, units: list[tuple[int, int, int]], window: int, most: int, kind: str) -> Units:
    """Windows of finite states at evenly spaced steps of units, `most` in all."""
    most = max(min(most, BYTES // (4 * window * math.prod(values.shape[1:]))), len(units))
    found, number = [], []
    for unit, (row, begin, end) in enumerate(units):
        starts = np.unique(
            np.linspace(begin, end - window, min(end - window - begin + 1, most // len(units))).astype(int)
        )
        at = (starts[:, None] + np.arange(window)) * rows + row
        x = np.asarray(values[at.reshape(-1)], np.float32)
        x = x.reshape(len(starts), window, *_placed(x.shape[1:], kind)[0])
        x = x.transpose(0, 1, 3, 2) if _placed(values.shape[1:], kind)[1] else x
        found.append(x[np.isfinite(x).reshape(len(x), -1).all(1)])
        number.append(np.full(len(found[-1]), unit))
    return Units(torch.from_numpy(np.concatenate(found)), np.concatenate(number))


def _placed(item: Sequence[int], kind: str) -> tuple[tuple[int, int], bool]:
    """A state as two sides, and whether its channels come first there."""
    if kind == "field":
        return (item[0], math.prod(item[1:])), True
    return ((1, item[0]) if len(item) == 1 else (math.prod(item[:-1]), item[-1])), False


def _grains(parts: list[Units], window: int) -> Iterator[tuple[str, list[Units]]]:
    """(name, items [N, D] of each part) of every granularity."""
    places = parts[0].x.shape[2]
    if places > 1:
        each = [max(1, ITEMS * 4 // max(len(part.x), 1)) for part in parts]
        yield "vector", [_vectors(part, min(count, places)) for part, count in zip(parts, each)]
    flat = [part.x.flatten(2) for part in parts]
    for name, count in (("state", 1), ("pair", 2), *([("window", window)] if window > 2 else [])):
        items, narrow = [x[:, :count].flatten(1) for x in flat], None
        if items[0].shape[1] > WIDE:
            narrow = _axes(items[0])
        yield name, [Units(x if narrow is None else x @ narrow, part.unit) for x, part in zip(items, parts)]


def _vectors(part: Units, count: int) -> Units:
    """`count` places of the first state of every window, others of the next one."""
    x = part.x[:, 0]
    place = (torch.arange(len(x))[:, None] * count + torch.arange(count) * (x.shape[1] // count)) % x.shape[1]
    taken = x.gather(1, place[..., None].expand(-1, -1, x.shape[2])).flatten(0, 1)
    return Units(taken, np.repeat(part.unit, count))


def _axes(x: torch.Tensor) -> torch.Tensor:
    """Of wide items [N, D] the axes [D, WIDE] to look along: half are principal ones (subspace iteration: Halko, Martinsson &
    Tropp 2011), half lie anywhere else, so that noise where clean items have none is seen."""
    rng, half = generator(0, 0, 0, "judge"), WIDE // 2
    off = x - x.mean(0)
    axes = torch.from_numpy(rng.standard_normal((x.shape[1], WIDE)).astype(np.float32))
    principal = axes[:, :half]
    for _ in range(3):
        principal, _ = torch.linalg.qr(off.T @ (off @ principal))
    other = axes[:, half:] - principal @ (principal.T @ axes[:, half:])
    return torch.cat([principal, torch.linalg.qr(other)[0]], 1)


def _seen(
    name: str, level: float, stored: Units, clean_fit: Units, clean: Units, drifted_fit: Units, drifted: Units
) -> Seen:
    free = {"level": _level(stored.x), "distance": _distance(stored.x)}
    fitted = {"linear": _linear, "quadratic": _quadratic}
    chosen = {judge: float(_auc(score, clean_fit, drifted_fit).mean()) for judge, score in free.items()}
    for judge, fit in fitted.items():  # on one half of these, judged on the other
        halves = [[units.of(units.units[i::2]) for units in (clean_fit, drifted_fit)] for i in range(2)]
        if all(len(units.x) for half in halves for units in half):
            found = [_auc(fit(*(u.x for u in one)), *other).mean() for one, other in (halves, halves[::-1])]
            chosen[judge] = float(np.mean(found))
    best = max(chosen, key=lambda judge: abs(chosen[judge] - 0.5))
    score = free[best] if best in free else fitted[best](clean_fit.x, drifted_fit.x)
    each = _auc(score, clean, drifted)
    auc, low, high = interval(each, level)
    return Seen(name, auc, low, high, best, each.shape[0], each.shape[1], chosen)


def interval(each: np.ndarray, level: float) -> tuple[float, float, float]:
    """(AUC, the ends of its interval), from those of every clean row with every drifted one [Rc, Rd], which count the same."""
    auc = float(each.mean())
    parts = [(float(means.var(ddof=1)) / len(means), len(means) - 1) for means in (each.mean(1), each.mean(0))]
    variance = sum(v for v, _ in parts)
    if not variance:
        return auc, auc, auc
    df = variance**2 / sum(v**2 / n for v, n in parts)  # Welch-Satterthwaite
    half = student_t(level, max(int(df), 1)) * math.sqrt(variance)
    return auc, max(auc - half, 0.0), min(auc + half, 1.0)


def _auc(score: Score, clean: Units, drifted: Units) -> np.ndarray:
    """[Rc, Rd]: how often an item of a drifted row is above one of a clean row; equal ones count half."""
    low, high = (torch.as_tensor(score(units.x)).double().numpy() for units in (clean, drifted))
    columns, column = np.unique(drifted.unit, return_inverse=True)
    count = np.bincount(column)
    out = np.empty((len(clean.units), len(columns)))
    for i, unit in enumerate(clean.units):
        sorted_ = np.sort(low[clean.unit == unit])
        above = sum(np.searchsorted(sorted_, high, side) for side in ("left", "right")) / (2 * len(sorted_))
        out[i] = np.bincount(column, above) / count
    return out


# --- judges: items [N, D] in standard deviations to numbers [N]


def _moments(x: torch.Tensor) -> Gaussian:
    found = Moments()
    found.add(x.double().numpy())
    return Gaussian(torch.from_numpy(found.mean), torch.from_numpy(found.covariance))


def _level(stored: torch.Tensor) -> Score:
    return _moments(stored).level  # type: ignore[return-value]


def _distance(stored: torch.Tensor) -> Score:
    return lambda x: torch.cat([torch.cdist(part, stored).amin(1) for part in x.split(1024)])


def _linear(clean: torch.Tensor, drifted: torch.Tensor) -> Score:
    one, other = (_shrunk(x) for x in (clean, drifted))
    both = one.covariance + other.covariance
    both.diagonal().add_(1e-12 + 1e-9 * both.diagonal().mean())
    along = torch.linalg.solve(both, other.mean - one.mean)
    return lambda x: x.double() @ along


def _quadratic(clean: torch.Tensor, drifted: torch.Tensor) -> Score:
    one, other = (_likelihood(_shrunk(x)) for x in (clean, drifted))
    return lambda x: other(x) - one(x)


def _shrunk(x: torch.Tensor) -> Gaussian:
    """The Gaussian of items; of few ones, shrunk."""
    if len(x) < 2:
        return Gaussian(x.double().mean(0), torch.eye(x.shape[1], dtype=torch.float64))
    return Gaussian.fit(x, 1e-4 if len(x) > 4 * x.shape[1] else "oas")


def _likelihood(gaussian: Gaussian) -> Score:
    """log N(x; mean, covariance) but for a constant."""
    values, vectors = gaussian.spectrum
    values = values.clamp(min=1e-12)
    normal = float(values.log().sum())
    return lambda x: -0.5 * ((((x.double() - gaussian.mean) @ vectors).square() / values).sum(1) + normal)
