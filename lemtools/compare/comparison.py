"""From pairs of originals and recalled items to results."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from ..catalogue import LemError, Row, listed
from ..catalogue.metrics import GROUPS, METRICS, members, named, quick, spelled, taking
from ..signal import Signal, called
from .pairs import Pair, centred, joined, pair
from .resources import RESOURCES, Sides
from .summary import FEWEST_OTHERS, Over, Pooled, Result, Whole, change_interval, mean_interval, share_interval


def measure(
    originals: Iterable[Signal] | Signal,
    recalled: Iterable[Signal] | Signal,
    metrics: str | Iterable[str] | None = None,
    *,
    by: str = "auto",
    fragments: Iterable[Signal] | Signal | None = None,
    centre: bool = False,
    **given,
) -> list[Result]:
    """Compare two sets of memories of one kind, item by item.

    metrics, given (peak, train): as `Comparison` takes them. by: 'order', 'name' (without extension), or 'auto', by
    order with the names checked. centre: embeddings less the mean of the originals. fragments: of the originals, by order; only what they do not hold exactly is measured.
    LemError where the two sets cannot be paired, or where a metric is unknown or does not suit them.
    """
    comparison = Comparison(metrics, **given)
    sides = [[side] if isinstance(side, Signal) else side for side in (originals, recalled, fragments)]
    pairs = pair(sides[0], sides[1], by, sides[2])
    for batch in centred(pairs) if centre else pairs:
        comparison.add(batch)
    return comparison.results()


class Comparison:
    """Collect pairs batch by batch, then ask for `results()`.

    metrics: names and groups as a user writes them, a list or joined by commas; None: the quick ones of the kind. keep:
    keep all items, for `spectra()`. given: what metrics need and only the caller has. peak: range of the values, for
    kinds that have none by themselves (images: 255 or 1, sound: 1). train: array [N, ...item] of the items that a model
    was trained on; it may lie on disk.
    Bits per element are added where they are known. Where pairs say which elements are missing, only those count.
    `left_out`: {metric of a group: why it cannot take these sets}, once `results()` are there.
    """

    def __init__(self, metrics: str | Iterable[str] | None = None, *, keep: bool = False, **given):
        for name in given.keys() - RESOURCES.keys():
            raise TypeError(f"no metric needs a {name!r}")
        self.asked = spelled(metrics) if metrics else []
        self.keep, self.given, self.left_out = keep, given, {}
        self.kind, self.missing, self.timed, self.centred = None, False, None, False
        self.colours: set[str] = set()
        self.scales: set[tuple[int, bool]] = set()  # (of images the full scale, whether one side was brought to it)
        self.wanted: dict[str, tuple[Row, int | None]] = {}
        self.values: dict[str, list[np.ndarray]] = {}
        self.items: dict[str, list[str]] = {}
        self.pairs: list[Pair] = []
        self._whole: Sides | None = None

    def add(self, pair: Pair) -> None:
        """Measure one batch. LemError where a metric does not suit it."""
        if self.kind not in (None, pair.kind):
            way = f" (--kind {self.kind} --skip-bad)" if self.kind in ("image", "audio", "embedding") else ""
            kinds = f"{called(pair.kind)} among {called(self.kind)}"
            raise LemError(f"{pair.names[0]}: {kinds}; compare one kind at a time{way}")
        if self.timed not in (None, pair.boundaries is not None):
            raise LemError(f"{pair.names[0]}: labels with times among tokens without; compare one of them at a time")
        self.kind, self.missing, self.timed = pair.kind, pair.missing is not None, pair.boundaries is not None
        self.centred = pair.centred
        if pair.kind == "image":
            self.colours.add("grey" if pair.a.shape[1] == 1 else "rgb")
            self.scales.add((255 if pair.a.dtype == np.uint8 else 1, pair.converted))
        sides = Sides(pair, self.given)
        wanted = self._wanted(sides)
        self.wanted |= wanted
        if self.keep or any(metric.of_set for metric, _ in wanted.values()):
            self.pairs.append(replace(pair))
        for key, (metric, k) in wanted.items():
            self.items.setdefault(key, []).extend(pair.names)
            if metric.of_set:
                continue
            try:
                values = _measured(sides, metric, k)
            except ValueError as error:
                raise error if isinstance(error, LemError) else LemError(f"{pair.names[0]}: {error}") from error
            undefined = np.flatnonzero(np.isnan(values))
            # the metrics of a group have a value where this one has none
            if metric.undefined and pair.kind == "embedding" and key in self.asked and len(undefined):
                raise LemError(f"--metric {key}: embedding {pair.names[undefined[0]]} {metric.undefined}")
            self.values.setdefault(key, []).append(np.asarray(values))

    def results(self) -> list[Result]:
        """Every metric in the order asked for; nothing before a first `add`."""
        out, colour = [], next(iter(self.colours), "") if len(self.colours) < 2 else "mixed"
        for key, (metric, k) in self.wanted.items():
            found = self._of_set(key) if metric.of_set else np.concatenate(self.values[key], axis=-1)
            if found is None:
                continue
            if isinstance(found, Whole):
                *found, k = found
            if isinstance(found, np.ndarray):
                several = found.ndim == 2
            else:
                several = isinstance(found, tuple | list) and not isinstance(found, Pooled | Over)
            for i, values in enumerate(found if several else [found]):
                if values is None:
                    continue
                of = metric.of[i].strip("_")
                name = (metric.printed or metric.name.replace("-", "_")).format(colour=colour, k=k, of=metric.of[i])
                name += "[centred]" if self.centred and "[centred]" not in name else ""
                name += "[missing]" if self.missing and "where" in metric.uses else ""
                called, help = f"{key}-{of}" if i else key, f"{metric.help}: {of}" if of else metric.help
                items, over = self.items[key], "items"
                if isinstance(values, Pooled):
                    numbers = values
                elif isinstance(values, Over):
                    items, over = values.names, "others"
                    numbers = values.values, *mean_interval(values.values, ends=metric.ends, fewest=FEWEST_OTHERS)
                elif not np.ndim(values):
                    numbers = np.empty(0), values, None, None
                elif metric.counted:
                    numbers = values, *(share_interval if metric.ends[0] == 0 else change_interval)(values)
                else:
                    numbers = values, *mean_interval(values, ends=metric.ends)
                out.append(
                    Result(called, name, metric.unit, items, *numbers, better=metric.better, help=help, over=over)
                )
        return out

    def spectra(self) -> tuple:
        """The `Spectrum` of the originals, of the recalled. ValueError where a set is too small."""
        return self._sides().resource("spectra")

    def notes(self, results: list[Result]) -> list[str]:
        """What the results leave out, one line each."""
        most = max((len(result.items) for result in results if result.over == "items"), default=0)
        left = {name: reason for name, reason in self.left_out.items() if name not in self.values}
        apart = any(result.metric.startswith("boundary-") and np.isnan(result.mean) for result in results)
        none = [
            "no boundary of the one matches one of the other; are both phones, of the same speech? --key picks a tier"
        ]
        said = [*self._scale_notes(results), *none * apart]
        return [*said, *(f"{name} is left out: {reason}" for name, reason in left.items())] + [
            f"{result.name}: {len(result.items)} of {most} items; it cannot take the others (too small)"
            for result in results
            if len(result.items) < most and result.over == "items"
        ]

    def _scale_notes(self, results: list[Result]) -> list[str]:
        """On which scale errors of images are, where their types do not say it."""
        scaled = ", ".join(r.metric for r in results if (row := METRICS.get(r.metric)) is not None and row.scaled)
        if not scaled or (self.scales <= {(255, False), (1, False)} and len(self.scales) < 2):
            return []
        if {full for full, _ in self.scales} == {1}:
            return [
                f"{scaled}: on the scale from 0 to 1, since one side holds floats; of two 8-bit images from 0 to 255"
            ]
        return [f"{scaled}: means over items on the scale from 0 to 255 and others on that from 0 to 1"]

    def _wanted(self, sides: Sides) -> dict[str, tuple[Row, int | None]]:
        """{as written: (metric, k)} for this batch."""
        kind, missing, out = sides.pair.kind, sides.pair.missing is not None, {}
        usual = [] if self.asked else quick("missing" if missing else "timed" if self.timed else kind)
        usual = [key for key in usual if named(key)[0].suits(kind)] or usual
        keys = _suited(usual, sides) or usual
        self.left_out |= {key: _why(key, sides) for key in usual if key not in keys}
        for word in self.asked:
            if word in GROUPS:
                GROUPS.check_kind(word, kind, f"--metric {word}")
            keys += _suited(members(word), sides) if word in GROUPS else [word]
        if sides.pair.bits is not None:
            keys.append("bits")
        for key in dict.fromkeys(keys):
            metric, k = named(key)
            if not (metric.widths or metric.needs == ("bits",)) and (shapes := _apart(sides.pair)):
                able = listed(row.name for row in METRICS.rows if row.widths)
                first = f"item {name}" if (name := sides.pair.names[0]).isdigit() else name
                raise LemError(f"{first}: {shapes}; {able} compare sets of two widths")
            METRICS.check_kind(metric.name, kind, f"--metric {key}")
            for reason in filter(None, map(sides.lacks, metric.needs)):
                raise LemError(f"--metric {key} {reason}")
            if missing and not {"where", "gaps", "bits"} & {*metric.uses, *metric.needs}:
                able = ", ".join(taking("where", "gaps"))
                raise LemError(f"--metric {key} cannot leave elements out; --where missing is for {able}")
            out[key] = metric, k
        return out

    def _sides(self) -> Sides:
        """The whole set, joined when first asked for."""
        if self._whole is None:
            if len({(pair.a.shape[1:], pair.b.shape[1:]) for pair in self.pairs}) > 1 and not self.timed:
                asked = next((key for key, (metric, _) in self.wanted.items() if metric.of_set), None)
                what = f"--metric {asked} looks at" if asked else "the picture is of"
                raise LemError(f"{what} a set of items of one shape; these differ")
            self._whole = Sides(joined(self.pairs), self.given)
        return self._whole

    def _of_set(self, key: str):
        """What a metric of the whole set answers; None where it belongs to a group and cannot take this set."""
        try:
            return _measured(self._sides(), *self.wanted[key])
        except LemError:
            raise
        except ValueError as error:
            if key in self.asked:
                raise LemError(f"--metric {key}: {error}") from error
            self.left_out[key] = str(error)


def _suited(keys: Iterable[str], sides: Sides) -> list[str]:
    """Those metrics of a group that suit this batch."""
    pair, rows = sides.pair, {key: named(key)[0] for key in keys}
    keys = [key for key, row in rows.items() if row.suits(pair.kind) and not any(map(sides.lacks, row.needs))]
    if _apart(pair):
        keys = [key for key in keys if rows[key].widths]
    if pair.kind == "image":
        keys = [key for key in keys if rows[key].side <= min(pair.a.shape[2:])]
    return [
        key for key in keys if pair.missing is None or {"where", "gaps"} & {*rows[key].uses, *rows[key].needs}
    ] or keys


def _apart(pair: Pair) -> str:
    """How the items of the two sides differ in shape; empty where they do not, and of labels with times, which may."""
    one, other = pair.a.shape[1:], pair.b.shape[1:]
    return "" if one == other or pair.boundaries is not None else f"original {list(one)}, recalled {list(other)}"


def _why(key: str, sides: Sides) -> str:
    """Why a metric of a group does not suit this batch."""
    row, (height, width) = named(key)[0], sides.pair.a.shape[-2:] if sides.pair.a.ndim > 2 else (0, 0)
    if sides.pair.kind == "image" and row.side > min(height, width):
        return f"it needs images of {row.side} x {row.side} px or more, not {width} x {height}"
    lacks = [sides.lacks(need) for need in row.needs]
    return next(filter(None, lacks), f"it does not suit {sides.pair.kind}")


def _measured(sides: Sides, metric: Row, k: int | None):
    """What the metric's function answers. ValueError where it cannot take the two sides."""
    things = {name: sides.resource(name) for name in metric.needs}
    things |= {name: None if sides.lacks(name) else sides.resource(name) for name in metric.uses}
    return metric.load()(sides.pair.a, sides.pair.b, **things, **({"k": k} if k else {}))
