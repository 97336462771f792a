"""Texts as a vector for every position, by a language model: document by document, window by window."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from ..signal import LemError, Signal
from .contract import Encoder
from .hf import numbers

WINDOW = 1024  # tokens at a time, where the model takes as many
AT_ONCE = 1 << 13  # tokens of a batch


class Windows(Encoder):
    """Text or tokens [N, L] -> vectors [n, M, D], each document by itself, token ids alongside.

    model: what makes tokens of a batch (`ids`), with `name` and `limit`, the most tokens that it takes. made: what its vectors
    are called. window: documents of more tokens are cut into windows of so many, which do not see each other; the last
    one is shorter. flat: every position is an item [D] of its own, so that documents of any length go into one file.
    Memory does not grow with the number of documents or their length. The model's dtype is kept, bfloat16 too.
    """

    splits = True

    def __init__(self, model, made: str, window: int | None, flat: bool):
        self.model, self.vectors_are, self.flat = model, made, flat
        self.window = window or min(WINDOW, model.limit)
        if self.window > model.limit:
            raise LemError(f"--window {window}: {model.name} takes {model.limit} tokens at most")

    @abstractmethod
    def vectors(self, rows: list[np.ndarray]) -> list[torch.Tensor]:
        """[L, D] of each row of tokens."""

    def encode(self, signal: Signal) -> Iterator[Signal]:
        rows, places = [], []
        for i, ids in enumerate(self.model.ids(signal)):
            cuts = range(0, len(ids), self.window)
            for k, start in enumerate(cuts):
                rows.append(ids[start : start + self.window])
                places.append((i, k if len(cuts) > 1 else None))
        step = max(1, AT_ONCE // max(map(len, rows)))
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            for (i, k), ids, vectors in zip(places[start:], part, self.vectors(part)):
                yield self._item(signal.take([i]), k, ids, vectors)

    def _item(self, item: Signal, k: int | None, ids: np.ndarray, vectors: torch.Tensor) -> Signal:
        data, depth = numbers(vectors)
        if not np.isfinite(data).all():
            raise LemError(f"NaN or infinite {self.vectors_are}")
        name = item.names and item.names[0] + (f"#{k}" if k is not None else "")
        ids = ids.astype(np.int32)
        if not self.flat:
            names = name and [name]
            return replace(item, kind="embedding", data=data[None], tokens=ids[None], depth=depth, names=names)
        label = None if item.label is None else np.repeat(item.label, len(ids))
        own = {"names": None, "label": label, "index": np.arange(len(ids))}
        return replace(item, kind="embedding", data=data, tokens=ids, depth=depth, **own)
