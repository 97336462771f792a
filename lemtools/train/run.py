"""A run: what it needs before its first step, and what it must be able to do, whatever learns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from ..ranks import Ranks
from ..signal import LemError
from . import checkpoint, flops
from .data import Batches, Spec
from .settings import Settings


@dataclass
class Prepared:
    """A run before its first step. settings: resolved. model, objective: what learns, and what it makes small, as `run`
    takes them. spec: the batches; validation: the batches of items kept back, or None. fingerprint: of the settings
    and the data. note: what a person should know. report: numbers on what is kept back, of recipes that end in some.
    gates: what finds out, of the run as it stands, whether its numbers may be printed, and says so in a line (gates); None:
    nothing does. failed: of runs side by side what is wrong with some, of which no model is left; {seed: why}."""

    settings: Settings
    model: Any
    objective: Any
    spec: Spec
    validation: Spec | None
    fingerprint: dict
    run: type[Run]
    note: str | None = None
    report: dict[str, float] | None = None
    gates: Callable[[Run], str] | None = None
    failed: dict[int, str] = field(default_factory=dict)

    @cached_property
    def flops(self) -> float:
        """Floating-point operations of one item; see flops.per_item."""
        return flops.per_item(self.spec, self.objective)

    @cached_property
    def steps(self) -> int:
        """Updates of the run: as chosen, or as a budget of operations allows."""
        if self.settings.flops is None:
            return self.settings.steps
        budget = max(1, round(self.settings.flops / (self.flops * self.settings.batch)))
        return min(budget, self.settings.steps) if self.settings.preset else budget

    def batches(self, rank: int, world: int) -> Batches:
        """The share of one of `world` processes."""
        return Batches(self.spec, rank, world)

    def summary(self, device: str, world: int) -> str:
        """One line: what is trained, on what, how long."""
        among = f" ({world} processes)" if world > 1 else ""
        return (
            f"{self.settings.recipe}: {self.model.meta['net']['net']} of {self.model.parameters:,} parameters, "
            f"{len(self.spec.items):,} items, {self.steps:,} steps of {self.settings.batch} on {device}{among}"
        )


class Run(ABC):
    """A run of `prepared` on this process's device: where it stands, and what it leaves on disk."""

    def __init__(self, prepared: Prepared, ranks: Ranks, device: str):
        self.prepared, self.ranks, self.device = prepared, ranks, device
        self.settings, self.step, self.cuda = prepared.settings, 0, device.startswith("cuda")
        self.losses: list[torch.Tensor] = []  # since the last record

    @property
    def steps(self) -> int:
        """Updates of the whole run. First read once the objective is on its device, where counting operations is quickest."""
        return self.prepared.steps

    @property
    def outputs(self) -> list[str]:
        """The files of the models that it leaves."""
        return [self.settings.output]

    def place(self, kept: bool) -> str:
        """Where the model goes; kept: as it stands at this step, for good."""
        return checkpoint.kept_path(self.settings.output, self.step) if kept else self.settings.output

    @abstractmethod
    def advance(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Make one step; returns its loss, on the device."""

    @abstractmethod
    def metrics(self) -> dict[str, float]:
        """What a record of the log says of the last step besides the loss."""

    @abstractmethod
    def check(self) -> None:
        """Raise LemError before anything that is not finite goes to disk."""

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Numbers on what is kept back, by name."""

    @abstractmethod
    def state(self) -> dict[str, torch.Tensor]:
        """Tensors to go on from."""

    def record(self) -> dict:
        """Plain values to go on from."""
        return {}

    @abstractmethod
    def restore(self, state: dict[str, torch.Tensor], record: dict) -> None:
        """Take over what `state` and `record` gave."""

    @abstractmethod
    def save_model(self, kept: bool = False) -> None:
        """Write the file for others, at `place`."""

    @abstractmethod
    def finish(self) -> Prepared:
        """What was trained."""

    def picture(self) -> None:
        """Show what is recalled of some items, where the settings say so."""

    def to_device(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {k: v.to(self.device, non_blocking=True) for k, v in batch.items()}

    def save(self) -> None:
        """Write the model and the state, by the first process; all must call it together."""
        losses = self.ranks.mean(torch.stack(self.losses)) if self.losses else None
        if not self.ranks.first:
            return
        state = self.state() | ({} if losses is None else {"losses": losses})
        record = {"step": self.step, "settings": self.prepared.fingerprint, **self.record()}
        checkpoint.save_state(self.settings.output, {k: v.cpu() for k, v in state.items()}, record)
        self.save_model()

    @torch.no_grad()
    def resume(self, state: dict[str, torch.Tensor], record: dict) -> None:
        """Go on from a state and its record, which `save` wrote. Raises LemError where they are not of this run."""
        try:
            self.restore(state, record)
        except (LookupError, TypeError, ValueError, RuntimeError) as error:  # (a LemError is a ValueError)
            where, why = checkpoint.state_path(self.settings.output), (str(error).splitlines() or ["?"])[0][:120]
            raise LemError(f"{where}: damaged ({why}); move it away to begin again") from error
        self.step, self.losses = record["step"], list(state.get("losses", torch.zeros(0)).to(self.device))
