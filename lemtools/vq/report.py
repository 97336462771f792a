"""What a quantiser does to vectors, in numbers."""

from __future__ import annotations

import math

import numpy as np

from ..signal import LemError
from .bound import cosine_of, water_fill
from .frame import Vectors, checked_rows, row_blocks


def report(quantiser, vectors: Vectors) -> dict[str, float]:
    """How well vectors, best such as it was not fitted to, are coded; in one pass, x the vectors and y their recalls.

    vectors                   how many
    bits-nominal              bits a vector
    bits-entropy              sum of the entropies of the columns of codes, each by its own frequencies here (with less
                              than a few dozen vectors a code it comes out too low)
    dead[s], perplexity[s]    of stage s, over its groups: share of codes that no vector took (of K codes used evenly N
                              vectors miss (1 - 1/K)^N); 2^(mean entropy). perplexity[gain]: of the gain
    NMSE                      sum |x - y|^2 / sum |x - mean of these x|^2
    cosine, cosine-centred    mean cosine of x and y; of both less the mean of the vectors fitted to. Where a vector has
                              length 0: 1 if both have, else 0
    bound-NMSE, bound-cosine  of a Gaussian with the spectrum of the vectors fitted to, at bits-nominal; the cosine weighted
                              by energy, as of all vectors in a row, which in few dimensions may lie below their mean
    """
    counts = [np.zeros(levels, np.int64) for levels in quantiser.levels]
    n, error, square, cosine, centred, sums = 0, 0.0, 0.0, 0.0, 0.0, np.zeros(quantiser.dims)
    for first, block in row_blocks(vectors):
        x = checked_rows(block, quantiser.device, first, quantiser.dims).cpu().numpy().astype(np.float64)
        codes = quantiser.encode(block)
        y = quantiser.decode(codes)
        cosine += _cosines(x, y)
        x, y = x - quantiser.centre, y - quantiser.centre
        centred += _cosines(x, y)
        n, error, square, sums = n + len(x), error + ((x - y) ** 2).sum(), square + (x**2).sum(), sums + x.sum(0)
        for column, count in zip(codes.T, counts):
            count += np.bincount(column, minlength=len(count))
    if not n:
        raise LemError("no vectors to report on")
    spread = square - (sums**2).sum() / n
    entropy = np.array([_entropy(c / n) for c in counts])
    bound = float(water_fill(quantiser.spectrum, quantiser.bits).nmse)
    out = {"vectors": n, "bits-nominal": quantiser.bits, "bits-entropy": float(entropy.sum())}
    for s in range(quantiser.stages):
        columns = slice(s * quantiser.groups, (s + 1) * quantiser.groups)
        out[f"dead[{s + 1}]"] = float(np.mean([c == 0 for c in counts[columns]]))
        out[f"perplexity[{s + 1}]"] = float(2 ** entropy[columns].mean())
    if quantiser.gains is not None:
        out["perplexity[gain]"] = float(2 ** entropy[-1])
    return out | {
        "NMSE": float(error / spread) if spread > 0 else math.nan,
        "cosine": cosine / n,
        "cosine-centred": centred / n,
        "bound-NMSE": bound,
        "bound-cosine": cosine_of(bound),
    }


def _cosines(x: np.ndarray, y: np.ndarray) -> float:
    """Sum of the cosines of rows."""
    lengths = np.sqrt((x**2).sum(1) * (y**2).sum(1))
    both = (x == 0).all(1) & (y == 0).all(1)
    return float(np.divide((x * y).sum(1), lengths, out=both.astype(np.float64), where=lengths > 0).sum())


def _entropy(share: np.ndarray) -> float:
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum())
