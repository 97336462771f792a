"""The spectrum of a set of embeddings: effective ranks, decay, condition. One number for each of the two sets.

A set is [N,D]; of [N,L,D] an item is one vector of L D numbers. Every number comes from one triangle a set: R of a QR
factorisation, in float64, built block by block (Demmel et al. 2012, "TSQR"), whose singular values are those of the
set. A Gram matrix would square them, and lose half the digits of a condition number. Memory: a block, and R, whose side
is the smaller of N and D. R also yields the spectrum before centring, in which RankMe is defined: the mean is one more
row.

Read the numbers of a set beside each other and beside those of the originals, at one N: an effective rank is at most
min(N, D), and even of isotropic data it stays below D until N is many times D.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property

import numpy as np

from .summary import Whole

_TILE = 1 << 23  # numbers of a block in float64: 64 MiB
FIRST = 11  # the first eigenvalue in the fit of alpha-ReQ (Stringer et al. 2019 fit from there)


def triangle(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """R [at most F, F], upper triangular, of the QR factorisation of blocks [m, F] stacked, float64."""
    r = None
    for block in blocks:
        r = np.linalg.qr(block if r is None else np.concatenate((r, block)), mode="r")
    return r


class Spectrum:
    """Singular values of a set x [N, ...]: `values` about its mean, `raw` about zero, both descending, in float64.

    of: what the set is called in errors. Values that rounding alone would make (up to max(N, D) eps of the largest) are
    0. ValueError: fewer than 2 items, or a value that is not finite.
    """

    def __init__(self, x: np.ndarray, of: str = "original"):
        self.x = x.reshape(len(x), -1)
        self.n, self.dim = self.x.shape
        if self.n < 2:
            raise ValueError(f"a spectrum needs at least 2 items, not {self.n}")
        self.step = max(1, _TILE // self.dim)
        self.mean = np.zeros(self.dim)
        for i in range(0, self.n, self.step):
            block = self.x[i : i + self.step]
            if not np.isfinite(block).all():
                bad = i + int(np.argmin(np.isfinite(block).all(axis=1)))
                raise ValueError(f"{of} embedding {bad} is not finite")
            self.mean += block.sum(0, dtype=np.float64) / self.n

    @property
    def least(self) -> float:
        """An item, less the mean, that is no longer than this is rounding."""
        return max(self.n, self.dim) * np.finfo(np.float64).eps * float(np.linalg.norm(self.mean))

    def rows(self, step: int = 0) -> Iterator[np.ndarray]:
        """The items less their mean, float64, in blocks [m, D]."""
        for i in range(0, self.n, step := step or self.step):
            yield self.x[i : i + step] - self.mean

    def columns(self, step: int = 0) -> Iterator[np.ndarray]:
        """The same in blocks [N, m]."""
        for i in range(0, self.dim, step := step or max(1, _TILE // self.n)):
            yield self.x[:, i : i + step] - self.mean[i : i + step]

    @cached_property
    def _triangle(self) -> np.ndarray:
        """R of the centred items [D, D]; where D >= N, of their transpose, the mean its last column [., N+1]."""
        least = min(self.n + 1, self.dim)
        step = max(least, _TILE // least)
        if self.n > self.dim:
            return triangle(self.rows(step))
        means = (self.mean[i : i + step] for i in range(0, self.dim, step))
        return triangle(np.column_stack((block.T, mean)) for block, mean in zip(self.columns(step), means))

    @cached_property
    def values(self) -> np.ndarray:
        """[min(N - 1, D)] of the items less their mean; their squares over N - 1 are the covariance's eigenvalues."""
        r = self._triangle if self.n > self.dim else self._triangle[:, :-1]
        return self._cut(np.linalg.svd(r, compute_uv=False)[: min(self.n - 1, self.dim)])

    @cached_property
    def raw(self) -> np.ndarray:
        """[min(N, D)] of the items as they are."""
        r = self._triangle
        if self.n > self.dim:
            r = np.concatenate((r, np.sqrt(self.n) * self.mean[None]))
        else:
            r = r[:, :-1] + r[:, -1:]
        return self._cut(np.linalg.svd(r, compute_uv=False)[: min(self.n, self.dim)])

    def _cut(self, values: np.ndarray) -> np.ndarray:
        rounding = max(self.n, self.dim) * np.finfo(np.float64).eps * values[0] + np.sqrt(self.n) * self.least
        return np.where(values > rounding, values, 0.0)

    @property
    def eigenvalues(self) -> np.ndarray:
        """[min(N - 1, D)] of the sample covariance, descending."""
        return self.values**2 / (self.n - 1)

    def axes(self, k: int) -> np.ndarray:
        """The first k principal axes [D, k], of length 1; of directions without variance, zero."""
        if self.n > self.dim:
            return np.linalg.svd(self._triangle)[2][:k].T
        _, values, weights = np.linalg.svd(self._triangle[:, :-1])
        axes, at = np.zeros((self.dim, k)), 0
        for block in self.rows():
            axes += block.T @ weights[:k, at : at + len(block)].T
            at += len(block)
        return axes / np.where(values[:k] > 0, values[:k], 1)


def exp_entropy(weights: np.ndarray) -> float:
    """exp(-sum p log p), p = weights / sum of weights, 0 log 0 = 0: how many equal weights would be as even. nan of 0s."""
    p = weights[weights > 0] / (weights.sum() or 1.0)
    return float(np.exp(-(p @ np.log(p)))) if len(p) else np.nan


Spectra = tuple[Spectrum, Spectrum]  # of the originals, of the recalled


def rankme(a: np.ndarray, b: np.ndarray, *, spectra: Spectra) -> Whole:
    """RankMe: exp-entropy of the normalised singular values, the mean not removed. `rankme[recalled]`.

    Garrido et al. 2023, without their epsilon of 1e-7. From 1 to min(N, D).
    """
    one, other = (exp_entropy(s.raw) for s in spectra)
    return Whole(other, one)


def effective_rank(a: np.ndarray, b: np.ndarray, *, spectra: Spectra) -> Whole:
    """Exp-entropy of the normalised eigenvalues of the covariance. `effective_rank[recalled,eigenvalues]`.

    The entropy of squared singular values: a smaller number than RankMe's, of centred data. From 1 to min(N - 1, D).
    """
    one, other = (exp_entropy(s.eigenvalues) for s in spectra)
    return Whole(other, one)


def participation_ratio(a: np.ndarray, b: np.ndarray, *, spectra: Spectra) -> Whole:
    """(sum of eigenvalues)^2 / sum of their squares, of the covariance. `participation_ratio[recalled]`.

    From 1 to min(N - 1, D); isotropic data have about D / (1 + D / N).
    """

    def ratio(s: Spectrum) -> float:
        p = s.eigenvalues / (s.eigenvalues.sum() or np.nan)
        return float(1 / (p @ p))

    one, other = map(ratio, spectra)
    return Whole(other, one)


def condition(a: np.ndarray, b: np.ndarray, *, spectra: Spectra) -> Whole:
    """Largest over smallest singular value of the centred items. `condition[recalled]`.

    inf where they do not span all D dimensions; its square is the covariance's. ValueError where N <= D: then they
    cannot.
    """

    def ratio(s: Spectrum) -> float:
        if s.n <= s.dim:
            raise ValueError(f"{s.n} items cannot span {s.dim} dimensions: it needs more items than dimensions")
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(s.values[0] / s.values[-1])

    one, other = map(ratio, spectra)
    return Whole(other, one)


def alpha_req(a: np.ndarray, b: np.ndarray, *, spectra: Spectra, k: int = 100) -> Whole:
    """Exponent of a power law in the covariance's eigenvalues, lambda_i ~ i^-alpha. `alpha_req[recalled,11-100]`.

    Agrawal et al. 2022: least squares of log lambda_i on log i for i = 11 .. k with weights 1/i, as in the code of
    Stringer et al. 2019. Where a set has fewer than k above 0, so many are fitted in both; the range is printed.
    ValueError where it would have fewer than 12.
    """
    rank = min(int(np.count_nonzero(s.values)) for s in spectra)
    if rank == 0:
        return Whole(np.nan, np.nan, "none")
    last = min(k, rank)
    if last < 2 * FIRST:
        raise ValueError(f"fits eigenvalues {FIRST} to at least {2 * FIRST}; asked are {k}, above 0 are {rank}")
    i = np.arange(FIRST, last + 1)
    w = 1 / i / (1 / i).sum()
    x = np.log(i) - w @ np.log(i)
    one, other = (float(-(w * x) @ np.log(s.eigenvalues[FIRST - 1 : last]) / (w @ x**2)) for s in spectra)
    return Whole(other, one, f"{FIRST}-{last}")
