"""What a language model thinks of a text at one layer: its hidden states, document by document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from ..device import pick
from ..signal import LemError, Signal
from .contract import Encoder
from .hf import LocalModel, numbers
from .text import is_text

WINDOW = 1024  # tokens at a time, where the model takes as many
AT_ONCE = 1 << 13  # tokens of a batch


class Causal(LocalModel):
    """A causal model of transformers in a local folder."""

    def __init__(self, folder: str, device: str):
        super().__init__(folder, "AutoModelForCausalLM", device, "activations")
        self.trunk = self.model.base_model  # the head's product is not wanted
        self.blocks = self.model.config.get_text_config().num_hidden_layers
        self.kind = self.model.config.model_type

    @torch.inference_mode()
    def hidden(self, rows: list[np.ndarray], layer: int) -> list[torch.Tensor]:
        """[L, D] of each row: padding is masked, and cut off again."""
        ids, mask = self.batch(rows)
        states = self.trunk(input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False)
        return [states.hidden_states[layer][i, : len(row)] for i, row in enumerate(rows)]


class TrainedLM:
    """A language model of lem-train lm, asked in the same way. Nothing is masked: no token sees what comes after it."""

    def __init__(self, path: str, device: str):
        from ..nets.model import load

        model = load(path, pick(device))
        if model.family != "language" or not hasattr(model.net, "hidden"):
            raise LemError(f"{path}: not a language model (lem-train lm) but one of {model.meta['recipe']}")
        self.net, self.name, self.device, self.kind = model.net, path, torch.device(pick(device)), "lm"
        self.blocks, self.limit, self.vocab = model.net.depth, model.net.context, model.net.vocabulary

    def ids(self, signal: Signal) -> list[np.ndarray]:
        if self.vocab > 256 and is_text(signal):
            way = "make them first (lem-encode --model BPE)"
            raise LemError(f"{self.name} knows {self.vocab} tokens, not bytes: {way}")
        top = int(signal.data.max(initial=0))
        if int(signal.data.min(initial=0)) < 0 or top >= self.vocab:
            raise LemError(f"token {top}, but {self.name} knows {self.vocab}")
        return [row.astype(np.int64) for row in signal.data]

    @torch.inference_mode()
    def hidden(self, rows: list[np.ndarray], layer: int) -> list[torch.Tensor]:
        ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
        for row, padded in zip(rows, ids):
            padded[: len(row)] = row
        states = self.net.hidden(torch.from_numpy(ids).to(self.device), layer)
        return [states[i, : len(row)] for i, row in enumerate(rows)]


class Activations(Encoder):
    """Text or tokens [N, L] -> hidden states [n, M, D], each document by itself, token ids alongside.

    hf: the folder of a causal model; or lm: a model of lem-train lm. layer: K for the residual stream after K blocks, 0
    for the embedding; negative ones count from the end (the last, of a model of transformers, is normalised). window:
    documents of more tokens are cut into windows of so many, which do not see each other; the last one is shorter.
    flat: every position is an item [D] of its own, so that documents of any length go into one file.
    Memory does not grow with the number of documents or their length. The model's dtype is kept, bfloat16 too.
    """

    name, splits = "activations", True

    def __init__(
        self,
        hf: str | None = None,
        *,
        lm: str | None = None,
        layer: int | None = None,
        window: int | None = None,
        flat: bool = False,
        device: str = "cpu",
    ):
        if (hf is None) == (lm is None) or layer is None:
            raise LemError("activations need one model and a layer of it: --hf FOLDER or --lm MODEL, and --layer K")
        self.model = TrainedLM(lm, device) if hf is None else Causal(hf, device)
        name, blocks, limit = self.model.name, self.model.blocks, self.model.limit
        if not -blocks - 1 <= layer <= blocks:
            raise LemError(f"--layer {layer}: {name} has {blocks} blocks, 0 (the embedding) to {blocks}")
        self.layer, self.flat = layer % (blocks + 1), flat
        self.window = window or min(WINDOW, limit)
        if self.window > limit:
            raise LemError(f"--window {window}: {name} takes {limit} tokens at most")

    def record(self, signal: Signal) -> dict:
        return {"layer": self.layer, "window": self.window, "hidden": self.model.kind}

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
            for (i, k), ids, hidden in zip(places[start:], part, self.model.hidden(part, self.layer)):
                yield self._item(signal.take([i]), k, ids, hidden)

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
        own = {"names": None, "label": label, "index": np.arange(len(ids))}
        return replace(item, kind="embedding", data=data, tokens=ids, depth=depth, **own)
