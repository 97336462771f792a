"""Memories that lie encoded: codes of fitted encoders, decoded a tile at a time, as they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..catalogue import listed
from ..encode import load
from ..encode.contract import Fitted
from ..media.kept import Kept, Rows
from ..signal import LemError, Signal, called
from ..transforms.history import latest

FLAG = "--memory-model"
AT_ONCE = 1 << 19  # numbers that are decoded at a time: they stay in the cache


class Decoded(Rows):
    """Memories as `lem-encode --decode` would give them.

    memory: what lies there, with its kind and history. models: paths of the fitted encoders by which it was encoded, in any
    order; the last encodings are undone first. of: a batch of one memory as it is decoded. LemError where an encoding has no
    model, or another's.
    """

    def __init__(self, memory: Kept, models: Sequence[str]):
        self.memory, self.chain = memory, _chain(memory.history, models)
        self.of = self._decoded(memory[:1])
        self.shape, self.dtype = (len(memory), *self.of.data.shape[1:]), self.of.data.dtype
        if len(self.of) != 1:
            raise LemError(f"{FLAG}: codes of {len(self.of)} memories in one, where one is expected")

    @property
    def nbytes(self) -> int:
        """What is held of the memories, without the encoders."""
        return self.memory.nbytes

    def made(self, rows: slice | np.ndarray) -> np.ndarray:
        values = self.memory[rows]
        out = np.empty((len(values), *self.shape[1:]), self.dtype)
        step = max(1, AT_ONCE // out[:1].size) if len(out) else 1
        for at in range(0, len(out), step):
            out[at : at + step] = self._decoded(values[at : at + step]).data
        return out

    def _decoded(self, values: np.ndarray) -> Signal:
        one = self.memory.one
        signal = Signal(one.kind, values, rate=one.rate, history=self.memory.history)
        for coder, record in self.chain:
            try:
                signal = next(iter(coder.decode(signal, record)))
            except LemError as error:
                raise LemError(f"{FLAG}: {error}") from error
            signal = replace(signal, history=[*signal.history, {"decoded": coder.name}])
        return signal


def _chain(history: list[dict[str, Any]], models: Sequence[str]) -> list[tuple[Fitted, dict[str, Any]]]:
    """(encoder, what was recorded when it encoded), the last encoding first."""
    left, chain = {path: load(path) for path in models}, []
    history = list(history)
    while left:
        record = latest(history)
        name = None if record is None else record["encoder"]
        path = next((path for path, coder in left.items() if coder.name == name), None)
        if record is None or path is None:
            given = listed(f"{coder.name} ({path})" for path, coder in left.items())
            what = f"encoded by {name}: name its file, too" if name else "not encoded, as far as their history says"
            raise LemError(f"{FLAG}: {given} cannot decode memories that are {what}")
        coder = left.pop(path)
        if record.get("fit", coder.fingerprint) != coder.fingerprint:
            raise LemError(f"{FLAG} {path}: another {name} than that which encoded the memories; give that file")
        chain.append((coder, record))
        history.append({"decoded": name})
    return chain


def coded(store: Signal) -> str | None:
    """The name of the fitted encoder that a store is still encoded by, or None."""
    record = latest(store.history)
    return record["encoder"] if record is not None and record.get("fitted") else None


def check(signal: Signal, store: Signal) -> None:
    """LemError where fragments are of what a store was before it was encoded."""
    name = coded(store)
    if name is None or (signal.kind, signal.whole_shape) == (store.kind, store.whole_shape):
        return
    what = f"{called(signal.kind)} of {list(signal.whole_shape)}"
    raise LemError(f"memory: encoded by {name}, so that it cannot recall {what}; name what decodes it: {FLAG} FILE")
