"""Lost or quantised coefficients of a spectrum, by the sound that agrees best with what is left of them.

A transform that holds every sample several times is known from a part of its coefficients: at a hop of a quarter of the
window an STFT has four times as many as the sound has samples. With A the transform, M the coefficients that are known
and W the emphasis of the rows, the sound x minimises |M (y - A x)|^2 under W: its normal equations A' W M A x = A' W M y
are solved by conjugate gradients on x (CGLS; Hestenes & Stiefel 1952; Bjoerck 1996, 7.4), preconditioned by
their diagonal where frames are known whole or not at all. They start from silence, so what no coefficient holds stays silent, as the smallest of all answers.
Where little is left (60 % and more lost at random, bands, blocks) the equations are so ill-conditioned that they end at
the greatest number of steps, before the answer: one that is regularised, as it is called, by stopping early.

Samples that no coefficient sees, as where neighbouring frames are lost whole, are a gap in the sound, and filled as
one (gaps.fill_gaps). Quantised coefficients: those in bins without an end count as lost at first; then x moves to the
spectra inside the bins by accelerated projections (FISTA: Beck & Teboulle 2009), which minimise the squared distance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from ..fragment.evidence import Evidence, evidence
from ..progress import steps
from ..signal import LemError, Signal
from ..transforms import Front
from ..transforms.history import front as front_of
from .gaps import fill_gaps

TOLERANCE, MOST = 1e-10, 200  # of the first gradient; conjugate gradients
ROUGH, FEW = 1e-5, 60  # the same before the projections
PROJECTIONS = 40
UNSEEN = 1e-8, 3e-3  # of what all frames hold of a sample: where less is left it is a gap; of exact and of other values
STILL = 1e-12  # of the largest diagonal: below, a sample does not move


def linear(signal: Signal) -> Front | None:
    """The front end of complex spectra whose transform can be solved for; None for all else."""
    made = front_of(signal.history) if signal.kind == "spectrum" else None
    return made if made is not None and made.is_complex and made.plain is not None else None


def least_squares(steps: int | None = None) -> Callable[[Signal], tuple[Signal, list[str]]]:
    """The method: batches of fragments of spectra [N, 2C, F, T], whole again, and what was done. steps: of conjugate
    gradients at most; None: MOST, of quantised coefficients FEW."""
    return partial(recall, most=steps)


def recall(signal: Signal, most: int | None = None) -> tuple[Signal, list[str]]:
    """Spectra of the sounds that agree best with the fragments; exact coefficients stay as they are, quantised ones end
    in their bins. Raises LemError for what no linear transform on record made."""
    made = linear(signal)
    if made is None:
        raise LemError(
            "--method least-squares is for complex spectra with a record of the transform that made them, as of "
            "lem-encode --encoder stft; use decode"
        )
    seen = evidence(signal)
    made.check_spectrum(seen.value)
    out: np.ndarray = np.empty(seen.value.shape, np.float32)
    done = Done()
    for i in range(len(out)):
        for c in range(0, out.shape[1], 2):
            pair = slice(i, i + 1), slice(c, c + 2)
            known = Evidence(
                np.ascontiguousarray(seen.value[pair]),
                np.ascontiguousarray(seen.observed[pair]),
                np.ascontiguousarray(seen.low[pair]),
                np.ascontiguousarray(seen.high[pair]),
                np.ascontiguousarray(seen.width[pair]),
                seen.sigma[i : i + 1],
            )
            out[pair] = known.hold(spectrum(made, known, done, most))
    data = out.astype(signal.whole_dtype, copy=False)
    return replace(signal, data=data, mask=None, codes=None, ops=[]), done.said()


def spectrum(made: Front, known: Evidence, done: Done, most: int | None = None) -> np.ndarray:
    """float32 [1, 2, F, T]: that of the sound which agrees best with what is known of one complex channel."""
    front = made.plain
    assert front is not None
    value, observed = made.expanded(known.value), known.observed
    if value is not known.value:  # magnitudes were raised to a power: a part without the other says nothing
        observed = np.broadcast_to(observed.all(1, keepdims=True), observed.shape)
    bins = bool((known.observed & (known.low < known.high)).any())
    exact = not bins and not known.sigma.any()
    ended = observed & np.isfinite(known.low) & np.isfinite(known.high)
    if value is not known.value:
        ended = np.broadcast_to(ended.all(1, keepdims=True), ended.shape)
    tolerance, usual = (TOLERANCE, MOST) if exact else (ROUGH, FEW)
    solved = Solved(front, value, ended if ended.any() else observed, tolerance, most or usual)
    done.add("least squares: {} conjugate gradients", solved.count)
    done.add("least squares: {} of the first gradient left", solved.left)
    x = solved.sound
    if bins:
        x = projected(made, x, known)
        done.add("bits: {} projections into the bins", PROJECTIONS)
    unseen = solved.unseen(observed, exact)
    if unseen.any() and not unseen.all():
        x = fill_gaps(x[None], ~unseen, made.rate)[0]
        done.add("lost: autoregressive interpolation of {} samples that no coefficient holds", int(unseen.sum()))
    return made.squeezed(front.encode(x[None, None].astype(np.float32)))


class Solved:
    """The sound [samples] of a linear front end for which `value` [1, 2, F, T] is right where `known`, in least squares.

    sound, count: of the steps that were taken; left: the gradient then, of the first one; frames: whether each frame is
    known whole or not at all.
    """

    def __init__(self, front: Front, value: np.ndarray, known: np.ndarray, tolerance: float, most: int):
        self.front, weight = front, front.emphasis[:, None] * known
        self.whole, held = front.cover(np.ones(front.shape)), known[0].mean(axis=(0, 1))
        self.frames = bool(((held == 0) | (held == 1)).all())
        # Of whole frames the system is its diagonal; elsewhere dividing by it would prefer answers that are large where
        # little is known, and rows that are lost make these huge.
        diagonal = front.cover(known[0].mean(axis=0)) if self.frames else self.whole
        if diagonal is None:
            diagonal = np.ones(front.samples)
        over = np.divide(1, diagonal, out=np.zeros_like(diagonal), where=diagonal > STILL * diagonal.max(initial=0))
        x, rest = np.zeros(front.samples), np.where(known, value, 0)
        slope = front.adjoint(weight * rest)[0, 0].astype(np.float64)
        way = over * slope
        size = first = float(way @ slope)
        self.count = 0
        for _ in steps(range(most), "conjugate gradients"):
            if size <= tolerance**2 * first:
                break
            self.count += 1
            seen = front.encode(way[None, None].astype(np.float32))
            power = float((weight * seen * seen).sum(dtype=np.float64))
            if power <= 0:
                break
            x += size / power * way
            rest = rest - np.float32(size / power) * seen
            slope = front.adjoint(weight * rest)[0, 0].astype(np.float64)
            last, size = size, float(slope @ (over * slope))
            way = over * slope + size / last * way
        self.sound, self.left = x, (size / first) ** 0.5 if first else 0.0

    def unseen(self, observed: np.ndarray, exact: bool) -> np.ndarray:
        """bool [samples]: those of which next to nothing is in coefficients that are observed."""
        cover = self.front.cover(observed[0].mean(axis=0))
        if cover is None or self.whole is None:
            return np.zeros(len(self.sound), bool)
        return np.asarray((cover < UNSEEN[0 if exact and self.frames else 1] * self.whole) & (self.whole > 0))


def projected(made: Front, x: np.ndarray, known: Evidence) -> np.ndarray:
    """The sound x [samples] moved towards those whose spectra lie between known.low and known.high.

    Where magnitudes were raised to a power, bins are boxes there, and no longer convex: a descent all the same.
    """
    front = made.plain
    assert front is not None
    if (whole := front.cover(np.ones(front.shape, bool))) is None:
        return x
    over = np.divide(1, whole, out=np.zeros_like(whole), where=whole > STILL * whole.max())
    ahead, turn = x, 1.0
    for _ in steps(range(PROJECTIONS), "projections"):
        now = front.encode(ahead[None, None].astype(np.float32))
        inside = made.expanded(np.clip(made.squeezed(now), known.low, known.high))
        new = ahead + over * front.adjoint(front.emphasis[:, None] * (inside - now))[0, 0]
        turn, last = (1 + (1 + 4 * turn * turn) ** 0.5) / 2, turn
        ahead, x = new + (last - 1) / turn * (new - x), new
    return x


class Done:
    """What was done, each thing once, with the range of its numbers over items and channels."""

    def __init__(self) -> None:
        self.numbers: dict[str, list[float]] = {}

    def add(self, text: str, number: float) -> None:
        """text: with {} for the number."""
        self.numbers.setdefault(text, []).append(number)

    def said(self) -> list[str]:
        """In the order in which things were first done."""
        ends = {text: dict.fromkeys((min(n), max(n))) for text, n in self.numbers.items()}
        return [text.format(" to ".join(f"{n:.3g}" if n < 1 else f"{n:.0f}" for n in e)) for text, e in ends.items()]
