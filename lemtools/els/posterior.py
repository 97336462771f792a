"""The local machines as denoisers: a rule an axis, patches of any sides, over a bank, on any device."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from ..denoise.contract import AlphaBar, Array, split, tensor
from ..denoise.how import How, Share
from ..denoise.store import Store
from ..signal import LemError, called
from . import local
from .bank import Bank
from .local import Alone, Level, Tiles
from .plan import LOCAL, NOT_FINITE, Axis, Rules, Size, axis, check_size, rules, sides
from .sums import Sums

ROUNDING = 5e-4  # beyond it products are in float64; below it the answer was seen to be off by < 1e-4 of its rms


@dataclass
class Posterior:
    """What a machine makes of x_t [S, C, H, W].

    mean: [S, C, H, W], x0_hat. skipped: [S, H, W], a bound on the share of the weights that was left out. best:
    [S, H, W] numbers (image * H + row) * W + column of the likeliest patches' centres, image counted in the bank, and
    weight, their posterior weights, where they were tracked.
    """

    mean: torch.Tensor
    skipped: torch.Tensor
    best: torch.Tensor | None
    weight: torch.Tensor | None


class Local:
    """A local machine as a denoiser: ``(x_t, alpha_bar) -> E[x_0 | patch of x_t]``; see ``plan`` and ``local``.

    machine: 'ls', 'els' or 'bbels', or two of them, the rules of rows and of columns. size: of a patch, odd: of a square, or
    (rows, columns); or a function alpha_bar -> size. skip: share of a pixel's weights that may be left out, 0 for none. memory: bytes that a call may take beyond the bank and its answer;
    on a GPU what it laid out of them may stay for the next call while the bank, which must not change, lives
    (``fused.forget``).
    valid: els knows only patches that do not wrap, as in the paper's released code. share: this process among those
    that each hold a part of the bank and make the same calls; their sums are merged, so all have the whole answer.
    ``error`` is the bound on the answer's error through `skip`, of the last call: 2 max|v| skipped / (kept + skipped),
    maximum over pixels.
    """

    def __init__(
        self,
        bank: Bank,
        machine: str | Rules = "bbels",
        size: Size | Callable[[float], Size] = 3,
        *,
        skip: float = 1e-6,
        memory: int = 1 << 30,
        device: str | torch.device = "cpu",
        valid: bool = False,
        share: Share | None = None,
    ):
        self.rules: Rules = (machine, machine) if isinstance(machine, str) else machine
        if unknown := [rule for rule in self.rules if rule not in LOCAL]:
            raise LemError(f"{unknown[0]!r} is no local machine; they are {', '.join(LOCAL)}")
        self.device, self.share = torch.device(device), share
        self.mean, self.first = torch.from_numpy(bank.mean)[:, None, None].to(self.device), 0
        if share is not None:
            self.first, end = (len(bank) * (share.rank + k) // share.world for k in (0, 1))
            bank = bank.cut(self.first, end)
        self.bank = bank.to(device)
        self.size, self.skip, self.memory, self.valid = size, skip, memory, valid
        self.scale, self.error = bank.scale, 0.0
        self.tile = local.TILE["cpu" if self.device.type == "cpu" else "cuda"]

    def __call__(self, x_t: Array, alpha_bar: AlphaBar) -> Array:
        """x_t: [S, C, H, W], or [S, C, L] where the bank's have one direction, numpy or torch; alpha_bar: float64, one
        number or one per item."""
        x = x_t if isinstance(x_t, torch.Tensor) else tensor(x_t)
        x = x if x.is_floating_point() else x.float()
        level, noise = split(alpha_bar, len(x))
        out, self.error = x.clone(), 0.0
        for value in torch.unique(level[noise > 0]).tolist():
            rows = level == value
            answer = self.posterior(self.bank.high(x[rows]), value)
            out[rows] = answer.mean.to(out).reshape(out[rows].shape)
            self.error = max(self.error, 2 * self.bank.moments[2] * float(answer.skipped.max()))
        return out if isinstance(x_t, torch.Tensor) else out.numpy()

    def posterior(self, x_t: torch.Tensor, alpha_bar: float, track: bool = False) -> Posterior:
        """At one noise level, 0 <= alpha_bar < 1 (0: every admissible patch weighs the same). track: fill in `best`."""
        size = self.size(alpha_bar) if callable(self.size) else self.size
        channels, height, width = self.bank.item
        check_size(self.rules, size, width if self.bank.flat else height, width)
        if tuple(x_t.shape[1:]) != self.bank.item:
            raise LemError(
                f"x_t has items of {list(x_t.shape[1:])}, the bank {called(self.bank.kind)} of {[channels, height, width]}"
            )
        patch = self.bank.patch(size)
        rows, cols = (axis(*each, self.valid) for each in zip(self.rules, (height, width), patch))
        a, variance = float(np.sqrt(alpha_bar)), 1.0 - alpha_bar
        shift = self.mean
        if (
            fused := self._fused(rows, cols, len(x_t))
        ) is not None and not track:  # (looks itself whether x_t is finite)
            level = Level(a, variance)
            x = x_t.to(self.device, torch.float64)
            sums, shift = fused.run(self.bank, x, level, rows, cols, self.skip, self.memory)
            return whole(self._shared([[sums]])[0][0], x_t.shape, shift)
        if not bool(torch.isfinite(x_t).all()):
            raise LemError(NOT_FINITE)
        dtype = self._dtype(x_t, a, variance, patch)
        x = (x_t.to(self.device, torch.float64) - a * shift).to(dtype)
        level = Level(a, variance)
        tile = min(self.tile, max(1, self.memory // (8 * dtype.itemsize * self._threads())))
        parts = [Tiles(pairing, x, level, tile, track) for pairing in local.pairings(rows, cols)]
        parts += _corners(rows, cols, x, level, track)
        states = self._shared(self._run(parts, shift.to(dtype), dtype, tile))
        return self._gather(parts, states, x_t, shift, track)

    def _fused(self, rows: Axis, cols: Axis, seeds: int):
        """The module that does it by the Triton kernel, where there is a GPU for it and it is worth it; else None."""
        if self.device.type != "cuda":
            return None
        try:
            from .gpu import fused
        except ImportError:
            return None
        return fused if fused.usable(self.bank, self.device, rows, cols, seeds) else None

    def _dtype(self, x: torch.Tensor, a: float, variance: float, size: Size) -> torch.dtype:
        """float32 where the rounding of its products, if it added up, would move no logit by more than ROUNDING."""
        count = self.bank.item[0] * math.prod(sides(size))
        q = float(x.double().square().flatten(1).mean(1).max().sqrt())  # no seed is rounded for the sake of others
        rounding = torch.finfo(torch.float32).eps * a * max(q, a * self.bank.moments[1]) * count / variance
        return torch.float32 if rounding < ROUNDING else torch.float64

    def _run(self, parts, shift: torch.Tensor, dtype: torch.dtype, tile: int) -> list[list[Sums]]:
        """The sums of all parts over the bank; on a CPU a thread for each core, each with a share of the images."""
        _, height, width = self.bank.item
        count = max(1, min(64, tile // (16 * height * width)))
        threads = self._threads()
        ends = [len(self.bank) * k // threads for k in range(threads + 1)]

        def work(begin: int, end: int) -> list[list[Sums]]:
            if threads > 1:
                torch.set_num_threads(1)
            states = [part.start() for part in parts]
            with local.flushed():
                for start in range(begin, end, count):
                    images = self.bank.part(start, min(start + count, end), dtype, self.device).sub_(shift)
                    for part, state in zip(parts, states):
                        part.add(state, images, self.first + start, self.skip)
            return states

        if threads == 1:
            return work(0, len(self.bank))
        try:
            with ThreadPoolExecutor(threads) as pool:
                merged, *others = pool.map(work, ends[:-1], ends[1:])
        finally:
            torch.set_num_threads(threads)
        for other in others:
            merged = [[a.merge(b) for a, b in zip(x, y)] for x, y in zip(merged, other)]
        return merged

    def _threads(self) -> int:
        """Threads that go through the bank side by side."""
        return max(1, min(torch.get_num_threads() if self.device.type == "cpu" else 1, len(self.bank)))

    def _shared(self, states: list[list[Sums]]) -> list[list[Sums]]:
        """The sums over the parts of the bank that all processes hold."""
        if self.share is None or self.share.world == 1:
            return states
        every = []
        for packed in self.share.gather(torch.cat([s.packed().flatten() for part in states for s in part])):
            sizes = [s.packed().numel() for part in states for s in part]
            pieces = iter(packed.split(sizes))
            every.append([[s.unpacked(next(pieces)) for s in part] for part in states])
        merged, *others = every
        for other in others:
            merged = [[a.merge(b) for a, b in zip(x, y)] for x, y in zip(merged, other)]
        return merged

    def _gather(self, parts, states, x_t: torch.Tensor, shift: torch.Tensor, track: bool) -> Posterior:
        """Every pixel's answer at its place; sums are of coordinates less shift [C, 1, 1]."""
        height, width = self.bank.item[1:]
        every = [state for mine in states for state in mine]
        place = torch.cat([p.to(self.device).flatten() for part in parts for p in part.pixels(height, width)])

        def placed(of: Callable[[Sums], torch.Tensor]) -> torch.Tensor:
            values = torch.cat([of(state).flatten(0, 1) for state in every])
            return torch.empty_like(values).index_copy_(0, place, values)

        found = Sums(
            placed(lambda s: s.reference)[None],
            placed(lambda s: s.sums.double())[None],
            placed(lambda s: torch.zeros_like(s.reference, dtype=torch.float64).add_(s.skipped))[None],
        )
        answer = whole(found, x_t.shape, shift)
        if track:
            shape = (len(x_t), height, width)
            answer.best, answer.weight = (
                placed(of).view(shape) for of in (lambda s: s.best, lambda s: s.weight().double())
            )
        return answer


def whole(found: Sums, shape: tuple[int, ...], shift: torch.Tensor) -> Posterior:
    """What Sums [1, S H W] of every pixel say of [S, C, H, W]; values are coordinates less shift [C, 1, 1]."""
    seeds, channels, height, width = shape
    sums, count = found.sums[0, :, :channels], found.sums[0, :, channels:]
    mean = shift + (sums / count).view(seeds, height, width, channels).movedim(3, 1)
    lost = found.skipped[0]
    return Posterior(mean, (lost / (count[:, 0] + lost)).view(seeds, height, width), None, None)


def _corners(rows: Axis, cols: Axis, x: torch.Tensor, level: Level, track: bool) -> list[Alone]:
    """Rectangles of pixels that stand alone on both axes."""
    reach = rows.reach, cols.reach
    return [Alone(r, c, reach, x, level, track) for r in local.runs(rows.alone) for c in local.runs(cols.alone)]


def _machine(name: str) -> Callable[[Bank | Store, How], Local]:
    """What makes the machine of that name ready."""

    def make(memories: Bank | Store, how: How) -> Local:
        return Local(
            Bank.of_memories(memories),
            rules(name, how.equivariance, how.padding),
            how.size,
            skip=how.skip,
            memory=how.memory,
            device=how.device,
            valid=how.valid,
            share=how.share,
        )

    return make


ls, els, bbels = _machine("ls"), _machine("els"), _machine("bbels")
both, time, freq, none = _machine("both"), _machine("time"), _machine("freq"), _machine("none")
