"""Rollouts of tensors: nothing leaves the device, and on a GPU a step can be one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import torch

from ..catalogue import LemError
from .step import ACTIONS, Step, Stepper

BLOCK = 32  # steps that come from a GPU at once: the host waits for it once in so many
Emulator = Callable[[torch.Tensor], torch.Tensor]


def rolled(
    step: Emulator, start: torch.Tensor, steps: int, thermalizer: Stepper | None = None, capture: bool = False
) -> Iterator[Step]:
    """``loop.rollout`` of a tensor."""
    loop = Loop(step, start, thermalizer)
    if capture and start.is_cuda:
        loop.capture()
    for _ in range(steps):
        yield loop.step()


def fetched(steps: Iterator[Step]) -> Iterator[Step]:
    """Steps as NumPy arrays: those of a GPU copied BLOCK at a time, all others as they come."""
    for first in steps:
        if not (isinstance(first.state, torch.Tensor) and first.state.is_cuda):
            yield first.numpy()
            continue
        block = [first, *islice(steps, BLOCK - 1)]
        fields = [torch.stack(values).cpu() for values in zip(*map(_tensors, block))]
        for done, *values in zip(block, *fields):
            yield _with(done, iter(values)).numpy()


def _tensors(step: Step) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    step.each(found.append)
    return found


def _with(step: Step, values: Iterator[torch.Tensor]) -> Step:
    """Its tensors, in their order, replaced."""
    return step.each(lambda value: next(values))


class Loop:
    """An emulator's states, thermalized, fed back to it.

    step: a tensor float32 [R, C, ...] to the next. start: [R, C, ...] on any device. A row that is no longer finite is dead from
    then on: NaN; the emulator is shown its start in its place.
    """

    def __init__(self, step: Emulator, start: torch.Tensor, thermalizer: Stepper | None = None):
        self.emulator, self.thermalizer = step, thermalizer
        self.graph: torch.cuda.CUDAGraph | None = None
        self.shape = (-1, *[1] * (start.ndim - 1))
        start = start.float()
        self.alive = torch.isfinite(start).reshape(len(start), -1).all(1)
        self.safe = torch.where(self.alive.reshape(self.shape), start, 0.0)
        self.previous = start.clone()

    def step(self) -> Step:
        """What the next step came to."""
        if self.graph is None:
            done = self._step()
            self.previous = done.state
            return done
        before = self.previous.clone()
        self.graph.replay()
        return self.held.each(torch.clone)._replace(previous=before)

    def capture(self, warm: int = 3) -> None:
        """From now on a step is one CUDA graph. warm: steps before, which change nothing."""
        kept = [self.alive, self.previous]
        if (ready := getattr(self.thermalizer, "ready", None)) is not None:
            kept.append(ready(len(self.previous)))
        before = [value.clone() for value in kept]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(warm):
                self._step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.held = self._step()
            self.previous.copy_(self.held.state)
        for value, was in zip(kept, before):
            value.copy_(was)
        self.graph, self.kept = graph, kept  # (it writes where they lie)

    @torch.no_grad()
    def _step(self) -> Step:
        living = self.alive.reshape(self.shape)
        now = self.emulator(torch.where(living, self.previous, self.safe)).float()
        if now.shape != self.previous.shape:
            raise LemError(f"the emulator answered states {list(now.shape)} to states {list(self.previous.shape)}")
        self.alive &= torch.isfinite(now).reshape(len(now), -1).all(1)
        now = torch.where(self.alive.reshape(self.shape), now, torch.nan)
        if self.thermalizer is None:
            none = torch.zeros(len(now), dtype=torch.float64, device=now.device)
            calls = none.long()
            done = Step(now, none * torch.nan, torch.where(self.alive, calls, ACTIONS.index("dead")), none, calls)
        else:
            done = self.thermalizer.step(now, self.previous)
        return done._replace(claimed=now, previous=self.previous)
