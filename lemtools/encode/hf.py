"""Language models in a local folder, through `transformers` (the extra `llm`). Nothing is ever fetched."""

from __future__ import annotations

import os

import numpy as np
import torch

from ..device import pick
from ..signal import LemError, Signal
from .contract import extra
from .text import as_text, is_text


class LocalModel:
    """A model and its tokenizer from a folder with config.json and safetensors weights.

    cls: the class of transformers that reads it. model: in eval mode, in its own dtype. limit: most tokens it takes.
    tokenizer: None where the folder has none.
    """

    def __init__(self, folder: str, cls: str, device: str, needed_by: str):
        shown = os.fsdecode(folder)
        if not os.path.isfile(os.path.join(folder, "config.json")):
            raise LemError(
                f"{shown}: no folder of a Hugging Face model (config.json and safetensors weights); it has "
                "to lie here, nothing is fetched"
            )
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        extra("transformers", needed_by)
        import transformers

        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        self.name, self.device = shown, torch.device(pick(device))
        options = {"local_files_only": True, "use_safetensors": True, "dtype": "auto"}
        try:
            self.model = getattr(transformers, cls).from_pretrained(folder, **options).to(self.device).eval()
        except Exception as error:  # transformers raises OSError, ValueError, KeyError, SafetensorError and more
            raise LemError(f"{shown}: not a model that {cls} can read ({_first(error)})") from error
        self.tokenizer = None
        if any(os.path.isfile(os.path.join(folder, f)) for f in ("tokenizer.json", "tokenizer_config.json")):
            try:
                self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            except Exception as error:
                raise LemError(f"{shown}: its tokenizer cannot be read ({_first(error)})") from error
        self.vocab = self.model.get_input_embeddings().num_embeddings
        self.limit = int(getattr(self.model.config, "max_position_embeddings", None) or 1 << 30)

    def ids(self, signal: Signal) -> list[np.ndarray]:
        """Token ids of every item: its text through the tokenizer; tokens that are no text, as they stand.

        LemError for text where there is no tokenizer and more tokens than bytes, and for ids that the model lacks.
        """
        if is_text(signal) and self.tokenizer is None and self.vocab > 256:
            raise LemError(f"{self.name} has no tokenizer, and knows {self.vocab} tokens, not bytes: give it token ids")
        if is_text(signal) and self.tokenizer is not None:
            # the folder's own rule for special tokens (a first one, say) holds
            rows = [np.array(ids, np.int64) for ids in self.tokenizer(as_text(signal), truncation=False)["input_ids"]]
        else:
            rows = [row.astype(np.int64) for row in signal.data]
        for ids in rows:
            if not len(ids):
                raise LemError("an empty text: it has no tokens")
            if ids.min() < 0 or ids.max() >= self.vocab:
                raise LemError(f"token {ids.max()}, but {self.name} knows {self.vocab}")
        return rows

    def batch(self, rows: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        """(ids, attention mask), both [N, longest]: rows padded on the right, where the mask is 0."""
        longest = max(map(len, rows))
        ids, mask = (torch.zeros(len(rows), longest, dtype=torch.int64) for _ in range(2))
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.from_numpy(row)
            mask[i, : len(row)] = 1
        return ids.to(self.device), mask.to(self.device)


def _first(error: Exception) -> str:
    """An error of transformers in one line."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:160]


def numbers(tensor: torch.Tensor) -> tuple[np.ndarray, int | None]:
    """(array, depth) of a tensor, its dtype kept: bfloat16, which numpy lacks, as float32 of depth 16."""
    tensor = tensor.detach().cpu()
    return (tensor.float().numpy(), 16) if tensor.dtype == torch.bfloat16 else (tensor.numpy(), None)
