"""Measure what came back. numpy only: one value an item, its mean, and a 95 % interval over the items.

The metrics and how to add one: metrics.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..signal import LemError
from .metrics import GROUPS, METRICS, QUICK, Metric, named
from .pairs import Pair, pair
from .summary import Whole, mean_interval

if TYPE_CHECKING:
    from .spectral import Spectrum

__all__ = ["GROUPS", "METRICS", "Comparison", "Result", "named", "pair"]


@dataclass
class Result:
    """One metric over the items it can take, `items`: their names; `values` [N], or none where the set has one number.

    `low`, `high`: ends of the 95 % interval of `mean`, None where there is none. What stands beside, such as a floor,
    says so in its `name`, and at the end of its `metric`, after a hyphen.
    """

    metric: str
    name: str
    unit: str
    items: list[str]
    values: np.ndarray
    mean: float
    low: float | None
    high: float | None


class Comparison:
    """Collect pairs batch by batch, then ask for `results()`.

    metrics: as a user names them, groups among them; None: the quick ones of the kind. peak: range of the values, where
    the kind does not tell (images: 255 or 1). train: array [N, ...item] of the items that a model was trained on, for
    the metrics that ask for them; it may be a np.memmap. keep: keep all items, for `spectra()`. Bits per element are
    added where they are known. Where pairs say which elements are missing, only those are measured.
    `left_out`: {metric of a group: why it cannot take these sets}, once `results()` are there.
    """

    def __init__(
        self,
        metrics: Iterable[str] | None = None,
        peak: float | None = None,
        train: np.ndarray | None = None,
        keep: bool = False,
    ):
        self.asked = list(metrics) if metrics else None
        for m in self.asked or ():
            if m not in GROUPS:
                named(m)
        self.keep, self.left_out = keep, {}
        self.peak, self.train, self.kind, self.missing = peak, train, None, False
        self.colours: set[str] = set()
        self.wanted: dict[str, tuple[Metric, int | None]] = {}
        self.values: dict[str, list[np.ndarray]] = {}
        self.items: dict[str, list[str]] = {}
        self.sets: tuple[list[np.ndarray], list[np.ndarray]] = [], []
        self._spectra: tuple[Spectrum, Spectrum] | None = None

    def _wanted(self, pair: Pair) -> dict[str, tuple[Metric, int | None]]:
        """{as written: (metric, k)} for this kind of memory."""
        kind = pair.kind
        if self.asked is None and pair.missing is not None:
            keys = ["mse", *(["psnr"] if self.peak or kind in ("image", "audio") else [])]
        elif self.asked is None:
            keys = list(QUICK.get(kind, ("nmse", "cosine")))
        else:
            keys = []
            for m in self.asked:
                new = self._group(m, pair) if m in GROUPS else [m]
                keys += [key for key in new if key not in keys]
        if kind == "image" and (self.asked is None or "all" in self.asked):
            keys = [k for k in keys if k in (self.asked or ()) or METRICS[named(k)[0]].side <= min(pair.a.shape[2:])]
        if pair.bits is not None and "bits" not in keys:
            keys.append("bits")
        out = {}
        for key in keys:
            base, k = named(key)
            if kind not in METRICS[base].kinds:
                raise LemError(f"--metric {key} is for {', '.join(METRICS[base].kinds)}, not {kind}")
            if METRICS[base].train == "needs" and self.train is None:
                raise LemError(f"--metric {key} asks what a model was trained on: --train STORE")
            if pair.missing is not None and not METRICS[base].where and base != "bits":
                able = ", ".join(name for name, metric in METRICS.items() if metric.where)
                raise LemError(f"--metric {key} cannot leave elements out; --where missing is for {able}")
            out[key] = METRICS[base], k
        return out

    def _group(self, group: str, pair: Pair) -> list[str]:
        """Those of a group that suit this kind of memory."""
        keys = [key for key in GROUPS[group] if pair.kind in METRICS[key].kinds]
        if group == "geometry" and pair.kind != "embedding":
            raise LemError(f"--metric geometry is for embedding, not {pair.kind}")
        if group == "all" and pair.missing is not None:
            keys = [key for key in keys if METRICS[key].where]
        if self.peak is None and pair.kind not in ("image", "audio"):
            keys = [key for key in keys if not METRICS[key].peak]
        return keys

    def add(self, pair: Pair) -> None:
        """Measure one batch. LemError where a metric does not suit it."""
        if self.kind not in (None, pair.kind):
            raise LemError(f"{pair.names[0]}: {pair.kind} among {self.kind}; compare one kind at a time")
        self.kind, self.missing = pair.kind, pair.missing is not None
        if pair.kind == "image":
            self.colours.add("grey" if pair.a.shape[1] == 1 else "rgb")
        wanted = self._wanted(pair)
        self.wanted |= wanted
        if self.keep or any(metric.of_set for metric, _ in wanted.values()):
            self.sets[0].append(pair.a)
            self.sets[1].append(pair.b)
        for key in wanted:
            self.items.setdefault(key, []).extend(pair.names)
        try:
            for key, values in _measure(pair, wanted, self.peak).items():
                if key == "cosine" and pair.kind == "embedding" and key in (self.asked or ()):
                    _check_directions(values, pair.names)
                self.values.setdefault(key, []).append(values)
        except LemError:
            raise
        except ValueError as error:
            raise LemError(f"{pair.names[0]}: {error}") from error

    def results(self) -> list[Result]:
        """Every metric in the order asked for; nothing before a first `add`."""
        out, colour = [], self.colours.pop() if len(self.colours) == 1 else "mixed"
        found = self._of_sets()
        for key, (metric, k) in self.wanted.items():
            if key in self.left_out:
                continue
            values, beside = found[key] if metric.of_set else np.concatenate(self.values[key]), None
            if isinstance(values, Whole):
                values, beside, k = values
            elif isinstance(values, tuple):
                values, beside = values
            for i, each in enumerate((values, beside)):
                if each is None:
                    continue
                shown = metric.name.format(colour=colour, k=k, of=metric.of[i])
                shown += "[missing]" if self.missing and metric.where else ""
                called = f"{key}-{metric.of[i].strip('_')}" if i else key
                each, summed = (each, mean_interval(each)) if np.ndim(each) else (np.empty(0), (each, None, None))
                out.append(Result(called, shown, metric.unit, self.items[key], each, *summed))
        return out

    def _whole(self) -> tuple[np.ndarray, np.ndarray]:
        """All originals and all recalled items [N, ...]."""
        if len({a.shape[1:] for a in self.sets[0]}) > 1:
            asked = next((key for key, w in self.wanted.items() if w[0].of_set), None)
            what = f"--metric {asked} looks at" if asked else "the picture is of"
            raise LemError(f"{what} a set of items of one shape; these differ")
        for side in self.sets:
            if len(side) > 1:
                side[:] = [np.concatenate(side)]  # one side's batches are gone before the other is joined
        return self.sets[0][0], self.sets[1][0]

    def spectra(self) -> tuple[Spectrum, Spectrum]:
        """Of the originals, of the recalled; the same whenever asked. ValueError where a set is too small."""
        if self._spectra is None:
            from .spectral import Spectrum

            self._spectra = tuple(Spectrum(x, of) for x, of in zip(self._whole(), ("original", "recalled")))
        return self._spectra

    def _of_sets(self) -> dict:
        """{as written: what the function answered} of all metrics that need all items at once."""
        wanted = {key: w for key, w in self.wanted.items() if w[0].of_set}
        if not wanted:
            return {}
        a, b = self._whole()
        training, out = None, {}
        if self.train is not None and any(metric.train for metric, _ in wanted.values()):
            from .training import Training

            training = Training(self.train, a)
        for key, (metric, k) in wanted.items():
            arguments = {"train": training} if metric.train else {}
            try:
                if metric.spectral:
                    arguments["spectra"] = self.spectra()
                out[key] = _function(metric)(a, b, **arguments, **({"k": k} if k else {}))
            except ValueError as error:
                if key not in self.asked:
                    self.left_out[key] = str(error)
                    continue
                raise LemError(f"--metric {key}: {error}") from error
        return out


def _check_directions(cosines: np.ndarray, names: list[str]) -> None:
    """LemError for an undefined cosine. Only where it was asked for by name: the metrics beside it have a value."""
    for i in np.flatnonzero(np.isnan(cosines))[:1]:
        raise LemError(f"--metric cosine: embedding {names[i]} is zero: it has no direction")


def _function(metric: Metric):
    from importlib import import_module

    module, name = metric.family.split(".")
    return getattr(import_module(f".{module}", __package__), name)


def _measure(pair: Pair, wanted: dict[str, tuple[Metric, int | None]], peak: float | None) -> dict[str, np.ndarray]:
    """{as written: [N]} of all metrics that need one item at a time; the SSIM family is computed together."""
    out, family = {}, {}
    for key, (metric, _) in wanted.items():
        if metric.of_set:
            continue
        arguments = {"where": pair.missing} if metric.where else {}
        if metric.peak:
            arguments["peak"] = _peak(pair, peak, key)
        if metric.family == "bits":
            if pair.bits is None:
                raise LemError(
                    "--metric bits: what was recalled does not say what its fragment cost; compare the stream"
                )
            out[key] = np.asarray(pair.bits, np.float64)
        elif metric.family == "accuracy":
            out[key] = (pair.a == pair.b).reshape(len(pair), -1).mean(axis=1)
        elif metric.family.startswith("ssim."):
            family[key] = metric.family.removeprefix("ssim.")
        else:
            out[key] = _function(metric)(pair.a, pair.b, **arguments)
    if family:
        from .perceptual import ssim_family

        values = ssim_family(pair.a, pair.b, peak=_peak(pair, peak, "ssim"), members=family.values())
        out |= {key: values[member] for key, member in family.items()}
    return out


def _peak(pair: Pair, peak: float | None, key: str) -> float:
    if peak is not None:
        return peak
    if pair.kind == "image":
        return 255.0 if pair.a.dtype == np.uint8 else 1.0
    if pair.kind == "audio":
        return 1.0
    raise LemError(
        f"--metric {key} needs the range of the values, which a {pair.kind} does not have: give --peak, or use nmse"
    )
