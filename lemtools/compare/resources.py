"""What metrics take beside the two sets: each thing is made when a metric first asks for it, once for a batch or set.

A resource is one row in `RESOURCES` with the function that makes it; the functions of metrics get it as a keyword of
that name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .pairs import Pair


class Sides:
    """Originals `a` and recalled items `b` of one batch, or of the whole set, and the resources that belong to them.

    given: what the caller of the comparison handed over, by name, such as the peak or the training items.
    """

    def __init__(self, pair: Pair, given: Mapping[str, object]):
        self.pair, self.given = pair, given
        self._made: dict[str, object] = {}

    def lacks(self, name: str) -> str:
        """Why a resource cannot be had here; empty where it can."""
        return RESOURCES[name].lacks(self)

    def resource(self, name: str):
        """The resource; ValueError where these sets do not allow it."""
        if name not in self._made:
            self._made[name] = RESOURCES[name].make(self)
        return self._made[name]


@dataclass(frozen=True)
class Resource:
    """make: the resource of two sides. lacks: why it cannot be had, as the end of '--metric NAME ...'; empty if it can."""

    make: Callable[[Sides], object]
    lacks: Callable[[Sides], str] = lambda sides: ""


def _where(sides: Sides) -> np.ndarray | None:
    """The elements to measure; None: all."""
    missing, alive = sides.pair.missing, sides.pair.alive
    if alive is None:
        return missing
    return np.broadcast_to(alive, sides.pair.a.shape) & (True if missing is None else missing)


def _peak(sides: Sides) -> float:
    """Range of the values."""
    if sides.given.get("peak") is not None:
        return sides.given["peak"]
    return 255.0 if sides.pair.kind == "image" and sides.pair.a.dtype == np.uint8 else 1.0


def _no_peak(sides: Sides) -> str:
    known = sides.given.get("peak") is not None or sides.pair.kind in ("image", "audio")
    way = "give --peak, or use nmse"
    return "" if known else f"needs the range of the values, which a {sides.pair.kind} does not have: {way}"


def _no_gaps(sides: Sides) -> str:
    return "" if sides.pair.missing is not None else "needs to know the gaps: --where missing --fragment FILE"


def _rate(sides: Sides) -> float:
    """Of the sounds, in Hz."""
    return sides.pair.rate


def _no_rate(sides: Sides) -> str:
    return "" if sides.pair.rate else "needs the sample rate, which these do not say: give sound files, such as WAV"


def _no_bits(sides: Sides) -> str:
    way = "compare the stream"
    return "" if sides.pair.bits is not None else f"needs the cost of the fragment, which a file does not say: {way}"


def _no_slope(sides: Sides) -> str:
    from .slopes import narrow, unfit

    shape = sides.pair.a.shape
    return narrow(*shape[2:]) if sides.pair.kind == "image" else unfit(shape[2], sides.pair.front)


def _no_rdm(sides: Sides) -> str:
    return "" if sides.given.get("rdm") is not None else "needs dissimilarities of subjects: --rdm FILE"


def _no_boundaries(sides: Sides) -> str:
    known = sides.pair.boundaries is not None
    return "" if known else "needs labels with times: TextGrids, .lab, JSON, or streams that have spans"


def _no_ids(sides: Sides) -> str:
    way = "boundary-matched compares phone classes"
    return "" if sides.pair.same else f"compares ids, and these are of two alphabets or lengths: {way}"


def _train(sides: Sides):
    from .training import Training

    return Training(sides.given["train"], sides.pair.a)


def _no_train(sides: Sides) -> str:
    return "" if sides.given.get("train") is not None else "needs the items that a model was trained on: --train STORE"


def _no_judge(sides: Sides) -> str:
    return "" if sides.given.get("judge") is not None else "needs a judge: --judge MODEL, of lem-train classifier"


def _truth(sides: Sides):
    """Classes of the originals, int64 [N]."""
    seen: Any = sides.resource("judge")
    return seen.truth


def _no_truth(sides: Sides) -> str:
    court: Any = sides.given.get("judge")
    known = court is not None and court.knows(sides.pair)
    return "" if known else "needs the classes of the originals: --judge MODEL --labels FILE[:COLUMN]"


def _labelled(sides: Sides) -> tuple[np.ndarray, list[str] | None]:
    """(classes of the originals, int64 [N], their words or None): those in --labels, else those that they have."""
    from ..media.labels import classes_of

    given, pair = sides.given.get("classes"), sides.pair
    return (pair.label, None) if given is None else classes_of(given, len(pair), pair.names)


def _no_classes(sides: Sides) -> str:
    known = sides.given.get("classes") is not None or sides.pair.label is not None
    return "" if known else "needs the classes of the originals: --labels FILE[:COLUMN]"


def _spectra(sides: Sides):
    """Of the originals, of the recalled."""
    from .spectral import Spectrum

    return Spectrum(sides.pair.a, "original"), Spectrum(sides.pair.b, "recalled")


RESOURCES: dict[str, Resource] = {
    "peak": Resource(_peak, _no_peak),
    "shared": Resource(lambda sides: {}),  # where metrics of one family keep what they have in common
    "where": Resource(_where),
    "gaps": Resource(lambda sides: sides.pair.missing, _no_gaps),
    "rate": Resource(_rate, _no_rate),
    "kind": Resource(lambda sides: sides.pair.kind),
    "front": Resource(lambda sides: sides.pair.front, _no_slope),  # what made spectra, or None
    "bits": Resource(lambda sides: sides.pair.bits, _no_bits),
    "train": Resource(_train, _no_train),
    "rdm": Resource(lambda sides: sides.given["rdm"], _no_rdm),
    "boundaries": Resource(lambda sides: sides.pair.boundaries, _no_boundaries),
    "ids": Resource(lambda sides: None, _no_ids),
    "judge": Resource(lambda sides: sides.given["judge"](sides.pair), _no_judge),
    "truth": Resource(_truth, _no_truth),
    "labelled": Resource(_labelled, _no_classes),
    "classes": Resource(lambda sides: sides.resource("labelled")[0], _no_classes),
    "words": Resource(lambda sides: sides.resource("labelled")[1], _no_classes),
    "spectra": Resource(_spectra),
}
