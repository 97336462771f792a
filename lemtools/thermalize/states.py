"""Stored states of a rollout: the nearest ones to a state, and what came after each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from ..catalogue import LemError
from ..denoise.contract import Array, Scale, tensor
from ..denoise.gaussian import Gaussian
from .boxes import Boxes

Rows = torch.Tensor | slice
LEFT = 1e-6  # of the variance that lies beyond the axes along which states are compared
LIMIT = 400_000  # states and their copies by symmetry
BLOCK = 128  # states whose least distance is looked at first
SPARE = 16  # candidates beyond the k nearest: distances in float32 confuse neighbours that are as far as each other
SYMMETRIES = ("translate", "translate-x", "reflect")
FEW = 1 << 15  # states that are compared with all of them at once: boxes of fewer take as long
TOGETHER = 256  # queries that are looked up at once
HUGE = 1e18  # of what is blowing up: as far from all states, and still no infinity in float32
RARE = 0.01  # a mode is aligned by where it is the largest in that share of the states
WEAK = 0.5  # of the largest mode: a state whose mode is weaker has no place in the chart of that mode


class States:
    """States of R rows side by side, item t R + r row r at step t, with the symmetries that they are said to have.

    values: [T R, C, ...] float, T >= 2. rows: R. scale: coordinates x = scale.encode(values). symmetry: 'reflect', every
    state also as -u(-x), mirrored in every direction with the other sign; 'translate', of rings, in every direction;
    'translate-x', in the last one alone. States in one direction are then compared by the translation, of any fraction of
    a point, that makes the phase of their largest Fourier mode zero (the method of slices: Rowley & Marsden 2000; one
    chart for each mode that can be the largest); those in two directions by patches alone (``patches``).
    device: where they lie, and where all is computed; it knows float64. masked: what is computed waits for no number on the
    device, so that a CUDA graph can hold it; every row is then compared in every chart. On a GPU it is.
    Raises LemError for states that are not finite, for rows that do not divide them, and for an unknown symmetry.
    """

    def __init__(
        self, values: np.ndarray, rows: int, scale: Scale, symmetry: tuple[str, ...] = (), device: str = "cpu"
    ):
        if rows < 1 or len(values) % rows or len(values) < 2 * rows:
            what = f"{len(values)} states are no two steps or more of {rows} rows side by side"
            raise LemError(f"{what}; --rows says how many stand side by side")
        if unknown := [name for name in symmetry if name not in SYMMETRIES]:
            raise LemError(f"no symmetry {unknown[0]!r}; there are {', '.join(SYMMETRIES)}")
        if not np.isfinite(values).all():
            raise LemError("the stored states have values that are NaN or infinite")
        self.rows, self.scale, self.item = rows, scale, tuple(values.shape[1:])
        self.dim, axes = math.prod(self.item), range(-len(self.item) + 1, 0)
        self.moves = {axis for axis in axes if "translate" in symmetry or (axis == -1 and "translate-x" in symmetry)}
        self.device = torch.device(device)
        self.masked = self.device.type == "cuda"
        # (on the device once, and not at every call)
        offset, gain = (torch.as_tensor(v, dtype=torch.float64).to(self.device) for v in (scale.offset, scale.gain))
        self._here = Scale(offset, gain, scale.basis)
        copies = [values, -np.flip(values, tuple(range(2, values.ndim)))] if "reflect" in symmetry else [values]
        self.x = torch.cat([self.encoded(copy).float() for copy in copies])
        number = torch.arange(len(self.x), device=self.device).reshape(len(copies), len(values))
        self.followed = number[:, :-rows].reshape(-1)  # those whose successor is stored, too

    def __len__(self) -> int:
        return len(self.x)

    def encoded(self, values: Array) -> torch.Tensor:
        """Signal values [N, C, ...] as coordinates float64 [N, D] on the device."""
        given = values if isinstance(values, torch.Tensor) else tensor(values)
        return self._here.encode(given.to(self.device, torch.float64)).reshape(len(given), self.dim)

    def values(self, x: torch.Tensor) -> torch.Tensor:
        """Coordinates [N, D] as signal values float64 [N, C, ...] on the device."""
        return self._here.decode(x.reshape(len(x), *self.item))

    def decoded(self, x: torch.Tensor) -> np.ndarray:
        """The same as a NumPy array."""
        return self.values(x).cpu().numpy()

    @cached_property
    def gaussian(self) -> Gaussian:
        """Mean and covariance of the states, in coordinates, over all translations in the last direction where they are a
        symmetry."""
        if self.moves:
            return self._stationary()
        total = torch.zeros(self.dim, dtype=torch.float64, device=self.device)
        square = torch.zeros(self.dim, self.dim, dtype=torch.float64, device=self.device)
        for part in self.x.split(1 << 14):
            wide = part.double()
            total, square = total + wide.sum(0), square + wide.T @ wide
        mean = total / len(self)
        return Gaussian(mean, square / len(self) - mean[:, None] * mean, device=str(self.device))

    def _stationary(self) -> Gaussian:
        """Every channel's mean, and the covariance of two values by their channels and their distance alone; of states in
        two directions along the last one, every line a channel."""
        channels, size = self.dim // self.item[-1], self.item[-1]
        power = torch.zeros(channels, channels, size // 2 + 1, dtype=torch.complex128, device=self.device)
        for part in self.x.split(1 << 14):
            f = torch.fft.rfft(part.double().reshape(-1, channels, size))
            power += torch.einsum("nck,ndk->cdk", f, f.conj())
        mean = self.x.reshape(len(self), channels, size).mean((0, 2), dtype=torch.float64)
        lagged = torch.fft.irfft(power / len(self) / size, size) - mean[:, None, None] * mean[:, None]
        place = torch.arange(size, device=self.device)
        away = (place[:, None] - place) % size
        covariance = lagged[:, :, away].permute(0, 2, 1, 3).reshape(self.dim, self.dim)
        return Gaussian(mean.repeat_interleave(size), (covariance + covariance.T) / 2, device=str(self.device))

    def charts(self, x: torch.Tensor, following: bool) -> Iterator[tuple[torch.Tensor, Chart, torch.Tensor | None]]:
        """Where the rows of x, float64 [R, D], are compared: (rows, the chart, by how much each is moved there, in periods).

        following: among the states whose successor is stored alone.
        """
        if not self.moves:
            yield torch.arange(len(x), device=self.device), self._chart(0, following), None
            return
        self._comparable()
        f = self._spectrum(x)[:, self._places]
        largest = f.abs().argmax(1)
        for i, mode in enumerate(self._modes):
            if len(rows := (largest == i).nonzero()[:, 0]):
                yield rows, self._chart(mode, following), f[rows, i].angle() / (2 * torch.pi * mode)

    def least(self, following: bool, neighbours: int | None = None) -> int:
        """How many states the smallest chart has. Raises LemError where that is fewer than so many neighbours: a rare state
        would ask for them in the midst of a rollout. following: as in `charts`."""
        if self.moves:
            self._comparable()
        count = min(len(self._chart(mode, following)) for mode in (self._modes if self.moves else [0]))
        if neighbours is not None and neighbours > count:
            have = f"{neighbours} neighbours are asked for among {count} stored states"
            alike = " whose largest mode is the same" if self.moves else ""
            raise LemError(f"{have}{alike}; store more, or ask for fewer (--neighbours)")
        return count

    def _comparable(self) -> None:
        """LemError where states are moved in two directions."""
        if len(self.item) > 2:
            what = "whole states are compared under translations in one direction, [C, L], alone"
            raise LemError(f"{what}, not {list(self.item)}; --corrector local compares patches")

    def answered(
        self, x: torch.Tensor, answer: Callable[[Chart, torch.Tensor, Rows], torch.Tensor], following: bool
    ) -> torch.Tensor:
        """What ``answer`` says of the rows of x, float64 [R, D], in the chart of each: it is given the chart, the rows as they
        are there, and which they are, and answers states [., D] in the same frame. following: as in `charts`."""
        if not self.moves:
            return answer(self._chart(0, following), x, slice(None))
        self._comparable()
        out, f = torch.empty_like(x), self._spectrum(x)[:, self._places]
        largest = f.abs().argmax(1)
        if not self.masked:
            shift = f.gather(1, largest[:, None])[:, 0].angle() / (2 * torch.pi * self._places[largest].double())
            there = self.moved(x, shift)
            for i, mode in enumerate(self._modes):
                if len(rows := (largest == i).nonzero()[:, 0]):
                    out[rows] = answer(self._chart(mode, following), there[rows], rows)
            return self.moved(out, -shift)
        for i, mode in enumerate(self._modes):
            shift = f[:, i].angle() / (2 * torch.pi * mode)
            there = answer(self._chart(mode, following), self.moved(x, shift), slice(None))
            out = torch.where((largest == i)[:, None], self.moved(there, -shift), out)
        return out

    def moved(self, x: torch.Tensor, shift: torch.Tensor | None) -> torch.Tensor:
        """x float64 [R, ..., D], moved to higher places by `shift` [R] periods, so that a mode's phase falls by 2 pi times
        its number times the shift; None: as it is."""
        if shift is None:
            return x
        size = self.item[1]
        f = torch.fft.rfft(x.reshape(*x.shape[:-1], *self.item))
        turn = torch.polar(self._one, shift[:, None] * self._turn)
        turn = turn.reshape(len(x), *[1] * (f.ndim - 2), -1)
        return torch.fft.irfft(f * turn, size).reshape(x.shape)

    def _spectrum(self, x: torch.Tensor) -> torch.Tensor:
        """Fourier modes [R, K] of the first channel."""
        return torch.fft.rfft(x.reshape(-1, *self.item)[:, 0].double())

    @cached_property
    def _one(self) -> torch.Tensor:
        return torch.ones((), dtype=torch.float64, device=self.device)

    @cached_property
    def _turn(self) -> torch.Tensor:
        """By how much the phase of every mode turns in a period, negative."""
        return -2 * torch.pi * torch.arange(self.item[-1] // 2 + 1, dtype=torch.float64, device=self.device)

    @cached_property
    def _places(self) -> torch.Tensor:
        return torch.tensor(self._modes, device=self.device)

    @cached_property
    def _modes(self) -> list[int]:
        """Those that are the largest in a state now and then, of which the charts do not outgrow LIMIT."""
        if self.item[1] < 4:
            raise LemError(f"the symmetry translate needs 4 points or more, not {self.item[1]}")
        largest = torch.cat([self._spectrum(part)[:, 1:-1].abs().argmax(1) + 1 for part in self.x.split(1 << 14)])
        share = torch.bincount(largest) / len(largest)
        found: list[int] = []
        room = LIMIT
        for mode in share.argsort(descending=True).tolist():
            size = int(share[mode] * len(self)) * mode
            if share[mode] >= RARE and mode and size <= room:
                found, room = [*found, mode], room - size
        if not found:
            raise LemError(
                f"{len(self)} states are too many to be compared under translations, {LIMIT} at most; store fewer"
            )
        return sorted(found)

    @cached_property
    def _charts(self) -> dict[tuple[int, bool], Chart]:
        return {}

    def _chart(self, mode: int, following: bool) -> Chart:
        key = mode, following
        if key not in self._charts:
            number = self.followed if following else torch.arange(len(self), device=self.device)
            states, after = self.x[number], self.x[number + self.rows] if following else None
            if mode:
                f = self._spectrum(states)
                strong = f[:, mode].abs() >= WEAK * f[:, self._modes].abs().amax(1)
                states, after = states[strong], None if after is None else after[strong]
                shift = f[strong, mode].angle() / (2 * torch.pi * mode)
                turns = [shift + k / mode for k in range(mode)]
                states = torch.cat([self.moved(states.double(), turn).float() for turn in turns])
                after = (
                    None if after is None else torch.cat([self.moved(after.double(), turn).float() for turn in turns])
                )
            self._charts[key] = Chart(states, after)
        return self._charts[key]


def principal(parts: Iterable[torch.Tensor]) -> torch.Tensor:
    """The principal axes of points that come as float32 [., D], the widest first: float64 [D, Q], without those that hold
    LEFT of the variance."""
    total, square, count = torch.zeros(()), torch.zeros(()), 0
    first: torch.Tensor | None = None
    for part in parts:
        first = part[0].double() if first is None else first  # (near the mean, so that squares do not cancel)
        off = part.double() - first
        total, square, count = total + off.sum(0), square + off.T @ off, count + len(off)
    mean = total / count
    values, vectors = torch.linalg.eigh(square - count * mean[:, None] * mean)
    held = values.clamp(min=0).flip(0).cumsum(0)
    few = int((held < (1 - LEFT) * held[-1]).sum()) + 1
    return vectors[:, len(values) - few :].flip(1).contiguous()


class Chart:
    """Some states in one frame, float32 [N, D], and what came after each, in the same frame; exact nearest neighbours by
    distance along their principal axes."""

    def __init__(self, states: torch.Tensor, after: torch.Tensor | None):
        self.states, self.after = states, after
        self.axes = principal(states.split(1 << 14))
        self.z = torch.cat([part.double() @ self.axes for part in states.split(1 << 14)]).float().clamp(-HUGE, HUGE)
        padding = -len(states) % BLOCK
        half = (self.z.square().sum(1) / 2).clamp(max=torch.finfo(torch.float32).max)  # below that of the padding
        half = torch.nn.functional.pad(half, (0, padding), value=torch.inf)
        self.flat = torch.cat([torch.nn.functional.pad(self.z, (0, 0, 0, padding)).T, half[None]])

    def __len__(self) -> int:
        return len(self.states)

    def nearest(self, x: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of each of x, float64 [R, D]: the `count` nearest states' numbers [R, K], squared distances [R, K], rising, and places
        along the axes [R, K, Q]. Of a row that is not finite these are any. Raises LemError for fewer states than that."""
        if count > len(self):
            have = f"{count} neighbours are asked for among {len(self)} stored states"
            raise LemError(f"{have}; store more, or ask for fewer (--neighbours)")
        z = x @ self.axes
        place = self._near(z.float().nan_to_num(0).clamp(-HUGE, HUGE), count).sort(1).values
        there = self._placed(place)
        distance, order = (there - z[:, None]).square_().sum(2).sort(dim=1, stable=True)
        place = place.gather(1, order[:, :count])
        return place, distance[:, :count], self._placed(place)

    def _placed(self, number: torch.Tensor) -> torch.Tensor:
        """Places of states [R, K] along the axes, float64 [R, K, Q]."""
        return self.z.index_select(0, number.flatten()).double().reshape(*number.shape, -1)

    def _near(self, z: torch.Tensor, count: int) -> torch.Tensor:
        """Candidates of each of z, float32 [R, Q]: the nearest and SPARE more."""
        if self.z.is_cuda or len(self) < FEW:
            return self._of_all(z, count)
        found = []
        for part in z.split(TOGETHER):
            number, unsure = self._boxes.near(part, count, SPARE)
            if len(rows := unsure.nonzero()[:, 0]):
                number[rows] = self._of_all(part[rows], count)
            found.append(number)
        return torch.cat(found) if len(found) != 1 else found[0]

    @cached_property
    def _boxes(self) -> Boxes:
        return Boxes(self.z)

    def _of_all(self, z: torch.Tensor, count: int) -> torch.Tensor:
        """The same by the distances to all states: half a squared one is |z|^2 / 2 + |s|^2 / 2 - z s; the nearest are in the
        blocks of the least, of states that are as far from one another as there are blocks."""
        block = BLOCK
        while not z.is_cuda and block > 8 and block * block * (count + SPARE) > len(self):
            block //= 2  # (what is looked at is then least)
        blocks = torch.mm(torch.nn.functional.pad(-z, (0, 1), value=1.0), self.flat).reshape(len(z), block, -1)
        wanted = min(count + SPARE, blocks.shape[2])
        best = blocks.amin(1).topk(wanted, largest=False, sorted=False).indices
        inside = blocks.gather(2, best[:, None].expand(-1, block, -1)).flatten(1)
        near = inside.topk(min(count + SPARE, len(self)), largest=False, sorted=False).indices
        return best.gather(1, near % wanted) + near // wanted * blocks.shape[2]


@dataclass(frozen=True)
class Known:
    """What correctors are made from: the stored states; some that are held out, float64 [V R, D], R rows side by side as the
    stored ones; and a trained network (nets.model.Model) or None."""

    states: States
    held: torch.Tensor
    model: Any = None
