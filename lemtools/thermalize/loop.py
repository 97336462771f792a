"""The thermalizer: a state in, the state out; and the loop of an emulator that it keeps on the manifold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from ..catalogue import LemError
from ..catalogue.correctors import CORRECTORS
from ..denoise.contract import Scale
from ..rng import generators
from .codec import FIELDS, Codec
from .gate import Gate
from .states import Known

STATES = ("state", "claimed", "previous", "more")  # of a Step, what is no number of each row
ACTIONS = ("nothing", "corrected", "flagged", "dead")
SAVED = 10.0  # calls that a row may have saved up under a budget


class Step(NamedTuple):
    """What became of R states. state float32 [R, C, ...]; level float64 [R]: noise read before, in units of the std; action
    [R] of ACTIONS; displacement float64 [R]: rms of the change, in units of the std; calls int64 [R] of the corrector;
    more: [R] each, what else is told in a log, by its name; claimed, previous: the states that came, and those before
    them, None where nobody told."""

    state: np.ndarray
    level: np.ndarray
    action: np.ndarray
    displacement: np.ndarray
    calls: np.ndarray
    more: Mapping[str, np.ndarray] = MappingProxyType({})
    claimed: np.ndarray | None = None
    previous: np.ndarray | None = None

    def told(self) -> dict[str, np.ndarray]:
        """All but the states, by name."""
        return {name: getattr(self, name) for name in self._fields if name not in STATES} | dict(self.more)


class Stepper(Protocol):
    """What puts a step of some rows right: a Thermalizer, or what has one inside."""

    def step(self, state: np.ndarray, previous: np.ndarray | None = None) -> Step: ...


class Thermalizer:
    """Puts states back where their score at the gate says that they have left the manifold.

    Where the score is above the threshold of the gate the corrector is called; while it stays above, it is called again,
    `max_calls` at most, from the state with fresh noise of twice its level, or score where that is more; and where it is above even then, the row is
    flagged. Last the Wiener filter takes away what noise is left (`clean`). budget: calls a row and step on average at
    most: a row earns that much at every step, saves up to SAVED, and pays 1 a call (budget.budgeted finds a threshold that
    spends as much). every: the corrector is called at every step, whatever the score. A row that is not finite is dead: it
    stays as it is.

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
        self.steps, self.credit = 0, torch.zeros(0, dtype=torch.float64)

    @property
    def scale(self) -> Scale:
        """The coordinates."""
        return self.known.states.scale

    def __call__(self, state: Any, previous: Any = None) -> Any:
        """The states [R, C, ...] as they should be, in the kind of array of `state`."""
        tensor = isinstance(state, torch.Tensor)
        given = [
            None if v is None else v.detach().cpu().numpy() if isinstance(v, torch.Tensor) else np.asarray(v)
            for v in (state, previous)
        ]
        done = self.step(*given).state  # type: ignore[arg-type]
        return torch.from_numpy(done).to(state) if tensor else done.astype(state.dtype, copy=False)

    def step(self, state: np.ndarray, previous: np.ndarray | None = None) -> Step:
        """state: [R, C, ...]. previous: the same of the step before, None at the first."""
        x, item = self._encoded(state), self.known.states.item
        if len(self.credit) != len(x):
            self.reset()
            self.credit = torch.zeros(len(x), dtype=torch.float64)
        before = None if previous is None else self._encoded(previous)
        alive = torch.isfinite(x).all(1)
        if self.row.previous:
            able = torch.zeros_like(alive) if before is None else alive & torch.isfinite(before).all(1)
        else:
            able = alive
        self.credit = (self.credit + (self.budget or 0)).clamp(max=SAVED)
        first = self.gate.level(x)
        out, level, calls = x.clone(), first.clone(), torch.zeros(len(x), dtype=torch.int64)
        read = self.gate.score(x, first)
        score = read.clone()
        wanted = able & ((score > self.gate.threshold) | self.every)
        for turn in range(self.max_calls):
            rows = (wanted & self._payable()).nonzero()[:, 0]
            if not len(rows):
                break
            draws = generators(self.seed, rows.numpy(), self.steps * self.max_calls + turn, "thermalize")
            now = out[rows]
            if turn:
                fresh = torch.from_numpy(np.stack([g.standard_normal(x.shape[1]) for g in draws]))
                added = 2 * torch.maximum(level[rows], score[rows])
                now = now + added[:, None] * fresh
                level[rows] = (level[rows].square() + added.square()).sqrt()
            out[rows], spent = self.correct(now, None if before is None else before[rows], level[rows], draws)
            calls[rows] += spent
            self.credit[rows] -= spent
            level[rows] = self.gate.level(out[rows])
            score[rows] = self.gate.score(out[rows], level[rows])
            wanted = able & (score > self.gate.threshold)
        bad = alive & (calls > 0) & (score > self.gate.threshold)
        if self.clean:
            rows = alive.nonzero()[:, 0]
            out[rows] = self.gate.cleaned(out[rows], level[rows])
        self.steps += 1
        action = np.full(len(x), ACTIONS[0], dtype=object)
        for name, there in (("corrected", calls > 0), ("flagged", bad), ("dead", ~alive)):
            action[there.numpy()] = name
        moved = (out - x).square().mean(1).sqrt()
        back = np.where(alive.numpy().reshape(-1, *[1] * len(item)), self.known.states.decoded(out), state)
        return Step(
            back.astype(np.float32), first.numpy(), action, moved.numpy(), calls.numpy(), {"score": read.numpy()}
        )

    def _payable(self) -> torch.Tensor:
        return torch.ones_like(self.credit, dtype=torch.bool) if self.budget is None else self.credit >= 1

    def _encoded(self, state: np.ndarray) -> torch.Tensor:
        item = self.known.states.item
        if state.shape[1:] != item:
            raise LemError(f"states of {list(state.shape[1:])}, where the memory has {list(item)}")
        return self.known.states.encoded(state)


def rollout(
    step: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    steps: int,
    thermalizer: Stepper | None = None,
    codec: Codec = FIELDS,
) -> Iterator[Step]:
    """The states after each of `steps` steps of an emulator, with its own answers, thermalized, fed back to it.

    step: float32 [R, C, ...] to the next. start: [R, C, ...], not among what is yielded. A row that is no longer finite is
    dead from then on: NaN; the emulator is shown its start in its place. codec: what the states are, where they are others.
    """
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
