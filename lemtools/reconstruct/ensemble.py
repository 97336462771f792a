"""Recall of images by two that err differently: a network, and what needs no training, averaged.

The mean of two estimates errs less than the better one where their errors differ (stacking: Wolpert 1992, Breiman 1996).
How much each counts is decided image by image. Of bits alone the depth says it: the network knows what the coarse bins
of photos hide, shrinkage is the closer one in fine bins. Of lost pixels a trial says it: some of the observed ones are
held out, both recall them, and the weight is the least squares one. Where lost pixels lie otherwise than single ones
held out do (patches, blocks, rows), or bins are too coarse to score by, there is no trial.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..fragment.evidence import evidence
from ..restore.steps import undone
from ..signal import LemError, Signal
from . import shrink, tiles
from .learned import Beside, NetworkRecaller

# The network's weight by depth in bits; above, it has none. Set on crops of 81 images of many kinds, see docs/recall.md.
WEIGHTS = {1: 1.0, 2: 0.85, 3: 0.8, 4: 0.6, 5: 0.4}
SCORED = 5  # bits from which the middle of a bin is near enough to the truth to score a trial by
HELD = 0.12  # of the observed pixels, held out
SIDE = 96  # px: of the windows, one in each quarter of the image, on which the trial is made
PRIOR, DOUBT = 0.9, 300  # the network's weight before the trial, worth so many held-out values
WORTH = 10**0.01  # .1 dB: of less gain the second recall is not worth its time
STRIPS = tiles.Pieces(
    1, 512
)  # in which what is observed is put back: its evidence takes many times the memory of pixels
STEP = 1 / 20  # weights are rounded, so that another device's rounding errors do not show
ALIKE = 0.1  # largest difference between the shares of lost and of held-out pixels that have an observed neighbour


class Ensemble(NetworkRecaller):
    """A network for images made ready, averaged with `smooth` (quantised values) or `inpaint` (exact ones).

    Takes a network of one answer for images that comes back with what it was given: 'net' of the same file is its other
    half. Arguments, answers and errors as of `NetworkRecaller`; LemError for another kind of network.
    """

    def __init__(self, model, **options):
        super().__init__(model, **options)
        if self.family != "estimate" or not self.same or self.meta["kind"] != "image":
            raise LemError(
                f"--method ensemble averages networks that give one answer for images; {self.name} is another"
            )
        self.method = "ensemble"

    def _estimate(self, whole: Signal, dtype: np.dtype, beside: Beside | None = None) -> tuple[np.ndarray, list[str]]:
        quantised = whole.codes is not None
        weights = np.array([self._weight(whole.take([i])) for i in range(len(whole))])
        data, done = np.empty(whole.data.shape, dtype), []
        for chosen in (weights == 1, (weights > 0) & (weights < 1), weights == 0):
            if not chosen.any():
                continue
            part, share = whole.take(np.flatnonzero(chosen)), weights[chosen]
            if share[0] == 1:
                data[chosen], steps = super()._estimate(part, dtype)
                done += steps
                continue
            plain, _, means = undone(
                part, "smooth" if quantised else "middle", "inpaint", together=shrink.on(self.device)
            )
            if share[0]:
                data[chosen], steps = super()._estimate(part, dtype, _averaged(plain, share))
                done += [*steps, f"averaged: {_range(1 - share)} of {' and '.join(means)}"]
            else:
                data[chosen] = tiles.apply(self._kept(plain, dtype), part, STRIPS, dtype)
                done += means
        return data, list(dict.fromkeys(done))

    def _kept(self, plain: np.ndarray, dtype: np.dtype) -> Callable[[Signal, tiles.Place], np.ndarray]:
        """(window, place) -> these values there, with what was observed in its place."""
        return lambda window, place: self._put(_at(plain, place), window, evidence(window), dtype)

    def _weight(self, item: Signal) -> float:
        """The network's weight for one framed item."""
        depth = None if item.code_op is None else int(np.max(item.code_op["bits"]))
        by_depth = 1.0 if depth is None else WEIGHTS.get(depth, 0.0)
        observed = item.observed()
        if observed.all():
            return by_depth
        spots = np.random.default_rng(0).random(observed.shape[-2:]) < HELD
        held = observed & spots
        if (
            not held.any()
            or abs(_beside_observed(~observed, observed) - _beside_observed(held, observed & ~spots)) > ALIKE
        ):
            return 1.0
        if depth is not None and depth < SCORED:
            return by_depth
        return self._tried(item, held)

    def _tried(self, item: Signal, held: np.ndarray) -> float:
        """The weight by which the two together err least on pixels `held` out, in windows of the item."""
        height, width = held.shape[-2:]
        starts = [sorted({(n - min(SIDE, n)) // 4, (n - min(SIDE, n)) * 3 // 4}) for n in (height, width)]
        windows = [tuple(slice(a, a + SIDE) for a in (y, x)) for y in starts[0] for x in starts[1]]
        out = np.concatenate([held[(..., *sides)] for sides in windows])
        if out.sum() < DOUBT:
            return 1.0
        rest = replace(item, mask=item.observed() & ~held)
        whole, rest = (Signal.concat([tiles.window(signal, sides) for sides in windows]) for signal in (item, rest))
        rest = replace(rest, data=rest.data * rest.mask, codes=None if rest.codes is None else rest.codes * rest.mask)
        truth, seen = evidence(whole).value, evidence(rest)
        network = seen.hold(self._values(self._asked(self._condition(seen, self.meta["item"][0])), rest))
        values = "middle" if rest.codes is None else "smooth"
        plain = undone(rest, values, "inpaint", together=shrink.on(self.device))[0]
        a, b = (np.float64((np.clip(x, 0, 1) - truth)[out]) for x in (network, plain))
        apart = np.sum((a - b) ** 2)
        best = np.sum(b * (b - a)) / apart if apart else PRIOR
        weight = np.clip((out.sum() * best + DOUBT * PRIOR) / (out.sum() + DOUBT), 0, 1)
        weight = float(np.round(weight / STEP) * STEP)
        gains = np.sum(a**2) > WORTH * np.sum((weight * a + (1 - weight) * b) ** 2)
        return 0.0 if weight < 0.15 else weight if gains else 1.0


def _averaged(plain: np.ndarray, share: np.ndarray) -> Beside:
    """The network's values, inside their intervals, averaged with these [N, C, H, W]; share [N]: the network's."""

    def averaged(values, seen, place):
        w = np.float32(share[place[0]]).reshape(-1, 1, 1, 1)
        return w * seen.hold(values) + (1 - w) * _at(plain, place)

    return averaged


def _at(values: np.ndarray, place: tiles.Place) -> np.ndarray:
    items, sides = place
    return values[items] if sides is None else values[(items, slice(None), *sides)]


def _beside_observed(which: np.ndarray, observed: np.ndarray) -> float:
    """The share of `which` pixels that have an observed one above, below, left or right; both bool [..., H, W]."""
    near = np.zeros_like(observed)
    near[..., 1:, :] |= observed[..., :-1, :]
    near[..., :-1, :] |= observed[..., 1:, :]
    near[..., 1:] |= observed[..., :-1]
    near[..., :-1] |= observed[..., 1:]
    return float(near[which].mean())


def _range(values: np.ndarray) -> str:
    low, high = f"{values.min():.2g}", f"{values.max():.2g}"
    return low if low == high else f"{low} to {high}"


def ensemble(memory=None, model=None, **options) -> Ensemble:
    """What recalls by a network and without one."""
    return Ensemble(model, **options)
