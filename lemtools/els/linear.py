"""The best linear filter of the same window: what a machine knows beyond it is more than a filter knows.

For a class of pixels that ``plan`` takes for alike (rows of one class and columns of one class), let w be the windows around
its keys, in all images, and v their centres. Of all maps of a noisy window q = a w + b n that are linear and have an
intercept, n standard normal, that of the least mean squared error of v is

    x0_hat(u) = E[v] + a Cov(v, w) (a^2 Cov(w, w) + b^2 I)^-1 (q(u) - a E[w])

E and Cov being over the keys of the class, each as likely. It is the conditional mean where windows are Gaussian. Elements
beyond a border that does not wrap are zero in all windows of a class, and so count nowhere. All is in float64.

Letters: S seeds, C channels, I images, B classes that go together, D = C P P' elements of a window.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ..denoise.contract import AlphaBar, Array, split, tensor
from ..denoise.how import How
from ..denoise.store import Store
from ..signal import LemError, called
from . import local
from .bank import Bank
from .plan import NOT_FINITE, Axis, Rules, Size, axis, check_size, rules

KEPT = 64  # levels of which the filters are kept: seeds in batches meet the same ones
LEAST = 1e-13  # noise variance, relative to a window's largest: below it lies the rounding of float64


@dataclass(frozen=True)
class Places:
    """Coordinates along an axis. own: each has the key at its own place alone; else all share all keys."""

    queries: range
    keys: range
    own: bool


def places(along: Axis, most: int) -> list[Places]:
    """All coordinates of an axis; of those that stand alone at most so many together."""
    found = [Places(along.queries, along.keys, False)] if len(along.queries) else []
    for run in local.runs(along.alone):
        parts = [run[k : k + most] for k in range(0, len(run), most)]
        found += [Places(part, part, True) for part in parts]
    return found


def windows(x: torch.Tensor, rows: Axis, cols: Axis) -> torch.Tensor:
    """The windows around all places of [N, C, H, W]: [N, C, H, W, P, P'], beyond a border zeros, or the other end."""
    for dim, along in ((2, rows), (3, cols)):
        places = torch.arange(-along.reach, along.length + along.reach, device=x.device)
        around = x.index_select(dim, places % along.length)
        if not along.circular:
            there = (places >= 0) & (places < along.length)
            around = around * there.view(-1, *[1] * (3 - dim))
        x = around
    return x.unfold(2, rows.size, 1).unfold(3, cols.size, 1)


@dataclass
class Moments:
    """Of the windows of a class each: mean [B, D] and covariance [B, D, D] float64."""

    mean: torch.Tensor
    covariance: torch.Tensor


class Linear:
    """The best linear filters of a bank as a denoiser. asked: the rules of rows and of columns. size, memory, valid: as of
    ``posterior.Local``. Raises LemError where the covariance of a window takes more than `memory`."""

    def __init__(
        self,
        bank: Bank,
        asked: Rules,
        size: Size | Callable[[float], Size] = 3,
        *,
        memory: int = 1 << 30,
        device: str | torch.device = "cpu",
        valid: bool = False,
    ):
        self.bank, self.rules, self.size = bank.to(device), asked, size
        self.memory, self.device, self.valid, self.scale = memory, torch.device(device), valid, bank.scale
        self._filters: dict[float, list[tuple[Places, Places, torch.Tensor, torch.Tensor]]] = {}
        self._moments: tuple[tuple[int, int], list[Moments]] | None = None

    def __call__(self, x_t: Array, alpha_bar: AlphaBar) -> Array:
        """x_t: as of ``posterior.Local``; alpha_bar: float64, one number or one per item."""
        x = x_t if isinstance(x_t, torch.Tensor) else tensor(x_t)
        x = x if x.is_floating_point() else x.float()
        level, noise = split(alpha_bar, len(x))
        out = x.clone()
        for value in torch.unique(level[noise > 0]).tolist():
            mine = level == value
            answer = self._mean(self.bank.high(x[mine]), value)
            out[mine] = answer.to(out).reshape(out[mine].shape)
        return out if isinstance(x_t, torch.Tensor) else out.numpy()

    def _mean(self, x_t: torch.Tensor, alpha_bar: float) -> torch.Tensor:
        if tuple(x_t.shape[1:]) != self.bank.item:
            raise LemError(
                f"x_t has items of {list(x_t.shape[1:])}, the bank {called(self.bank.kind)} of {list(self.bank.item)}"
            )
        if not bool(torch.isfinite(x_t).all()):
            raise LemError(NOT_FINITE)
        rows, cols = self._axes(alpha_bar)
        x = x_t.to(self.device, torch.float64)
        seen, out = windows(x, rows, cols).permute(2, 3, 0, 1, 4, 5), torch.empty_like(x)
        for high, wide, weights, offset in self._at(alpha_bar, rows, cols):
            r, c = (slice(each.queries[0], each.queries[-1] + 1) for each in (high, wide))
            part = seen[r, c].flatten(3) @ weights + offset  # [rows, columns, S, C]
            out[:, :, r, c] = part.permute(2, 3, 0, 1)
        return out

    def _axes(self, alpha_bar: float) -> tuple[Axis, Axis]:
        size = self.size(alpha_bar) if callable(self.size) else self.size
        _, height, width = self.bank.item
        check_size(self.rules, size, width if self.bank.flat else height, width)
        rows, cols = (axis(*each, self.valid) for each in zip(self.rules, (height, width), self.bank.patch(size)))
        return rows, cols

    def _at(self, alpha_bar: float, rows: Axis, cols: Axis) -> list[tuple[Places, Places, torch.Tensor, torch.Tensor]]:
        """The filters of a level: (rows, columns, weights [B, B', D, C], offset [B, B', 1, C]), of own places each, else 1."""
        if (found := self._filters.get(alpha_bar)) is not None:
            return found
        channels, side = self.bank.item[0], (rows.size, cols.size)
        centre = torch.arange(channels, device=self.device) * math.prod(side)
        centre += rows.reach * cols.size + cols.reach
        a, variance, found = float(np.sqrt(alpha_bar)), 1.0 - alpha_bar, []
        for moments, (high, wide) in zip(self._all_moments(rows, cols), self._parts(rows, cols)):
            covariance, mean = moments.covariance, moments.mean
            system = covariance * a**2
            least = LEAST * system.diagonal(dim1=1, dim2=2).amax(1, keepdim=True)
            system.diagonal(dim1=1, dim2=2).add_(least.clamp(min=variance))
            factor = torch.linalg.cholesky(system)
            weights = torch.cholesky_solve(a * covariance[:, :, centre], factor)  # [B, D, C]
            offset = mean[:, centre] - a * torch.einsum("bd,bdc->bc", mean, weights)
            shape = [len(each.queries) if each.own else 1 for each in (high, wide)]
            found.append((high, wide, weights.unflatten(0, shape), offset.unflatten(0, shape)[:, :, None]))
        if len(self._filters) >= KEPT:
            self._filters.clear()
        self._filters[alpha_bar] = found
        return found

    def _parts(self, rows: Axis, cols: Axis) -> list[tuple[Places, Places]]:
        """The classes, as many together as the memory has room for."""
        square = 8 * (self.bank.item[0] * rows.size * cols.size) ** 2
        if 4 * square > self.memory:
            size, way = f"{rows.size} x {cols.size}", "raise --max-memory, or leave this machine out"
            raise LemError(f"linear: the covariance of windows of {size} takes {4 * square / 2**30:.3g} GiB; {way}")
        wide = places(cols, max(1, self.memory // 8 // square))
        most = max([1, *(len(each.queries) for each in wide if each.own)])
        return [(high, each) for high in places(rows, max(1, self.memory // 8 // square // most)) for each in wide]

    def _all_moments(self, rows: Axis, cols: Axis):
        """The moments of all parts, one after the other; those of the last size are kept, where they fit."""
        side = rows.size, cols.size
        if self._moments is not None and self._moments[0] == side:
            yield from self._moments[1]
            return
        self._moments, kept, room = None, [], self.memory // 2
        for high, wide in self._parts(rows, cols):
            found = self._of(high, wide, rows, cols)
            room -= 8 * found.covariance.numel()
            if room >= 0:
                kept.append(found)
            yield found
        if room >= 0:
            self._moments = side, kept

    def _of(self, high: Places, wide: Places, rows: Axis, cols: Axis) -> Moments:
        """The moments of the windows of a part, over the whole bank."""
        channels = self.bank.item[0]
        dim = channels * rows.size * cols.size
        order = {
            (False, False): (0, 2, 3),
            (True, False): (2, 0, 3),
            (False, True): (3, 0, 2),
            (True, True): (2, 3, 0),
        }[high.own, wide.own]
        classes = math.prod(len(each.keys) for each in (high, wide) if each.own)
        total = torch.zeros(classes, dim, dtype=torch.float64, device=self.device)
        square = torch.zeros(classes, dim, dim, dtype=torch.float64, device=self.device)
        item = len(high.keys) * len(wide.keys) * dim + 4 * math.prod(self.bank.item)
        together = max(1, min(1024, self.memory // 32 // item))
        shift = torch.from_numpy(self.bank.mean).to(self.device)[:, None, None]
        inside = self._inside(high, wide, rows, cols, shift)
        for _, images in self.bank.tiles(together, torch.float64, self.device):
            seen = windows(images - shift, rows, cols)
            seen = seen[:, :, high.keys[0] : high.keys[-1] + 1, wide.keys[0] : wide.keys[-1] + 1]
            x = seen.permute(*order, 1, 4, 5).reshape(classes, -1, dim)
            total += x.sum(1)
            square += x.transpose(1, 2) @ x
        count = len(self.bank) * len(high.keys) * len(wide.keys) / classes
        mean = total / count
        covariance = (square / count).sub_(mean[:, :, None] * mean[:, None])
        return Moments(mean + inside, covariance)

    def _inside(self, high: Places, wide: Places, rows: Axis, cols: Axis, shift: torch.Tensor) -> torch.Tensor:
        """What to add to the mean of windows of a bank less `shift`: it, but zero beyond a border. [B or 1, D]"""
        one = windows((shift + torch.zeros(self.bank.item, device=self.device))[None], rows, cols)[
            0
        ]  # [C, H, W, P, P']
        keys = [each.keys if each.own else each.keys[:1] for each in (high, wide)]
        one = one[:, keys[0][0] : keys[0][-1] + 1, keys[1][0] : keys[1][-1] + 1]
        return one.permute(1, 2, 0, 3, 4).flatten(2).flatten(0, 1)


def linear(memories: Bank | Store, how: How) -> Linear:
    """The control of the local machines, of the equivariance that is asked for."""
    asked = rules("linear", how.equivariance, how.padding)
    bank = Bank.of_memories(memories)
    return Linear(bank, asked, how.size, memory=how.memory, device=how.device, valid=how.valid)
