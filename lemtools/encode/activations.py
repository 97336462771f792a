"""What a language model thinks of a text at one layer: its hidden states, document by document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from ..signal import LemError, Signal
from .contract import Encoder
from .local import Local, numbers

WINDOW = 1024  # tokens at a time, where the model takes as many
AT_ONCE = 1 << 13  # tokens of a batch


class Activations(Encoder):
    """Text or tokens [N, L] -> hidden states [n, M, D], each document by itself, token ids alongside.

    hf: the folder of a causal model. layer: K for the residual stream after K blocks, 0 for the embedding; negative
    ones count from the end (-1 is what the head reads, normalised). window: documents of more tokens are cut into
    windows of so many, which do not see each other; the last one is shorter. flat: every position is an item [D] of its
    own, so that documents of any length go into one file.
    Memory does not grow with the number of documents or their length. The model's dtype is kept, bfloat16 too.
    """

    name, reads, splits = "activations", ("tokens",), True

    def __init__(self, hf: str | None = None, *, layer: int | None = None, window: int | None = None,
                 flat: bool = False, device: str = "cpu"):
        if hf is None or layer is None:
            raise LemError("activations need a model and a layer of it: --hf FOLDER --layer K")
        self.local = Local(hf, "AutoModelForCausalLM", device, "activations")
        self.trunk = self.local.model.base_model  # the head's product is not wanted
        blocks = self.local.model.config.get_text_config().num_hidden_layers
        if not -blocks - 1 <= layer <= blocks:
            raise LemError(f"--layer {layer}: {hf} has {blocks} blocks, 0 (the embedding) to {blocks}")
        self.layer, self.flat = layer % (blocks + 1), flat
        self.window = window or min(WINDOW, self.local.limit)
        if self.window > self.local.limit:
            raise LemError(f"--window {window}: {hf} takes {self.local.limit} tokens at most")

    def record(self, signal: Signal) -> dict:
        return {"layer": self.layer, "window": self.window, "hidden": self.local.model.config.model_type}

    def encode(self, signal: Signal) -> Iterator[Signal]:
        rows, places = [], []
        for i, ids in enumerate(self.local.ids(signal)):
            cuts = range(0, len(ids), self.window)
            for k, start in enumerate(cuts):
                rows.append(ids[start : start + self.window])
                places.append((i, k if len(cuts) > 1 else None))
        step = max(1, AT_ONCE // max(map(len, rows)))
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            for (i, k), ids, hidden in zip(places[start:], part, self._hidden(part)):
                yield self._item(signal.take([i]), k, ids, hidden)

    @torch.inference_mode()
    def _hidden(self, rows: list[np.ndarray]) -> list[torch.Tensor]:
        """[L, D] of each row: padding is masked, and cut off again."""
        ids, mask = self.local.batch(rows)
        states = self.trunk(input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False)
        states = states.hidden_states[self.layer]
        return [states[i, : len(row)] for i, row in enumerate(rows)]

    def _item(self, item: Signal, k: int | None, ids: np.ndarray, hidden: torch.Tensor) -> Signal:
        data, depth = numbers(hidden)
        if not np.isfinite(data).all():
            raise LemError(f"NaN or infinite hidden states at layer {self.layer}")
        name = item.names and item.names[0] + (f"#{k}" if k is not None else "")
        ids = ids.astype(np.int32)
        if not self.flat:
            names = name and [name]
            return replace(item, kind="embedding", data=data[None], tokens=ids[None], depth=depth, names=names)
        label = None if item.label is None else np.repeat(item.label, len(ids))
        return replace(item, kind="embedding", data=data, tokens=ids, depth=depth, names=None, label=label,
                       index=np.arange(len(ids)))
