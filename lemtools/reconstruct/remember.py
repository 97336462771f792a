"""Recall from a store of whole memories: associative (softmax over what is stored) or Gaussian (mean, covariance)."""

from dataclasses import replace
from typing import Any

import numpy as np

from ..catalogue.denoisers import DENOISERS
from ..denoise.how import How
from ..denoise.store import Store
from ..device import pick
from ..fragment.evidence import bin_std, evidence, foreign
from ..rng import generator
from ..signal import LemError, Signal
from . import tiles


class Recaller:
    """The memory, prepared once; called with fragments, it answers with what they recall.

    memory: [N, ...item], uint8 or float (what lies on disk is read in tiles, what is kept as codes decoded in tiles). method: 'recall' or 'gaussian'. sigma: noise on
    the observed values in units of full scale (embeddings: the values' own); None: from the fragment's operations.
    centred: compare by correlation (recall). unaware: lost values count as zeros (recall; the literature's control).
    answer: 'memory', or 'label': the posterior of the `classes` [N] of the memories, whole numbers from 0 (recall).
    shrink: ridge of the covariance relative to its mean eigenvalue, or 'oas' or 'ledoit-wolf' (gaussian). samples: 0
    for the posterior mean, else draws an item. seed: of the draws. device: 'auto', 'cpu', 'cuda', 'mps'.
    """

    def __init__(
        self,
        memory,
        method: str,
        *,
        sigma: float | None = None,
        centred: bool = False,
        unaware: bool = False,
        answer: str = "memory",
        classes: np.ndarray | None = None,
        shrink: float | str = 1e-4,
        samples: int = 0,
        seed: int = 0,
        device: str = "auto",
    ):
        self.memory, self.method, self.sigma, self.centred, self.unaware = memory, method, sigma, centred, unaware
        self.shrink, self.samples, self.seed = shrink, samples, seed
        self.classes = _classes(answer, classes, samples, len(memory))
        self.known = known_of(memory, None if method == "recall" else f"--method {method}")
        try:
            row = DENOISERS[method]
            there = pick(device, float64=not row.plain)
            self.core: Any = row.load()(Store(memory, device=there), How(there, shrink=shrink))
        except ValueError as error:
            raise LemError(f"memory: {error}") from error

    def __call__(self, signal: Signal) -> tuple[Signal, list[str]]:
        """(recalled, steps). With samples = M every item comes back M times in a row, named NAME#0 ... NAME#M-1."""
        position = len(signal.ops)
        if (other := foreign(signal.ops)) is not None:
            raise LemError(f"--method {self.method} compares elements at their full resolution; use auto for --{other}")
        if signal.kind == "tokens":
            raise LemError(f"--method {self.method} does not suit tokens: an index has no distance")
        variance = self._variance(signal)
        seen = evidence(signal)
        framed, observed = replace(signal, data=seen.value, mask=None, codes=None, ops=[]), seen.observed
        if framed.data.shape[1:] != self.memory.shape[1:]:
            stored, asked = (list(data.shape[1:]) for data in (self.memory, framed.data))
            raise LemError(f"memories of shape {stored} cannot recall items of {asked}")
        if self.known is not None:  # what the memories themselves have lost is compared with nothing
            observed = observed & self.known
        draws = [generator(self.seed, int(i), position, self.method) for i in signal.index] if self.samples else None
        query, dtype = framed.data, signal.whole_dtype
        if self.method == "recall":
            sigma = None if variance is None else np.sqrt(np.maximum(variance, 1e-12))
            found = self.core.recall(
                query,
                observed,
                sigma,
                centred=self.centred,
                unaware=self.unaware,
                samples=self.samples,
                generators=draws,
                classes=self.classes,
            )
            if self.classes is not None:
                return _of_labels(framed, found.mean), [
                    f"recall: posterior of the labels of {len(self.memory)} memories"
                ]
            if self.samples:
                values = self.core.store.rows(found.sampled.reshape(-1)).numpy()
            else:
                values = found.mean
            ways = [w for w, on in (("centred", self.centred), ("unaware of the mask", self.unaware)) if on]
            what = "draws from the" if self.samples else "mean under the"
            step = f"recall: {what} softmax over {len(self.memory)} memories" + (f", {', '.join(ways)}" if ways else "")
        else:
            noise = 0.0 if variance is None else variance
            if self.samples:
                values = self.core.sample(query, observed, noise, samples=self.samples, generators=draws)
            else:
                values = self.core.conditional(query, observed, noise)
            what = "samples" if self.samples else "mean"
            step = f"gaussian: conditional {what}, {len(self.memory)} memories, shrink {self.shrink}"
        values = np.asarray(values, np.float32).reshape(-1, *query.shape[1:])
        if dtype == np.uint8:
            values = np.rint(np.clip(values * 255, 0, 255)).astype(np.uint8)
        out = tiles.repeated(framed, self.samples) if self.samples else framed
        return replace(out, data=values, mask=None, codes=None, ops=[]), [step]

    def _variance(self, signal: Signal) -> np.ndarray | None:
        """Variance of the observed values about the truth: [N, 1, ...] of noise and bins, or None where exact."""
        shape = (len(signal), *[1] * (signal.data.ndim - 1))
        if self.sigma is not None:
            return np.full(shape, self.sigma**2) if self.sigma > 0 else None
        total, bins, known = np.zeros(shape), np.zeros(shape), False
        for op in signal.ops:  # of quantisers in a row the last one counts, those before noise by themselves
            if op["op"] == "noise":
                sigma = op["std"] if "std" in op else np.broadcast_to(np.asarray(op["sigma"]), (len(signal),))
                total, bins = total + bins + np.asarray(sigma, np.float64).reshape(shape) ** 2, np.zeros(shape)
                known = True
            elif op["op"] == "bits":
                bins, known = (bin_std(op, len(signal)).astype(np.float64) ** 2).reshape(shape), True
        total = total + bins
        return total if known else None


def recall(memory=None, model=None, **options) -> Recaller:
    """Associative recall."""
    return Recaller(memory, "recall", **options)


def gaussian(memory=None, model=None, **options) -> Recaller:
    """The conditional mean of a Gaussian."""
    return Recaller(memory, "gaussian", **options)


def known_of(memory, method: str | None) -> np.ndarray | None:
    """bool, of an item's shape: what memories that are fragments have not lost; None: all. method: as it is called where it
    needs all of them. LemError for others, and for tokens."""
    if getattr(memory, "kind", "") == "tokens" or (memory.dtype != np.uint8 and memory.dtype.kind != "f"):
        raise LemError(
            f"memory: {memory.dtype} values are tokens, without a distance; give images, sounds, spectra or embeddings, or "
            "what decodes the tokens: --memory-model FILE"
        )
    known: np.ndarray | None = getattr(memory, "known", None)
    if known is not None and method:
        raise LemError(f"memory: {int(known.sum())} of {known.size} dimensions are kept; {method} needs all of them")
    return known


def _classes(answer: str, classes: np.ndarray | None, samples: int, count: int) -> np.ndarray | None:
    if answer == "memory":
        return None
    if samples:
        raise LemError("--answer label has the probability of every label: leave out --samples")
    if classes is None or classes.shape != (count,):
        raise LemError(f"--answer label: {0 if classes is None else len(classes)} labels for {count} memories")
    return classes


def _of_labels(asked: Signal, posterior: np.ndarray) -> Signal:
    """An embedding [N, K] of probabilities; `label` is the likeliest, of equals the first."""
    likely = posterior.argmax(1).astype(np.int64)
    data = posterior.astype(np.float32)
    return replace(asked, kind="embedding", data=data, label=likely, rate=None, spans=None, scores=None, tokens=None)
