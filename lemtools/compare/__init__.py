"""Measure what came back. numpy only: one value an item, its mean, and a 95 % interval over the items.

A metric is one function in one of this folder's files and one line in `METRICS`. One that is `of_set` is given all
items at once, and answers with values [N], with a pair (values [N], floor [N]), or with a `summary.Whole` where the set
has one number. A floor, what the originals themselves get, becomes a line of its own.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..signal import LemError
from .pairs import Pair, pair
from .summary import Whole, mean_interval

__all__ = ["METRICS", "Comparison", "Result", "pair"]

ALL = ("image", "audio", "spectrum", "embedding", "tokens")
REAL = ("image", "audio", "spectrum", "embedding")


@dataclass(frozen=True)
class Metric:
    """How a metric is called, for whom it is, and whether more is better.

    name: as printed; the variant stands in brackets. family: the function in this room, 'module.function'. of_set: it
    needs all items at once. peak: it needs the range of the data. side: the least side of an image it can take. where:
    it can leave elements out. train: '' or whether it 'uses' or 'needs' the training items.
    """

    name: str
    kinds: tuple[str, ...]
    unit: str
    better: str
    family: str
    of_set: bool = False
    peak: bool = False
    side: int = 1
    where: bool = False
    train: str = ""


METRICS = {
    "mse": Metric("mse", REAL, "", "lower", "distortion.mse", where=True),
    "mae": Metric("mae", REAL, "", "lower", "distortion.mae", where=True),
    "max-abs": Metric("max_abs", REAL, "", "lower", "distortion.max_abs", where=True),
    "psnr": Metric("psnr", REAL, "dB", "higher", "distortion.psnr", peak=True, where=True),
    "ssim": Metric("ssim[gauss11,{colour}]", ("image",), "", "higher", "ssim.gauss11", peak=True, side=11),
    "ssim-uniform7": Metric("ssim[uniform7,{colour}]", ("image",), "", "higher", "ssim.uniform7", peak=True, side=7),
    "ms-ssim": Metric("ms_ssim[gauss11,{colour}]", ("image",), "", "higher", "ssim.ms", peak=True, side=176),
    "gmsd": Metric("gmsd", ("image",), "", "lower", "perceptual.gmsd", peak=True, side=4),
    "snr": Metric("snr", ("audio",), "dB", "higher", "sound.snr"),
    "si-sdr": Metric("si_sdr", ("audio",), "dB", "higher", "sound.si_sdr"),
    "lsd": Metric("lsd[hann1024,hop256]", ("audio",), "dB", "lower", "sound.log_spectral_distance"),
    "nmse": Metric("nmse", REAL, "", "lower", "distortion.nmse"),
    "cosine": Metric("cosine", REAL, "", "higher", "distortion.cosine"),
    "mutual-knn@10": Metric("mutual_knn[k{k}]", REAL, "", "higher", "geometry.mutual_knn", of_set=True),
    "recall@1": Metric("recall@{k}", REAL, "", "higher", "geometry.recall_at_k", of_set=True),
    "frechet-pca@64": Metric(
        "frechet[pca{k}]", REAL, "", "lower", "distribution.frechet_pca", of_set=True, train="uses"
    ),
    "frechet-patch@8": Metric("frechet[patch{k}]", ("image",), "", "lower", "distribution.frechet_patch", of_set=True),
    "nearest": Metric("nearest", REAL, "", "lower", "dreams.nearest", of_set=True, train="needs"),
    "nearest-patch@8": Metric(
        "nearest[patch{k}]", ("image",), "", "lower", "dreams.nearest_patch", of_set=True, train="needs"
    ),
    "memorised": Metric("memorised", REAL, "", "lower", "dreams.memorised", of_set=True, train="needs"),
    "mosaic@8": Metric("mosaic[patch{k}]", ("image",), "", "lower", "dreams.mosaic", of_set=True, train="needs"),
    "accuracy": Metric("accuracy", ("tokens",), "", "higher", "accuracy"),
    "bits": Metric("bits_per_element", ALL, "bit", "lower", "bits"),
}
# what is measured where nothing is asked for
QUICK = {"image": ("mse", "psnr", "ssim"), "audio": ("snr", "si-sdr", "lsd"), "tokens": ("accuracy",)}


def named(text: str) -> tuple[str, int | None]:
    """(key of METRICS, k) of a metric as a user writes it: 'psnr', 'recall@5'. LemError for an unknown one."""
    base, at, k = text.partition("@")
    for key in METRICS:
        stem, has_k, default = key.partition("@")
        if base == stem and (not at or has_k) and re.fullmatch(r"\d*", k):
            k = int(k or default or 0)
            if has_k and k < 1:
                break
            return key, k or None
    raise LemError(f"no metric {text!r}; there are {', '.join(METRICS)}")


@dataclass
class Result:
    """One metric over the items it can take, `items`: their names; `values` [N], or none where the set has one number.

    `low`, `high`: ends of the 95 % interval of `mean`, None where there is none. A floor has '-floor' after its
    `metric` and '_floor' in its `name`.
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

    metrics: as a user names them; None: the quick ones of the kind, 'all' among them: all that suit it. peak: range of
    the values, where the kind does not tell (images: 255 or 1). train: array [N, ...item] of the items that a model was
    trained on, for the metrics that ask for them; it may be a np.memmap. Bits per element are added where they are
    known. Where pairs say which elements are missing, only those are measured.
    """

    def __init__(
        self, metrics: Iterable[str] | None = None, peak: float | None = None, train: np.ndarray | None = None
    ):
        self.asked = [m for m in metrics] if metrics else None
        for m in self.asked or ():
            if m != "all":
                named(m)
        self.peak, self.train, self.kind, self.missing = peak, train, None, False
        self.colours: set[str] = set()
        self.wanted: dict[str, tuple[Metric, int | None]] = {}
        self.values: dict[str, list[np.ndarray]] = {}
        self.items: dict[str, list[str]] = {}
        self.sets: list[tuple[np.ndarray, np.ndarray]] = []

    def _wanted(self, pair: Pair) -> dict[str, tuple[Metric, int | None]]:
        """{as written: (metric, k)} for this kind of memory."""
        kind = pair.kind
        if self.asked is None and pair.missing is not None:
            keys = ["mse", *(["psnr"] if self.peak or kind in ("image", "audio") else [])]
        elif self.asked is None:
            keys = list(QUICK.get(kind, ("nmse", "cosine")))
        elif "all" in self.asked:
            keys = [k for k, m in METRICS.items() if kind in m.kinds and not m.of_set and k != "bits"]
            keys = [k for k in keys if pair.missing is None or METRICS[k].where]
            if self.peak is None and kind not in ("image", "audio"):
                keys = [k for k in keys if not METRICS[k].peak]
            keys += [m for m in self.asked if m != "all" and m not in keys]
        else:
            keys = list(self.asked)
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

    def add(self, pair: Pair) -> None:
        """Measure one batch. LemError where a metric does not suit it."""
        if self.kind not in (None, pair.kind):
            raise LemError(f"{pair.names[0]}: {pair.kind} among {self.kind}; compare one kind at a time")
        self.kind, self.missing = pair.kind, pair.missing is not None
        if pair.kind == "image":
            self.colours.add("grey" if pair.a.shape[1] == 1 else "rgb")
        wanted = self._wanted(pair)
        self.wanted |= wanted
        if any(metric.of_set for metric, _ in wanted.values()):
            self.sets.append((pair.a, pair.b))
        for key in wanted:
            self.items.setdefault(key, []).extend(pair.names)
        try:
            for key, values in _measure(pair, wanted, self.peak).items():
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
            values = found[key] if metric.of_set else np.concatenate(self.values[key])
            floor = None
            if isinstance(values, Whole):
                values, floor, k = values
            elif isinstance(values, tuple):
                values, floor = values
            shown = metric.name.format(colour=colour, k=k)
            shown += "[missing]" if self.missing and metric.where else ""
            stem, bracket, variant = shown.partition("[")
            for name, line, of in ((key, shown, values), (f"{key}-floor", f"{stem}_floor{bracket}{variant}", floor)):
                if of is not None:
                    each, summed = (of, mean_interval(of)) if np.ndim(of) else (np.empty(0), (of, None, None))
                    out.append(Result(name, line, metric.unit, self.items[key], each, *summed))
        return out

    def _of_sets(self) -> dict:
        """{as written: what the function answered} of all metrics that need all items at once."""
        wanted = {key: w for key, w in self.wanted.items() if w[0].of_set}
        if not wanted:
            return {}
        if len({a.shape[1:] for a, _ in self.sets}) > 1:
            raise LemError(f"--metric {next(iter(wanted))} looks at a set of items of one shape; these differ")
        a, b = (np.concatenate(side) for side in zip(*self.sets))
        training, out = None, {}
        if self.train is not None and any(metric.train for metric, _ in wanted.values()):
            from .dreams import Training

            training = Training(self.train, a)
        for key, (metric, k) in wanted.items():
            arguments = {"train": training} if metric.train else {}
            try:
                out[key] = _function(metric)(a, b, **arguments, **({"k": k} if k else {}))
            except ValueError as error:
                raise LemError(f"--metric {key}: {error}") from error
        return out


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
