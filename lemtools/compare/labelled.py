"""Sets of labelled embeddings: what lem-compare --labels measures of each, and of two sets the differences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import numpy as np

from ..catalogue.labelled import LABELLED, NEUTRAL
from ..catalogue.row import Row
from ..rng import generator
from ..signal import LemError
from . import separation, shifts
from .groups import Groups
from .resampling import LEVEL, holm, interval, p_value, resamples

SHUFFLES = 99
K = 5
CONTROL = "control"


class Estimate(NamedTuple):
    """One number of a set. part: what is added to the name of its metric. of: speakers' weights [R, S] -> [R]; None: it
    has no interval. root: the number is its square root, 0 of what is below 0. n: items or speakers. value, chance, p: where they are not those of `of` and of shuffled labels.
    unit: where it is not the metric's. shuffled: False where shuffled labels say nothing about it."""

    part: str
    of: shifts.Estimate | None
    n: int
    value: float | None = None
    chance: float | None = None
    p: float | None = None
    unit: str | None = None
    shuffled: bool = True
    root: bool = False

    def once(self, speakers: int) -> float | None:
        """The number, before a root is taken."""
        return self.value if self.of is None else float(self.of(np.ones((1, speakers)))[0])

    def shown(self, x: np.ndarray) -> np.ndarray:
        return np.sqrt(np.maximum(x, 0)) if self.root else x


class Asked(NamedTuple):
    """neutral: the class from which shifts are measured, or None. features: names of dimensions. bound: of equivalence."""

    neutral: str | None = None
    features: tuple[str, ...] = ()
    bound: float | None = None


@dataclass
class Line:
    """What is printed of a number. set: whose it is; of a difference 'A - B'. metric: of the catalogue. name: as printed.
    low, high: ends of the 95 % interval over speakers. shuffled: what labels shuffled within speakers say, or sides
    dealt anew. p: of that; of `features`, Holm's. verdict: 'differs', 'within D', 'cannot tell', or nothing.
    """

    set: str
    metric: str
    name: str
    unit: str
    value: float
    low: float | None
    high: float | None
    n: int
    shuffled: float | None = None
    p: float | None = None
    verdict: str = ""

    def as_dict(self) -> dict:
        """The keys of --json."""
        return asdict(self)


# --- the metrics


def purity(groups: Groups, asked: Asked) -> Iterator[Estimate]:
    """`separation.purity`, k = 5."""
    yield Estimate(f"[k{K}]", _mean(groups, separation.purity(groups, k=K)), len(groups))


def accuracy(groups: Groups, asked: Asked) -> Iterator[Estimate]:
    """`separation.accuracy`."""
    yield Estimate("[lda]", _mean(groups, separation.accuracy(groups)), len(groups))


def silhouette(groups: Groups, asked: Asked) -> Iterator[Estimate]:
    """`separation.silhouette`, of the classes and of the speakers."""
    yield Estimate("", _mean(groups, separation.silhouette(groups)), len(groups))
    if not groups.centred:
        own = separation.silhouette(groups, speaker=True)
        yield Estimate("[speaker]", _mean(groups, own), len(groups), shuffled=False)


def dispersion(groups: Groups, asked: Asked) -> Iterator[Estimate]:
    """`shifts.dispersion`."""
    yield Estimate("", shifts.dispersion(groups), len(groups))


def shift(groups: Groups, asked: Asked) -> Iterator[Estimate]:
    """`shifts.shift` of all classes and of each, and `shifts.signed` of each feature and class."""
    neutral, speakers = groups.classes.index(asked.neutral or ""), len(groups.speakers)
    others = [k for k in range(len(groups.classes)) if k != neutral]
    yield Estimate("", shifts.shift(groups, neutral), speakers, root=True)
    for k in others:
        yield Estimate(f"[{groups.classes[k]}]", shifts.shift(groups, neutral, k), speakers, root=True)
    for feature in asked.features:
        one = groups.of([feature])
        yield Estimate(f"[{feature}]", shifts.shift(one, neutral), speakers, root=True)
        for k in others:
            of = shifts.signed(one, neutral, k)
            yield Estimate(f"[{feature},{groups.classes[k]}]", of, speakers, unit="its unit", shuffled=False)


def interaction(groups: Groups, asked: Asked) -> Iterator[Estimate]:
    """`shifts.interaction` of all numbers together, and of each feature."""
    neutral, speakers = groups.classes.index(asked.neutral or ""), len(groups.speakers)
    for feature in (None, *asked.features):
        found = shifts.interaction(groups.of([feature]) if feature else groups, neutral)
        part = f"[{feature}]" if feature else ""
        yield Estimate(part, None, speakers, found.share, found.chance, found.p, "share of the shifts' variance")
        yield Estimate(f"_size{part}", found.size, speakers, unit=LABELLED["shift"].unit, root=True)


def _mean(groups: Groups, values: np.ndarray) -> shifts.Estimate:
    total = np.bincount(groups.who, values, len(groups.speakers))
    count = groups.count()
    return lambda weights: (weights @ total) / (weights @ count)


# --- a set, and two


def measure(
    sets: Sequence[Groups],
    metrics: Iterable[str] | None = None,
    asked: Asked | None = None,
    control: Groups | None = None,
    note: Callable[[str], None] = lambda line: None,
) -> list[Line]:
    """Every number of each of one or two sets, and of two their differences (first less second).

    Intervals are of 4000 bootstrap samples of the speakers (of each side as many as there are), the draws moved so that their mean is the number, and the percentiles widened
    for few speakers after Hesterberg 2015, What teachers should know about the bootstrap (expanded percentiles). p: the
    share, with the labels themselves among them, of 99 shufflings of labels within speakers that are as good. control: a
    set without any interaction by its making; where it shows one (p <= .05), that of a set is 'cannot tell'. LemError
    where a metric is asked for by name and cannot be had; else `note` is called with a line of why.
    """
    asked = _neutral(asked or Asked(), sets, control)
    for groups in sets:
        groups.of(asked.features)  # LemError for one that is not there, also where no metric comes to it
    for groups in sets if asked.neutral else ():
        for said in _said(groups, asked, metrics):
            note(said)
    lines: list[Line] = []
    draws: dict[tuple[str, str], np.ndarray] = {}
    for groups in sets:
        for row in _rows(metrics, groups, asked, note):
            for view in (groups, groups.about_speakers())[: 1 + row.centred]:
                try:
                    for line, drawn in _lines(row, view, asked):
                        lines.append(line)
                        draws[groups.name, line.name] = drawn
                except ValueError as error:
                    if metrics is not None or isinstance(error, LemError):
                        raise (
                            error if isinstance(error, LemError) else LemError(f"{groups.name}: {row.name}: {error}")
                        ) from error
                    note(f"{groups.name}: {row.name} is left out: {error}")
                    break
    rules = _controlled(control, asked) if control is not None else []
    differing = {line.name for line in rules if line.p is not None and line.p <= LEVEL}
    for groups in sets:
        _judge([line for line in lines if line.set == groups.name], asked, differing)
    return [*lines, *rules, *(_differences(sets, lines, draws, asked) if len(sets) == 2 else [])]


def same(sets: Sequence[Groups]) -> list[Groups]:
    """Of two sets the items whose (class, `same`) both have. LemError where there are none."""
    pairs = [[(g.classes[k], s) for k, s in zip(g.by, g.same or ())] for g in sets]
    common = set(pairs[0]) & set(pairs[1])
    if len({pair[0] for pair in common}) < 2:
        raise LemError(f"--same: {sets[0].name} and {sets[1].name} have fewer than two classes with values in common")
    return [g.where(np.array([pair in common for pair in own])) for g, own in zip(sets, pairs)]


def _rows(metrics: Iterable[str] | None, groups: Groups, asked: Asked, note: Callable[[str], None]) -> Iterator[Row]:
    for name in LABELLED if metrics is None else metrics:
        row = LABELLED.find(name)
        lacking = [
            way
            for need, there, way in (
                ("neutral", asked.neutral, f"no class of {groups.name} is called {NEUTRAL}: --neutral CLASS names one"),
                ("cross", groups.side is not None, "it needs the two sides: --cross COLUMN"),
            )
            if need in row.needs and not there
        ]
        if not lacking:
            yield row
        elif metrics is not None:
            raise LemError(f"--metric {name}: {lacking[0]}")
        elif "cross" not in row.needs:
            note(f"{name} is left out: {lacking[0]}")


def _said(groups: Groups, asked: Asked, metrics: Iterable[str] | None) -> Iterator[str]:
    """Which speakers have no shift, and how many features are too many to find anything in."""
    able = [row.name for row in LABELLED.rows if "neutral" in row.needs and (metrics is None or row.name in metrics)]
    neutral = groups.classes.index(asked.neutral or "")
    there = groups.cells()[0] > 0
    both = there[:, neutral] & (there.sum(1) > 1)
    if able and not both.all():
        who = ", ".join(name for name, takes in zip(groups.speakers, both) if not takes)
        yield f"{groups.name}: no shift of {who}: not both {asked.neutral} and another class"
    if "interaction" in able and groups.side is not None and len(np.unique(groups.side[both])) == 2:
        least = 1 / len(shifts.splits(groups.side[both]))
        most = int(LEVEL / least + 1e-9)
        if (count := len(asked.features) or 1) > most:
            way = f"name {most} --features at most" if most else "more speakers are needed"
            yield f"{groups.name}: no p is below {least:.2g}, so of {count} nothing can be found at {LEVEL:g}; {way}"


def _neutral(asked: Asked, sets: Sequence[Groups], control: Groups | None) -> Asked:
    every = [*sets, *([control] if control is not None else [])]
    if asked.neutral is None:
        return asked._replace(neutral=NEUTRAL if all(NEUTRAL in g.classes for g in every) else None)
    for groups in every:
        if asked.neutral not in groups.classes:
            raise LemError(f"--neutral {asked.neutral}: {groups.name} has {', '.join(groups.classes)}")
    return asked


def _lines(row: Row, groups: Groups, asked: Asked) -> Iterator[tuple[Line, np.ndarray]]:
    """(a line, its bootstrap [R], empty where there is none) for each number of a metric."""
    found, speakers = list(row.load()(groups, asked)), len(groups.speakers)
    chance = _shuffled(row, groups, asked, [e.part for e in found]) if row.shuffled else None
    weights = resamples(groups)
    for i, each in enumerate(found):
        value = np.array(np.nan if (once := each.once(speakers)) is None else once)
        drawn = np.empty(0) if each.of is None else each.of(weights)
        drawn = each.shown(drawn - (np.nanmean(drawn) - value)) if len(drawn) else drawn
        low, high = interval(drawn, speakers) if len(drawn) else (None, None)
        mean, p = each.chance, each.p
        if chance is not None and each.shuffled:
            mean, p = float(each.shown(chance[:, i]).mean()), p_value(float(value), chance[:, i], row.better)
        unit = row.unit if each.unit is None else each.unit
        name = row.name + each.part
        if groups.centred:
            name = f"{name[:-1]},centred]" if name.endswith("]") else f"{name}[centred]"
        shown = float(each.shown(value))
        yield Line(groups.name, row.name, name, unit, shown, low, high, each.n, mean, p), drawn


def _shuffled(row: Row, groups: Groups, asked: Asked, parts: list[str]) -> np.ndarray:
    """[SHUFFLES, parts]: the same numbers of labels shuffled within speakers."""
    out = np.full((SHUFFLES, len(parts)), np.nan)
    for r in range(SHUFFLES):
        other = groups.shuffled(generator(0, r, 0, "labels"))
        values = {e.part: e.once(len(groups.speakers)) for e in row.load()(other, asked) if e.shuffled}
        out[r] = [values.get(part, np.nan) for part in parts]
    return out


def _judge(lines: list[Line], asked: Asked, differing: set[str]) -> None:
    """Put Holm's p for the features into the lines of a set, and say what may be said of its interactions.

    differing: names of those that the control shows.
    """
    each = [line for line in lines if line.metric == "interaction" and line.p is not None]
    features = [line for line in each if line.name != "interaction"]
    for line, p in zip(features, holm([line.p or 0.0 for line in features])):
        line.p = p
    sizes = {line.name.replace("_size", ""): line for line in lines if line.name.startswith("interaction_size")}
    for line in each:
        high = sizes[line.name].high
        if line.name in differing:
            line.verdict = "cannot tell: the control differs"
        elif line.p is not None and line.p <= LEVEL:
            line.verdict = "differs"
        else:
            near = asked.bound is not None and high is not None and high <= asked.bound
            line.verdict = f"within {asked.bound:g}" if near else "cannot tell"


def _controlled(control: Groups, asked: Asked) -> list[Line]:
    """The lines of the control, in which there can be no interaction: each p by itself, without Holm."""
    if control.side is None:
        raise LemError("--control is for --cross COLUMN")
    lines = [line for line, _ in _lines(LABELLED["interaction"], replace(control, name=CONTROL), asked)]
    for line in lines:
        if line.p is not None:
            line.verdict = "differs" if line.p <= LEVEL else "cannot tell"
    return lines


def _differences(
    sets: Sequence[Groups], lines: list[Line], draws: dict[tuple[str, str], np.ndarray], asked: Asked
) -> list[Line]:
    """Of numbers with an interval in both sets, of which the speakers are drawn apart."""
    first, second = (({line.name: line for line in lines if line.set == g.name}) for g in sets)
    out = []
    for name, a in first.items():
        b = second.get(name)
        one, two = (draws.get((g.name, name), np.empty(0)) for g in sets)
        if b is None or a.metric == "interaction" or not len(one) or not len(two):
            continue
        rng = generator(0, 0, 0, "pairs")  # two sets of as many speakers would be drawn alike
        low, high = interval(one - rng.permutation(two), min(len(g.speakers) for g in sets))
        made = replace(a, set=f"{a.set} - {b.set}", value=a.value - b.value, low=low, high=high, shuffled=None, p=None)
        if low is not None and high is not None:
            bound = asked.bound if a.unit == LABELLED["shift"].unit else None
            near = bound is not None and max(abs(low), abs(high)) <= bound
            made.verdict = "differs" if low > 0 or high < 0 else f"within {bound:g}" if near else "cannot tell"
        out.append(made)
    return out
