"""Lost samples of a sound recalled from their neighbours by autoregressive interpolation.

A. J. E. M. Janssen, R. N. J. Veldhuis and L. B. Vries, "Adaptive interpolation of discrete-time signals that can be
modeled as autoregressive processes", IEEE Trans. ASSP 34(2), 1986: fit an AR model to the signal as it stands, put the
conditional mean of the lost samples under that model in their place, repeat.  How high the order should be depends on
the sound and on the gap, so models of several orders are tried, each starting from what the one before it made, and
averaged by how well they recall samples that were not lost: a probe, as long as the gap, on either side of it.
At low rates the innovations also have a variance that changes with time, estimated from the prediction error as in
iteratively reweighted least squares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from ..progress import steps
from .autoregression import TOGETHER, conditional_mean, continued, cross_faded, fitted, weighted_least_squares

MODELS = (0.125, 4), (0.25, 4), (0.5, 4), (1, 4), (2, 8), (3, 16)  # order, context on each side; unit: default order
LOW = 0.5, 0.75, 1  # orders where weighted least squares is cheap, context four of them; cross-fade of the last
WEIGHTED = 128, 512  # the order and the lost samples up to which it is cheap, O(n p^2 + n m^2)
SOLVES = 3  # of weighted least squares, for each of its models
CONTINUED = 0.25, 0.5, 1  # orders at the ends of the sound, where only one side is known
TRUST = 3  # weights are probe errors to the power -TRUST
QUIET = 1e-3  # of the louder probe's energy, added to both: a silent one says nothing
SCATTERED = 16  # samples: where the longest run is shorter, averaging models gains < .1 dB: one of the default order
PASSES = 3  # of that one

Model = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (sound as it stands [T], lost indices [n]) -> their values [n]

Probe = tuple[np.ndarray, np.ndarray, np.ndarray]  # a piece of the sound, where in it the probe lies, what was observed


class Group(NamedTuple):
    """Lost samples that are solved for jointly, by which models, and where those are tried (not at all: the last is kept)."""

    lost: np.ndarray
    models: Sequence[Model]
    probes: Callable[[np.ndarray, np.ndarray, np.ndarray, int], Iterator[Probe]] | None


def linear(y: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Linear interpolation of the lost samples (the control); beyond the outermost observed ones, the nearest value.

    y [C, T]; observed bool, broadcastable to it.  Returns [C, T] in y's dtype; a channel with nothing observed is zero.
    """
    x = np.array(y)
    n = np.arange(x.shape[-1])
    for channel, seen in zip(x, np.broadcast_to(np.asarray(observed, bool), x.shape)):
        channel[~seen] = np.interp(n[~seen], n[seen], channel[seen]) if seen.any() else 0
    return x


def fill_gaps(y: np.ndarray, observed: np.ndarray, rate: float = 44100, order: int | None = None) -> np.ndarray:
    """Interpolate every lost sample of a sound by Janssen's method; observed samples are returned as they are.

    y [C, T] in [-1, 1]; observed bool, broadcastable to it; rate in Hz sets the default order, 16 ms of samples (706 at
    44.1 kHz, 128 at 8 kHz).  Models of an eighth to three times that order, fitted under a Hann window over the gap and
    its context (MODELS), are averaged, weighted by the inverse cube of their error on probes: the same samples one
    length of the gap further on, and as far back, taken away and recalled in the same way.  Where the order is small
    (WEIGHTED) the models also follow the local level of the excitation, and a cross-fade of both sides is one more.
    What a lost sample of y holds does not matter; a channel with nothing observed is zero.
    Returns [C, T] in y's dtype.
    """
    x = np.array(y)
    order = order or max(32, round(0.016 * rate))
    for channel, seen in zip(x, np.broadcast_to(np.asarray(observed, bool), x.shape)):
        if not seen.any():
            channel[:] = 0
        elif not seen.all():
            channel[~seen] = _recalled(linear(channel[None].astype(np.float64), seen[None])[0], ~seen, order)[~seen]
    return x


def _recalled(x: np.ndarray, gap: np.ndarray, order: int) -> np.ndarray:
    """x [T], its lost samples filled in some way, filled by models; all gaps by the first model, then by the second ..."""
    groups = [_group(lost, longest, len(x), order) for lost, longest in _clusters(gap, order)]
    made: list[list[np.ndarray]] = [[] for _ in groups]
    for turn in range(max(len(group.models) for group in groups)):
        for group, values in steps([*zip(groups, made)], "gaps"):
            if turn < len(group.models):
                x[group.lost] = group.models[turn](x, group.lost)
                values.append(x[group.lost])
    for group, values in zip(groups, made):
        if group.probes:
            x[group.lost] = np.mean(values, 0)
    for group, values in steps([*zip(groups, made)], "probes"):
        if group.probes:
            x[group.lost] = _weights(x, gap, group, order) @ np.array(values)
    return x


def _group(lost: np.ndarray, longest: int, length: int, order: int) -> Group:
    """The models for a group of lost samples whose longest run is `longest`, in a sound of `length` samples."""
    # Scattered losses need no long memory: with half of the samples lost, order 64 does as well as 256.
    p = min(order, max(32, 8 * longest))
    before, after = int(lost[0]), length - 1 - int(lost[-1])
    if longest < SCATTERED:
        return Group(lost, PASSES * [partial(_janssen, order=p, context=4 * p)], None)
    if longest > TOGETHER and min(before, after) < p // 2:
        return Group(lost, [partial(_continued, order=round(scale * p)) for scale in CONTINUED], _before_the_end)
    if order <= WEIGHTED[0] and len(lost) <= WEIGHTED[1] and min(before, 4 * p) + min(after, 4 * p) >= 4 * p:
        models: list[Model] = [partial(_weighted, order=round(scale * p)) for scale in LOW]
        return Group(lost, [*models, *([partial(_cross_faded, order=p)] if longest == len(lost) else [])], _beside)
    room = min(before, after) - 3 * int(lost[-1] - lost[0] + 1)
    sizes = [(round(s * p), max(round(c * p), 2 * longest)) for s, c in MODELS if s <= 1 or s * p <= room]
    return Group(lost, [partial(_janssen, order=p, context=c) for p, c in sizes], _beside)


def _window(x: np.ndarray, lost: np.ndarray, context: int) -> tuple[np.ndarray, np.ndarray]:
    """A copy of x from context samples before the first lost one to as many behind the last, and lost within it."""
    start = max(0, int(lost[0]) - context)
    return x[start : lost[-1] + 1 + context].copy(), lost - start


def _janssen(x: np.ndarray, lost: np.ndarray, order: int, context: int) -> np.ndarray:
    """One pass of Janssen's method."""
    w, at = _window(x, lost, context)
    p = min(order, (len(w) - len(at)) // 2)
    if len(at) > TOGETHER:
        p = min(p, at[0], len(w) - 1 - at[-1])
    return conditional_mean(w, at, fitted(w, p))


def _weighted(x: np.ndarray, lost: np.ndarray, order: int) -> np.ndarray:
    """SOLVES passes in which the level of the excitation varies, the first one with the level all alike."""
    w, at = _window(x, lost, 4 * order)
    p = min(order, (len(w) - len(at)) // 4)
    variance = np.ones((2, len(w) - p))
    if w.any():
        for _ in range(SOLVES):
            w[at] = weighted_least_squares(w, at, p, variance)[1]
    return w[at]


def _cross_faded(x: np.ndarray, lost: np.ndarray, order: int) -> np.ndarray:
    w, at = _window(x, lost, 4 * order)
    return cross_faded(w[: at[0]], w[at[-1] + 1 :], len(at), order)


def _continued(x: np.ndarray, lost: np.ndarray, order: int) -> np.ndarray:
    """What follows from the longer side alone."""
    w, at = _window(x, lost, 4 * order)
    past, future = w[: at[0]], w[at[-1] + 1 :]
    if len(past) > len(future):
        return continued(past, len(at), order)
    return continued(future[::-1], len(at), order)[::-1]


def _weights(x: np.ndarray, gap: np.ndarray, group: Group, order: int) -> np.ndarray:
    """The weights [K] of a group's K models: inverse powers of their relative errors on probes, alike where none fits in."""
    energies, errors = [], []
    assert group.probes is not None
    for near, at, known in group.probes(x, gap, group.lost, max(MODELS[-1][1] * order, 2 * len(group.lost))):
        truth, missing = near[at], np.zeros(len(near), bool)
        missing[at] = True
        near = linear(near[None], ~missing[None])[0]
        error = []
        for model in group.models:
            near[at] = model(near, at)
            error.append(np.sum((near[at] - truth)[known] ** 2))
        energies.append(np.sum(truth[known] ** 2))
        errors.append(error)
    if not errors or max(energies) == 0:
        return np.full(len(group.models), 1 / len(group.models))
    relative = np.array(errors) / (np.array(energies) + QUIET * max(energies))[:, None]
    total = relative.sum(0) + 1e-9
    weights = (total / total.min()) ** -float(TRUST)
    return weights / weights.sum()


def _beside(x: np.ndarray, gap: np.ndarray, lost: np.ndarray, context: int) -> Iterator[Probe]:
    """Two lengths of the gap to each side, where there is room for a third and most was observed."""
    span = int(lost[-1] - lost[0]) + 1
    for shift in (-2 * span, 2 * span):
        at = lost + shift
        if at[0] >= span and at[-1] + span < len(x) and gap[at].mean() < 0.5:
            yield (*_window(x, at, context), ~gap[at])


def _before_the_end(x: np.ndarray, gap: np.ndarray, lost: np.ndarray, context: int) -> Iterator[Probe]:
    """The end of a sound that is cut off where the gap begins, or the beginning of one that starts where it ends."""
    n = len(lost)
    if lost[0] > len(x) - 1 - lost[-1]:
        start, stop = max(0, int(lost[0]) - context - n), int(lost[0])
        at = np.arange(stop - start - n, stop - start)
    else:
        start, stop = int(lost[-1]) + 1, min(len(x), int(lost[-1]) + 1 + n + context)
        at = np.arange(n)
    if stop - start > 2 * n and gap[start + at].mean() < 0.5:
        yield x[start:stop].copy(), at, ~gap[start + at]


def _clusters(gap: np.ndarray, reach: int) -> list[tuple[np.ndarray, int]]:
    """The lost indices in groups to solve for jointly, each with its longest run.

    Short runs are taken together while they start within reach of the first; a long run is a group by itself.
    """
    lost = np.flatnonzero(gap)
    groups: list[list[np.ndarray]] = []
    count = TOGETHER
    for run in np.split(lost, np.flatnonzero(np.diff(lost) > 1) + 1):
        if count + len(run) > TOGETHER or run[0] - groups[-1][0][0] > reach:
            groups.append([])
            count = 0
        groups[-1].append(run)
        count += len(run)
    return [(np.concatenate(group), max(map(len, group))) for group in groups]
