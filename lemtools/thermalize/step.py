"""What a step of some rows came to, and what makes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

STATES = ("state", "claimed", "previous", "more")  # of a Step, what is no number of each row
ACTIONS = ("nothing", "corrected", "flagged", "dead")


class Step(NamedTuple):
    """What became of R states. state float32 [R, C, ...]; level float64 [R]: noise read before, in units of the std; action
    [R] of ACTIONS; displacement float64 [R]: rms of the change, in units of the std; calls int64 [R] of the corrector;
    more: [R] each, what else is told in a log, by its name; claimed, previous: the states that came, and those before
    them, None where nobody told.

    All are NumPy arrays, or torch tensors where the state was one; action then has the numbers of ACTIONS, int64.
    """

    state: Any
    level: Any
    action: Any
    displacement: Any
    calls: Any
    more: Mapping[str, Any] = MappingProxyType({})
    claimed: Any = None
    previous: Any = None

    def numpy(self) -> Step:
        """The same as NumPy arrays."""
        plain = self.each(lambda value: value.cpu().numpy())
        return plain._replace(action=_NAMES[plain.action]) if isinstance(self.action, torch.Tensor) else plain

    def each(self, call: Callable[[torch.Tensor], Any]) -> Step:
        """The same with what `call` makes of every tensor in it."""
        done = {name: call(v) if isinstance(v, torch.Tensor) else v for name, v in self._asdict().items()}
        more = {name: call(v) if isinstance(v, torch.Tensor) else v for name, v in self.more.items()}
        return Step(**done | {"more": more})

    def told(self) -> dict[str, np.ndarray]:
        """All but the states, by name."""
        return {name: getattr(self, name) for name in self._fields if name not in STATES} | dict(self.more)


class Stepper(Protocol):
    """What puts a step of some rows right: a Thermalizer, or what has one inside."""

    def step(self, state: Any, previous: Any = None) -> Step: ...


_NAMES = np.array(ACTIONS, dtype=object)
