"""What a language model thinks of a text at one layer: its hidden states, document by document."""

from __future__ import annotations

import numpy as np
import torch

from ..device import pick
from ..signal import LemError, Signal
from .fitting import load as fitted
from .hf import LocalModel
from .text import Text, codec_of, is_text
from .windows import Windows


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
    """A language model of lem-train lm, asked in the same way. Nothing is masked: no token sees what comes after it.

    codec: the file of its byte pairs; it then takes text, too.
    """

    def __init__(self, path: str, device: str, codec: str | None = None):
        from ..nets.model import load

        model = load(path, pick(device))
        if model.family != "language" or not hasattr(model.net, "hidden"):
            raise LemError(f"{path}: not a language model (lem-train lm) but one of {model.meta['recipe']}")
        self.net, self.name, self.device, self.kind = model.net, path, torch.device(pick(device)), "lm"
        self.blocks, self.limit, self.vocab = model.net.depth, model.net.context, model.net.vocabulary
        self.learnt_from = codec_of(model.meta.get("unit", "byte"), self.vocab)
        self.codec = None if codec is None else self._read_by(codec)

    def _read_by(self, path: str) -> Text:
        """The byte pairs of a file; where the model does not know how long its tokens are, it learns that, too."""
        codec = fitted(path)
        if not isinstance(codec, Text):
            raise LemError(f"{path}: byte pairs are needed (lem-encode --encoder text --fit), not {codec.name}")
        if codec.vocab != self.vocab:
            raise LemError(f"{path}: {codec.vocab} tokens; {self.name} knows {self.vocab}")
        known = self.net.lengths
        if not codec.fits(known.cpu().numpy()):
            raise LemError(f"{path}: its tokens are not those of {self.name}, which was learnt with other byte pairs")
        known.copy_(torch.from_numpy(codec.lengths))
        return codec

    def ids(self, signal: Signal) -> list[np.ndarray]:
        if self.codec is not None and is_text(signal):
            return [row.astype(np.int64) for made in self.codec.encode(signal) for row in made.data]
        if self.learnt_from and is_text(signal):
            kind, _, bases = self.learnt_from.partition(":")
            way = f"--encoder {kind} --bases {bases}" if bases else "--model BPE"
            raise LemError(f"{self.name} knows {self.vocab} tokens, not bytes: make them first (lem-encode {way})")
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


class Activations(Windows):
    """Text or tokens [N, L] -> hidden states [n, M, D].

    hf: the folder of a causal model; or lm: a model of lem-train lm, and codec: the file of its byte pairs, where it is given
    text; the history then says what its tokens stand for. layer: K for the residual stream after K blocks, 0 for the embedding; negative ones count from the end (the last, of a model of transformers, is normalised). window, flat: as
    of Windows.
    """

    name = "activations"

    def __init__(
        self,
        hf: str | None = None,
        *,
        lm: str | None = None,
        codec: str | None = None,
        layer: int | None = None,
        window: int | None = None,
        flat: bool = False,
        device: str = "cpu",
    ):
        if (hf is None) == (lm is None) or layer is None:
            raise LemError("activations need one model and a layer of it: --hf FOLDER or --lm MODEL, and --layer K")
        if codec and hf:
            raise LemError("--codec is for --lm; a model of transformers has a tokenizer of its own")
        self.model = TrainedLM(lm, device, codec) if hf is None else Causal(hf, device)
        blocks = self.model.blocks
        if not -blocks - 1 <= layer <= blocks:
            raise LemError(f"--layer {layer}: {self.model.name} has {blocks} blocks, 0 (the embedding) to {blocks}")
        self.layer = layer % (blocks + 1)
        super().__init__(self.model, f"hidden states at layer {self.layer}", window, flat)

    def record(self, signal: Signal) -> dict:
        said = {"layer": self.layer, "window": self.window, "hidden": self.model.kind}
        codec = getattr(self.model, "codec", None)
        return said if codec is None else {**said, **codec.pieces()}

    def vectors(self, rows: list[np.ndarray]) -> list[torch.Tensor]:
        return self.model.hidden(rows, self.layer)
