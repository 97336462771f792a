"""The Gaussian of few memories of many values each: by N x N matrices, where D x D ones would not fit."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from .contract import AlphaBar, Some, flat, like, split
from .store import Store


class Factored:
    """The same denoiser as ``gaussian.Gaussian.fit(store, shrink)`` with a number for a ridge, from the Gram matrix of N
    memories.

    The covariance X^T X / N + r I, of rows X less their mean, has the eigenvalues l + r along X^T u, (u, N l) being those
    of X X^T, and r elsewhere. With g(l) = a (l + r) / (a^2 (l + r) + b^2), the Wiener gain,

        x0_hat = m + g(0) y + X^T sum_u u (g(l) - g(0)) / (N l) u^T X y,    y = x - a m,

    in which (g(l) - g(0)) / l = a b^2 / ((a^2 (l + r) + b^2) (a^2 r + b^2)) divides by nothing small. The memories are
    read twice a call, in tiles; all is in float64. seen: bool, of the item's shape: values that are the same in all
    memories and stay as they are; the ridge is no variance of theirs, and no value of them counts in its mean. Raises
    ValueError for fewer than 2 memories.
    """

    def __init__(self, store: Store, shrink: float = 1e-4, seen: torch.Tensor | None = None):
        if len(store) < 2:
            raise ValueError("a covariance needs at least 2 memories")
        self.store, self.scale, self.device, self.dim = store, store.scale, store.device, store.dim
        self.mean = store.mean.to(self.device)
        self.seen = torch.ones(self.dim, device=self.device) if seen is None else seen.flatten().to(self.device)
        self.seen = self.seen.double()
        count = len(store)
        gram = torch.empty(count, count, dtype=torch.float64, device=self.device)
        for i, one in self._rows():
            for j, other in self._rows():
                if j > i:
                    break
                gram[i : i + len(one), j : j + len(other)] = one @ other.T
        gram = gram.tril() + gram.tril(-1).T
        values, self.vectors = torch.linalg.eigh(gram / count)
        self.values = values.clamp(min=0)
        self.ridge = shrink * float(self.values.sum() / self.seen.sum())

    def _rows(self) -> Iterator[tuple[int, torch.Tensor]]:
        """(number of the first, [T, D] less the mean) over all memories."""
        for start, tile in self.store.tiles(torch.float64):
            yield start, tile.sub_(self.mean)

    def __call__(self, x_t: Some, alpha_bar: AlphaBar) -> Some:
        """E[x_0 | x_t]; x_t: [N, ...item]; alpha_bar: float64, one number or one per item."""
        x = flat(x_t, self.dim, "x_t").to(self.device)
        alpha_bar, noise = (t.to(self.device)[:, None] for t in split(alpha_bar, len(x)))
        a = alpha_bar.sqrt()
        y = (x - a * self.mean) * self.seen
        low = (alpha_bar * self.ridge + noise).clamp_min(1e-300)
        along = torch.cat([y @ tile.T for _, tile in self._rows()], 1)  # [S, N]
        gain = a * noise / ((alpha_bar * (self.values + self.ridge) + noise).clamp_min(1e-300) * low)
        along = ((along @ self.vectors) * gain) @ self.vectors.T / len(self.store)
        result = self.mean + a * self.ridge / low * y
        for start, tile in self._rows():
            result += along[:, start : start + len(tile)] @ tile
        result = torch.where(alpha_bar == 0, self.mean, torch.where(noise == 0, x, result))
        return like(result, x_t)
