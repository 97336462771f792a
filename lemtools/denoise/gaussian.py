"""The Gaussian prior: Wiener filter, conditional mean and posterior samples, all in closed form.

x ~ N(mean, covariance) in the coordinates of ``scale``. Ledoit & Wolf 2004 and Chen et al. 2010 (OAS) for the automatic
shrinkage; samples by conditioning prior samples (Matheron's rule; Hoffman & Ribak 1991).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from .contract import AlphaBar, Array, Scale, Some, flat, like, per_item, split
from .how import How, Stored
from .moments import Moments
from .store import Store

_GRID = -14, 6, 161  # of the search for a noise variance: decades of the largest eigenvalue, and how many
_STENCIL = torch.tensor(  # [5, 3]: the first three derivatives in the middle of five points, by their values
    [[1 / 12, -1 / 12, -1 / 2], [-2 / 3, 4 / 3, 1], [0, -5 / 2, 0], [2 / 3, 4 / 3, -1], [-1 / 12, -1 / 12, 1 / 2]],
    dtype=torch.float64,
)
_TINY, _HUGE = 1e-300, 1e200
_NEWTON = 2  # steps from there: relative errors of 1e-3, 1e-6, 1e-12


class Gaussian:
    """A Gaussian of known moments, as a denoiser and as a prior for fragments.

    mean: [...item]. covariance: [D, D], symmetric and positive semi-definite (positive definite for ``conditional``
    without noise), D the elements of an item. Everything is computed in float64 (on a device that has it).
    """

    def __init__(self, mean: Array, covariance: Array, scale: Scale | None = None, device: str = "cpu"):
        self.scale, self.device = scale or Scale(), torch.device(device)
        mean = torch.as_tensor(mean)
        self.item, self.dim = tuple(mean.shape), mean.numel()
        self.mean = mean.detach().to(self.device, torch.float64).reshape(-1)
        self.covariance = torch.as_tensor(covariance).detach().to(self.device, torch.float64)
        if self.covariance.shape != (self.dim, self.dim):
            raise ValueError(f"covariance has shape {tuple(self.covariance.shape)}: expected {(self.dim, self.dim)}")

    @classmethod
    def fit(
        cls, store: Array | Store, shrink: float | str = 1e-4, scale: Scale | None = None, device: str = "cpu"
    ) -> Gaussian:
        """Mean and shrunk covariance of a store, read twice in tiles, summed in float64. N < D is fine.

        shrink: a ridge, relative to the mean eigenvalue m (S + shrink m I), or "oas" or "ledoit-wolf" for the
        automatic (1 - r) S + r m I. Raises ValueError for another name, a negative ridge, or fewer than 2 memories.
        """
        store = store if isinstance(store, Store) else Store(store, scale, device=device)
        if len(store) < 2:
            raise ValueError("a covariance needs at least 2 memories")
        dim, count = store.dim, len(store)
        mean = store.mean.to(store.device)
        moments, fourth = Moments(mean), 0.0
        for _, tile in store.tiles(torch.float64):
            moments.add(tile)
            fourth += float((tile - mean).square().sum(1).square().sum())
        cov = moments.covariance
        level = float(cov.trace()) / dim
        keep, ridge = _shrinkage(shrink, count, dim, level, float((cov * cov).sum()), fourth / count)
        cov = cov.mul_(keep)
        cov.diagonal().add_(ridge * level)
        return cls(mean.reshape(store.item), cov, store.scale, str(store.device))

    @cached_property
    def spectrum(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Eigenvalues [D], ascending, not negative, and eigenvectors [D, D] of the covariance."""
        values, vectors = torch.linalg.eigh(self.covariance)
        return values.clamp(min=0), vectors

    @cached_property
    def _levels(self) -> _Levels:
        return _Levels(self.spectrum[0])

    def __call__(self, x_t: Some, alpha_bar: AlphaBar) -> Some:
        """E[x_0 | x_t]: the Wiener gain a s / (a^2 s + b^2) on each eigenvalue s; x_t: [N, ...item]."""
        x = flat(x_t, self.dim, "x_t").to(self.device)
        alpha_bar, noise = (t.to(self.device)[:, None] for t in split(alpha_bar, len(x)))
        values, vectors = self.spectrum
        amplitude = alpha_bar.sqrt()
        gain = amplitude * values / (alpha_bar * values + noise).clamp_min(1e-300)
        result = self.mean + (((x - amplitude * self.mean) @ vectors) * gain) @ vectors.T
        result = torch.where(alpha_bar == 0, self.mean, torch.where(noise == 0, x, result))
        return like(result, x_t)

    def level(self, x: Array) -> Array:
        """How much white noise is in each of x [N, ...item]: s [N] of greatest likelihood, where x ~ N(mean, covariance + s^2 I).

        It needs no training, and sees only what the covariance has little of: where all eigenvalues are large against
        s^2, s is 0 or nearly chance. In coordinates of `scale`, 0 or more; nan for an item that is not finite.
        """
        found = self.level_along(self.along(x))
        return like(found, x, (len(found),))

    def along(self, x: Array) -> torch.Tensor:
        """x [N, ...item] without the mean, along the eigenvectors: float64 [N, D] on the device. `level_along` and `denoised`
        ask for it. Of a tensor that lies there nothing is copied, and nothing waits for the device."""
        here = isinstance(x, torch.Tensor) and x.dtype == torch.float64 and x.device == self.mean.device
        if isinstance(x, torch.Tensor) and here and x.shape[1:].numel() == self.dim:
            given = x.reshape(len(x), self.dim)
        else:
            given = flat(x, self.dim, "x").to(self.device)
        return (given - self.mean) @ self.spectrum[1]

    def level_along(self, along: torch.Tensor) -> torch.Tensor:
        """The level s [N] of what lies there along the eigenvectors."""
        return self._levels(along)

    def denoised(self, x: torch.Tensor, s: torch.Tensor, along: torch.Tensor | None = None) -> torch.Tensor:
        """E[x_0 | x = x_0 + s n], float64 [N, D] on the device, s [N]: the Wiener gain l / (l + s^2) on each eigenvalue l. Where s is
        0 it is x, bit for bit. along: of x, where that is known."""
        values, vectors = self.spectrum
        variance = s.square()[:, None]
        gain = values / (values + variance).clamp_min(1e-300)
        along = self.along(x) if along is None else along
        return torch.where(variance == 0, x, torch.addmm(self.mean, along * gain, vectors.T))

    def conditional(self, y: Array, mask: Array | None = None, noise_var: float | Array = 0.0) -> Array:
        """Mean of x given y = x + sqrt(noise_var) n at the observed elements; observed without noise, they stay exact.

        y: [N, ...item]; what stands at lost elements is ignored. mask: broadcastable to y, 1 = observed; may differ
        from item to item. noise_var: one number, [N], or per element. Returns the kind and shape of y.
        """
        y_, observed, noise = self._fragment(y, mask, noise_var)
        mean = self.mean.expand(len(y_), 1, -1)
        return like(self._condition(y_[:, None], mean, observed, noise), y)

    def sample(
        self,
        y: Array,
        mask: Array | None = None,
        noise_var: float | Array = 0.0,
        *,
        samples: int,
        generators: Sequence[np.random.Generator],
    ) -> Array:
        """Exact posterior samples [N, M, ...item]; arguments as in ``conditional``, one generator for each item."""
        y_, observed, noise = self._fragment(y, mask, noise_var)
        if len(generators) != len(y_):
            raise ValueError(f"samples need one generator for each of the {len(y_)} items")
        # A prior sample and the fragment it would have given; its own error, conditioned, is the posterior's.
        normal = np.stack([g.standard_normal((2, samples, self.dim)) for g in generators])
        prior, error = torch.from_numpy(normal).to(self.device).unbind(1)
        values, vectors = self.spectrum
        # (the symmetric root: equal eigenvalues have no eigenvectors of their own, rounding chooses them)
        prior = self.mean + ((prior @ vectors) * values.sqrt()) @ vectors.T
        target = y_[:, None] - error * noise.sqrt()[:, None]
        return like(self._condition(target, prior, observed, noise), y, (len(y_), samples, *self.item))

    def _fragment(self, y: Array, mask: Array | None, noise_var: float | Array) -> tuple[torch.Tensor, ...]:
        """y, observed (bool), noise variance: each [N or 1, D] on the device."""
        y_ = flat(y, self.dim, "y")
        observed = per_item(1 if mask is None else mask, len(y_), self.item, "mask")
        if not bool(((observed == 0) | (observed == 1)).all()):
            raise ValueError("mask must hold 0 (lost) and 1 (observed) only")
        y_ = torch.where(observed > 0, y_, 0.0)
        if not bool(torch.isfinite(y_).all()):
            raise ValueError("y has observed values that are not finite")
        noise = per_item(noise_var, len(y_), self.item, "noise_var")
        return tuple(t.to(self.device) for t in (y_, observed > 0, noise))

    def _condition(
        self, y: torch.Tensor, start: torch.Tensor, observed: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        """start + S_:o (S_oo + R)^-1 (y - start)_o, for [N, M, D]; one Cholesky for each distinct mask and noise."""
        result = start.clone()
        key = torch.cat(torch.broadcast_tensors(observed.double(), noise), 1)
        _, group = torch.unique(key, dim=0, return_inverse=True)
        group = group.expand(len(y))
        for g in group.unique():
            items = (group == g).nonzero()[:, 0]
            row = items[0]
            o = observed[row if len(observed) > 1 else 0].nonzero()[:, 0]
            variance = noise[row if len(noise) > 1 else 0]
            residual = (y[items] - start[items])[:, :, o]
            correction = self._gain(o, variance[o], residual.flatten(0, 1))
            result[items] += correction.unflatten(0, residual.shape[:2])
            exact = o[variance[o] == 0]
            result[items[:, None], :, exact] = y[items[:, None], :, exact]
        return result

    def _gain(self, o: torch.Tensor, noise: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """[K, D] corrections for residuals [K, |o|], by the smaller of the two systems."""
        full = torch.zeros(len(residual), self.dim, dtype=residual.dtype, device=residual.device)
        lost = torch.ones(self.dim, dtype=torch.bool, device=residual.device)
        lost[o] = False
        lost = lost.nonzero()[:, 0]
        if len(lost) < len(o) and not bool(noise.any()):  # precision form: P_ll x_l = -P_lo r
            full[:, o] = residual
            if len(lost):
                full[:, lost] = -_solve(self.precision[lost][:, lost], (residual @ self.precision[o][:, lost]))
        elif len(o):
            system = self.covariance[o][:, o]
            system.diagonal().add_(noise)
            full = _solve(system, residual) @ self.covariance[o]
        return full

    @cached_property
    def precision(self) -> torch.Tensor:
        """Inverse of the covariance, [D, D]; raises ValueError if it is singular."""
        return torch.cholesky_inverse(_cholesky(self.covariance))


class _Levels:
    """What finds the s of the noise variance v = s^2 that minimises sum_d log(l_d + v) + e_d / (l_d + v), for given l [D]. There
    may be several minima: it is the best of a grid in log v, refined by Halley's method from the differences of five points
    there (1e-3 of v is left), then by Newton's.

    Few rows on a CPU cost as much as there are calls, and one of NumPy a third of one of torch: there it refines NumPy arrays.
    """

    def __init__(self, values: torch.Tensor, xp: Any = None):
        self.xp = xp or (np if values.device.type == "cpu" else torch)
        self.where = {} if self.xp is np else {"device": values.device}
        low, high, self.count = _GRID
        self.spacing = math.log(10) * (high - low) / (self.count - 1)
        scale = values.max()
        place = torch.arange(-2, self.count + 2, dtype=torch.float64, device=values.device)  # (two more at both ends)
        grid = place * self.spacing + math.log(10) * low + torch.where(scale > 0, scale, 1.0).log()
        total = values + grid.exp()[:, None]
        # behind the grid the mean energy, less the mean of l, and the cost where v is 0: without end where l is 0, too, and
        # up or down by whether there is any energy
        mean, none = torch.full_like(values, 1 / len(values)), (1 / values).clamp_max(_HUGE**1.5)
        self.inverse = torch.cat([total.reciprocal(), mean[None], none[None]]).T.contiguous()
        logs = torch.stack([-values.mean(), values.log().sum().clamp_min(-_HUGE)])
        self.logs = torch.cat([total.log().sum(1), logs])
        self.least = float(grid[2])
        given = (values, grid[2:-2], torch.arange(5, device=values.device), _STENCIL.to(values.device))
        small: Any = given if self.xp is torch else [v.numpy() for v in given]
        self.values, self.grid, self.five, self.stencil = small

    def __call__(self, along: torch.Tensor) -> torch.Tensor:
        """s [K] of the roots of e [K, D]; nan where these are not finite. Nothing waits for the device."""
        if self.xp is torch:
            energy = along.square()
            return self._least(energy, torch.addmm(self.logs, energy, self.inverse))
        with np.errstate(all="ignore"):
            plain = np.square(along.numpy())
            cost = torch.addmm(
                self.logs, torch.from_numpy(plain), self.inverse
            )  # (of both libraries torch's threads alone)
            return torch.from_numpy(self._least(plain, cost.numpy()))

    def _least(self, energy: Any, cost: Any) -> Any:
        xp, values, spacing = self.xp, self.values, self.spacing
        k = cost[:, 2 : self.count + 2].argmin(1)
        five = cost[xp.arange(len(k), **self.where)[:, None], k[:, None] + self.five]
        slope, curve, third = (five[:, :, None] * self.stencil).sum(1).T
        step = slope * curve / (curve * curve - slope * third / 2).clip(_TINY, None)
        u = self.grid[k] - spacing * step.clip(-1, 1)
        u = xp.where(k == self.count - 1, xp.log(cost[:, -2]), u)  # (beyond the grid)
        for _ in range(_NEWTON):
            v = xp.exp(u)[:, None]
            there = values + v
            share = v / there
            part = share - share * (energy / there)  # v / (l + v) - e v / (l + v)^2
            slope, curve = part.sum(1), (part + share * (share - 2 * part)).sum(1)
            u = u - (slope / curve.clip(_TINY, None)).clip(-spacing, spacing)
        best = xp.exp(u.clip(self.least, None))  # (below, rounding says whether it is 0)
        there = values + best[:, None]
        some = (xp.log(there) + energy / there).sum(1)
        return xp.sqrt(xp.where(cost[:, -1] <= some, 0.0, best))


def _cholesky(matrix: torch.Tensor) -> torch.Tensor:
    factor, info = torch.linalg.cholesky_ex(matrix)
    if int(info):
        raise ValueError("the covariance of the observed is singular: fit with a ridge, or give noise_var")
    return factor


def _solve(system: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """right [K, n] @ system^-1 for a symmetric positive definite system."""
    return torch.cholesky_solve(right.T, _cholesky(system)).T


def _shrinkage(
    shrink: float | str, count: int, dim: int, level: float, square: float, fourth: float
) -> tuple[float, float]:
    """(factor on S, ridge in units of the mean eigenvalue). square: |S|_F^2; fourth: mean of |x|^4, x centred."""
    if not isinstance(shrink, str):
        if shrink < 0:
            raise ValueError(f"a ridge must not be negative: {shrink}")
        return 1.0, float(shrink)
    spread = square - dim * level**2  # |S - m I|_F^2
    if shrink == "ledoit-wolf":
        r = (fourth - square) / count / spread if spread > 0 else 1.0
    elif shrink == "oas":
        numerator = (1 - 2 / dim) * square + (dim * level) ** 2
        r = numerator / ((count + 1 - 2 / dim) * spread) if spread > 0 else 1.0
    else:
        raise ValueError(f'unknown shrinkage {shrink!r}: a number, "oas" or "ledoit-wolf"')
    r = min(max(r, 0.0), 1.0)
    return 1.0 - r, r


def fitted(memories: Store | Stored, how: How) -> Gaussian:
    """A Gaussian with the memories' mean and covariance, and the ridge how.shrink."""
    return Gaussian.fit(memories if isinstance(memories, Store) else memories.store, how.shrink)
