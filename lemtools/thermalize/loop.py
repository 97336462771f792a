"""The thermalizer: a state in, the state out; and the loop of an emulator that it keeps on the manifold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from ..catalogue import LemError
from ..catalogue.correctors import CORRECTORS
from ..denoise.contract import Array, Scale, Some
from ..rng import generators
from .codec import FIELDS, Codec
from .gate import Gate
from .on_device import rolled
from .states import Known
from .step import ACTIONS, Step, Stepper

SAVED = 10.0  # calls that a row may have saved up under a budget


class Thermalizer:
    """Puts states back where their score at the gate says that they have left the manifold.

    Where the score is above the threshold of the gate the corrector is called; while it stays above, it is called again,
    `max_calls` at most, from the state with fresh noise of twice its level, or score where that is more; and where it is
    above even then, or an answer is not finite, the row is flagged. Last the Wiener filter takes away what noise is left
    (`clean`). budget: calls a row and step on average at most: a row earns that much at every step, saves up to SAVED, and
    pays 1 a call (budget.budgeted finds a threshold for all rows instead). every: the corrector is called at every step,
    whatever the score. A row that is not finite is dead: it stays as it is.

    ``thermalizer(state, previous)`` is for anybody's loop: NumPy or torch in, the same out. Draws belong to (seed, row,
    step): a row's do not depend on the others. Step.more: score [R], what the gate read.
    """

    def __init__(
        self,
        known: Known,
        gate: Gate,
        corrector: str,
        *,
        clean: bool = True,
        every: bool = False,
        budget: float | None = None,
        max_calls: int = 1,
        seed: int = 0,
        **options: Any,
    ):
        if max_calls < 1:
            raise LemError(f"--max-calls {max_calls}: a row gets one call or more")
        if budget is not None and budget < 0:
            raise LemError(f"--budget {budget:g}: calls a row and step, 0 or more")
        self.known, self.gate, self.clean, self.every = known, gate, clean, every
        self.row = CORRECTORS.find(corrector)
        self.correct = self.row.load()(known, **{k: v for k, v in options.items() if v is not None})
        self.budget, self.max_calls, self.seed = budget, max_calls, seed
        self.reset()

    def reset(self) -> None:
        """Forget the rows: the next states are the first of theirs."""
        self.steps, self.credit = 0, torch.zeros(0, dtype=torch.float64, device=self.known.states.device)

    @property
    def static(self) -> bool:
        """Whether a step waits for no number on the device."""
        return bool(self.known.states.masked and self.row.static and self.gate.reader.static and self.max_calls == 1)

    @property
    def captured(self) -> bool:
        """Whether a CUDA graph can hold a step: it is static, and asks for no draws, which are made on the host."""
        return self.static and not self.row.draws

    def ready(self, rows: int) -> torch.Tensor:
        """Make room for that many rows; other ones than before are the first of theirs. What it keeps of them [R]."""
        if len(self.credit) != rows:
            self.reset()
            self.credit = torch.zeros(rows, dtype=torch.float64, device=self.known.states.device)
        return self.credit

    @property
    def item(self) -> tuple[int, ...]:
        """The shape of a state."""
        return self.known.states.item

    @property
    def scale(self) -> Scale:
        """The coordinates."""
        return self.known.states.scale

    def __call__(self, state: Any, previous: Any = None) -> Any:
        """The states [R, C, ...] as they should be, in the kind of array of `state`."""
        if isinstance(state, torch.Tensor):
            return self.step(state, previous).state.to(state)
        state = np.asarray(state)
        return self.step(state, previous).state.astype(state.dtype, copy=False)

    def step(self, state: Array, previous: Array | None = None) -> Step:
        """state: [R, C, ...]. previous: the same of the step before, None at the first. Of a tensor the answer is tensors, on
        its device, and nothing is copied where the stored states lie there, too."""
        done = self._step(torch.as_tensor(state), previous)
        return done if isinstance(state, torch.Tensor) else done.numpy()

    @torch.no_grad()
    def _step(self, state: torch.Tensor, previous: Array | None) -> Step:
        x = self._encoded(state)
        self.ready(len(x))
        before = None if previous is None else self._encoded(previous)
        alive = torch.isfinite(x).all(1)
        if self.row.previous:
            able = torch.zeros_like(alive) if before is None else alive & torch.isfinite(before).all(1)
        else:
            able = alive
        self.credit.add_(self.budget or 0).clamp_(max=SAVED)
        first = self.gate.level(x)
        read = self.gate.score(x, first)
        wanted = able & ((read > self.gate.threshold) | self.every)
        called = self._masked if self.static else self._called
        out, level, score, calls = called(x, before, first, read, able, wanted)
        bad = alive & (calls > 0) & (score > self.gate.threshold)
        if self.clean:
            out = self.gate.cleaned(out, level)
        self.steps += 1
        action = (calls > 0) + bad.long()
        action = torch.where(alive, action, ACTIONS.index("dead"))
        moved = (out - x).square().mean(1).sqrt()
        shape = (-1, *[1] * len(self.known.states.item))
        back = torch.where(alive.reshape(shape).to(state.device), self.known.states.values(out).to(state), state)
        return Step(back.float(), first, action, moved, calls, {"score": read})

    def _masked(
        self,
        x: torch.Tensor,
        before: torch.Tensor | None,
        first: torch.Tensor,
        read: torch.Tensor,
        able: torch.Tensor,
        wanted: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """(states, their levels and scores, calls) where every row is corrected, and those that are not called stay as they are."""
        if self.row.previous and before is None:
            return x, first, read, torch.zeros(len(x), dtype=torch.int64, device=x.device)
        rows = wanted & self._payable()
        sound = able[:, None]
        told = None if before is None else torch.where(sound, before, 0.0)
        draws = generators(self.seed, np.arange(len(x)), self.steps, "thermalize") if self.row.draws else ()
        answer, spent = self.correct(torch.where(sound, x, 0.0), told, first, draws)
        whole = torch.isfinite(answer.float()).all(1)
        out, calls = torch.where((rows & whole)[:, None], answer, x), rows * spent
        self.credit.sub_(calls)
        level = torch.where(rows, self.gate.level(out), first)
        score = torch.where(rows, self.gate.score(out, level), read)
        return out, level, torch.where(rows & ~whole, torch.inf, score), calls

    def _called(
        self,
        x: torch.Tensor,
        before: torch.Tensor | None,
        first: torch.Tensor,
        read: torch.Tensor,
        able: torch.Tensor,
        wanted: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same where the corrector is shown the rows that are called alone, as often as they want."""
        out, level, score = x.clone(), first.clone(), read.clone()
        calls, failed = torch.zeros(len(x), dtype=torch.int64, device=x.device), torch.zeros_like(wanted)
        for turn in range(self.max_calls):
            rows = (wanted & self._payable()).nonzero()[:, 0]
            if not len(rows):
                break
            draws: list[np.random.Generator] = []
            if turn or self.row.draws:
                place = self.steps * self.max_calls + turn
                draws = generators(self.seed, rows.cpu().numpy(), place, "thermalize")
            now = out[rows]
            if turn:
                fresh = torch.from_numpy(np.stack([g.standard_normal(x.shape[1]) for g in draws])).to(x.device)
                added = 2 * torch.maximum(level[rows], score[rows])
                now = now + added[:, None] * fresh
                level[rows] = (level[rows].square() + added.square()).sqrt()
            answer, spent = self.correct(now, None if before is None else before[rows], level[rows], draws)
            whole = torch.isfinite(answer.float()).all(1)  # else it is none: the state stays, and is flagged
            out[rows], failed[rows] = torch.where(whole[:, None], answer, out[rows]), ~whole
            calls[rows] += spent
            self.credit[rows] -= spent
            level[rows] = self.gate.level(out[rows])
            score[rows] = self.gate.score(out[rows], level[rows])
            wanted = able & (score > self.gate.threshold)
        return out, level, torch.where(failed, torch.inf, score), calls

    def _payable(self) -> torch.Tensor:
        return torch.ones_like(self.credit, dtype=torch.bool) if self.budget is None else self.credit >= 1

    def _encoded(self, state: Array) -> torch.Tensor:
        item = self.known.states.item
        if tuple(state.shape[1:]) != item:
            raise LemError(f"states of {list(state.shape[1:])}, where the memory has {list(item)}")
        return self.known.states.encoded(state)


def rollout(
    step: Callable[[Some], Some],
    start: Some,
    steps: int,
    thermalizer: Stepper | None = None,
    codec: Codec = FIELDS,
    capture: bool = False,
) -> Iterator[Step]:
    """The states after each of `steps` steps of an emulator, with its own answers, thermalized, fed back to it.

    step: float32 [R, C, ...] to the next. start: [R, C, ...], not among what is yielded. A row that is no longer finite is
    dead from then on: NaN; the emulator is shown its start in its place. codec: what the states are, where they are others.

    Of a start that is a tensor everything stays on its device, and the Steps are tensors (see ``on_device.Loop``). capture:
    a step, the emulator's included, is one CUDA graph, where it lies on a GPU and the thermalizer can
    (``Thermalizer.captured``); the emulator then must not wait for the device either.
    """
    if isinstance(start, torch.Tensor):
        yield from rolled(step, start, steps, thermalizer, capture and getattr(thermalizer, "captured", True))
        return
    start = codec.state(start)
    alive = codec.alive(start)
    previous, shape = start, (-1, *[1] * (start.ndim - 1))
    safe = np.where(alive.reshape(shape), start, start.dtype.type(0))
    for _ in range(steps):
        now = codec.claimed(step(np.where(alive.reshape(shape), previous, safe)), start, "the emulator ")
        alive = alive & codec.alive(now)
        now = codec.dead(now, alive)
        if thermalizer is None:
            none = np.zeros(len(now))
            done = Step(
                now, none * np.nan, np.where(alive, ACTIONS[0], "dead").astype(object), none, none.astype(np.int64)
            )
        else:
            done = thermalizer.step(now, previous)
        yield done._replace(claimed=now, previous=previous)
        previous = done.state
