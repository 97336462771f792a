"""What a code of activations is worth: the model's own loss once they are decoded and put back where they were taken.

A model is anything with two methods, on tokens [N, T] and activations [N, T, D]:

    hidden(tokens, layer)    what enters block `layer`
    resume(hidden, layer)    logits [N, T, V] of the next token, from what enters that block on

nets.lm.LM has them; `HuggingFace` gives them to a causal model of transformers. A code is anything that has `stages`,
encode(x [M, D]), decode(codes) and, of its first stages alone, decode(codes, stages=S): a residual quantiser, say.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from ..signal import LemError, Signal

LISTS = ("model.layers", "transformer.h", "gpt_neox.layers", "model.decoder.layers")  # where models keep their blocks


class HuggingFace:
    """A causal model of transformers, as `patch_back` asks for it."""

    def __init__(self, model):
        self.model = model.eval()
        self.blocks = next((found for name in LISTS if (found := _at(model, name)) is not None), None)
        if self.blocks is None:
            raise LemError(f"{type(model).__name__}: its blocks are not found in any of {', '.join(LISTS)}")

    def parameters(self):
        return self.model.parameters()

    def hidden(self, tokens: torch.Tensor, layer: int) -> torch.Tensor:
        if not 0 <= layer < len(self.blocks):
            raise ValueError(f"layer {layer}: this model has 0 to {len(self.blocks) - 1}")
        return self.model(input_ids=tokens.long(), output_hidden_states=True, use_cache=False).hidden_states[layer]

    def resume(self, hidden: torch.Tensor, layer: int) -> torch.Tensor:
        """The blocks before run on token 0 for nothing: what they leave is replaced on the way into block `layer`."""

        def put(block, args, kwargs):
            if args:
                return (hidden, *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": hidden}

        handle = self.blocks[layer].register_forward_pre_hook(put, with_kwargs=True)
        try:
            none = torch.zeros(hidden.shape[:2], dtype=torch.long, device=hidden.device)
            return self.model(input_ids=none, use_cache=False).logits
        finally:
            handle.remove()


def _at(model, name: str):
    for part in name.split("."):
        model = getattr(model, part, None)
    return model


def patch_back_texts(signals: Iterable[Signal], code, *, batch: int = 8, **settings) -> list[dict[str, float]]:
    """`patch_back` on the texts, or tokens, of a stream, in windows that lie side by side; the rest is left out.

    settings: the model and its layer, as activations.Activations takes them; its window predicts as many tokens. Raises
    LemError where no text is that long, and for a layer that no block follows.
    """
    from .activations import Activations

    asked = Activations(**settings)
    model = HuggingFace(asked.model.model) if settings.get("hf") else asked.model.net
    tokens = windows_of(signals, asked.model, asked.window + 1)
    if asked.layer == asked.model.blocks and settings.get("hf"):
        raise LemError(f"--layer {asked.layer}: no block follows it, nothing can be put back")
    return patch_back(model, asked.layer, code, tokens, batch=batch)


def windows_of(signals: Iterable[Signal], model, span: int) -> np.ndarray:
    """Tokens [N, span] of all texts, or tokens, of a stream, in windows that lie side by side; the rest of each is left out.

    model: what makes tokens of a batch (`ids`). LemError for anything else, and where no text is that long.
    """
    found = []
    for signal in signals:
        if signal.kind != "tokens" or signal.ops:
            raise LemError(f"patch-back takes whole texts or tokens, not {'fragments' if signal.ops else signal.kind}")
        found += [ids[: len(ids) // span * span].reshape(-1, span) for ids in model.ids(signal)]
    if not sum(map(len, found)):
        raise LemError(f"no text has {span} tokens; give a smaller --window than {span - 1}")
    return np.concatenate(found)


@torch.no_grad()
def patch_back(
    model, layer: int, code, tokens: np.ndarray, *, stages: Sequence[int] | None = None, batch: int = 8
) -> list[dict[str, float]]:
    """Rows of a rate-distortion-loss table: the model as it is, with the mean activation in place of all, and with the
    activations decoded from 1 .. S stages of their code.

    tokens: [N, T + 1] integers; every window predicts its last T from those before. stages: which numbers of them;
    None: all. The mean is that of these very activations: the best that no bits at all can do. Keys of a row: stages
    (None for the model as it is), bits (nominal, of a vector), nmse (squared error over the variance about the mean),
    loss (bits a token), change (of the loss, bits a token). Raises LemError where activations and code differ in width.
    """
    device = next(model.parameters()).device
    windows = list(torch.from_numpy(np.asarray(tokens, np.int64)).split(batch)) if len(tokens) else []
    if not windows or windows[0].shape[1] < 2:
        raise LemError("patch-back: windows of two tokens at least are needed")
    first = code.stages if getattr(code, "gains", None) is not None else 1  # with a gain: all stages or none
    asked = list(range(first, code.stages + 1)) if stages is None else list(stages)
    total = torch.zeros(())
    count = 0
    for part in windows:
        x = model.hidden(part[:, :-1].to(device), layer).cpu().double()
        total, count = total + x.sum((0, 1)), count + x[..., 0].numel()
    mean = (total / count).float()
    if getattr(code, "dims", len(mean)) != len(mean):
        raise LemError(f"patch-back: a code of {code.dims} dimensions for activations of {len(mean)}")
    names: list[int | None] = [None, 0, *asked]
    losses, errors, spread = np.zeros(len(names)), np.zeros(len(names)), 0.0
    for part in windows:
        part = part.to(device)
        x = model.hidden(part[:, :-1], layer)
        flat = x.float().flatten(0, 1).cpu()
        codes = code.encode(flat.numpy())
        spread += float((flat - mean).double().square().sum())
        for row, name in enumerate(names):
            if name is None:
                y = flat
            elif name == 0:
                y = mean.expand_as(flat)
            else:
                y = torch.as_tensor(code.decode(codes, stages=name) if name < code.stages else code.decode(codes))
            errors[row] += float((flat - y).double().square().sum())
            logits = model.resume(y.to(x).reshape(x.shape), layer).float()
            nats = F.cross_entropy(logits.transpose(1, 2), part[:, 1:], reduction="none")
            losses[row] += float(nats.cpu().double().sum())
    losses /= count * math.log(2)
    width = getattr(code, "groups", 1) * math.log2(getattr(code, "codes", 1))
    bits = {name: None if name is None else name * width for name in names} | {code.stages: getattr(code, "bits", None)}
    return [
        {
            "stages": name,
            "bits": bits[name],
            "nmse": error / spread if spread else 0.0,
            "loss": loss,
            "change": loss - losses[0],
        }
        for name, error, loss in zip(names, errors.tolist(), losses.tolist())
    ]
