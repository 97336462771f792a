"""What a translation of activations is worth: B's own loss once A's activations, translated, are put where B's own were.

Both models read the same tokens. What B predicts is held against its loss with its own activations and with controls that
know less: the mean of its own, the translations of other positions, and A's vectors as they are, cut or padded with zeros.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..denoise.moments import student_t
from ..signal import LemError, Signal
from .activations import Activations
from .contract import Encoder
from .patch_back import windows_of

PUT = ("own", "translated", "mean", "identity", "shuffled")


def patch_translated(
    signals: Iterable[Signal],
    coder: Encoder,
    *,
    lm: str,
    from_lm: str,
    layer: int,
    from_layer: int | None = None,
    window: int | None = None,
    device: str = "cpu",
    batch: int = 32,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """A row for each of PUT, of all texts, or tokens, of a stream, in windows that lie side by side; the rest is left out.

    coder: translates A's vectors into B's. lm: B, lem-train lm's; from_lm: A. layer, from_layer: of B and A, as of
    activations.Activations; A's is B's where it is None. window: tokens that are predicted in one; None: what both take.
    Keys of a row: put, nmse (squared error over the variance of B's own), loss (bits a byte), change (of the loss), interval
    (half of the 95 % interval of the change over windows, Student's t; None of a single one). LemError where the models know
    other tokens, where no text is long enough, and for vectors of another width than the coder's.
    """
    b, a = Activations(lm=lm, layer=layer, window=window, device=device), None
    a = Activations(lm=from_lm, layer=layer if from_layer is None else from_layer, window=window, device=device)
    if a.model.vocab != b.model.vocab or not torch.equal(a.model.net.lengths.cpu(), b.model.net.lengths.cpu()):
        raise LemError(
            f"{from_lm} knows {a.model.vocab} tokens and {lm} {b.model.vocab}: both have to read the same ones"
        )
    span = min(a.window, b.window) + 1
    parts = torch.from_numpy(windows_of(signals, b.model, span)).split(batch)
    mean = _mean(b, parts)
    draw = np.random.default_rng(seed)
    nats, squares, bytes_of, spread = {put: [] for put in PUT}, dict.fromkeys(PUT, 0.0), [], 0.0
    with torch.inference_mode():
        for part in parts:
            seen, own = part[:, :-1], _hidden(b, part)
            theirs = _hidden(a, part)
            made = _translated(coder, theirs)
            if made.shape != own.shape:
                raise LemError(
                    f"it translates into vectors of {made.shape[-1]} numbers; those of {lm} have {own.shape[-1]}"
                )
            order = torch.from_numpy(draw.permutation(seen.numel()))
            put = {
                "own": own,
                "translated": made,
                "mean": mean.expand_as(own),
                "identity": F.pad(theirs[..., : own.shape[-1]], (0, max(0, own.shape[-1] - theirs.shape[-1]))),
                "shuffled": made.flatten(0, 1)[order].reshape(made.shape),
            }
            spread += float((own - mean).double().square().sum())
            for name, x in put.items():
                squares[name] += float((x - own).double().square().sum())
                nats[name].append(_nats(b, x, part))
            bytes_of.append(b.model.net.lengths.cpu()[part[:, 1:]].sum(1).double().numpy())
    return _rows({name: np.concatenate(each) for name, each in nats.items()}, np.concatenate(bytes_of), squares, spread)


def _hidden(model: Activations, part: torch.Tensor) -> torch.Tensor:
    net = model.model.net
    return net.hidden(part[:, :-1].to(model.model.device), model.layer).float().cpu()


@torch.inference_mode()
def _mean(model: Activations, parts: Iterable[torch.Tensor]) -> torch.Tensor:
    total, count = torch.zeros(()), 0
    for part in parts:
        x = _hidden(model, part)
        total, count = total + x.double().sum((0, 1)), count + x[..., 0].numel()
    return (total / count).float()


def _translated(coder: Encoder, x: torch.Tensor) -> torch.Tensor:
    (made,) = coder.encode(Signal("embedding", x.numpy()))
    return torch.from_numpy(made.data)


def _nats(model: Activations, x: torch.Tensor, part: torch.Tensor) -> np.ndarray:
    """[N], of all that each window predicts."""
    net, device = model.model.net, model.model.device
    logits = net.resume(x.to(device), model.layer).float()
    nats = F.cross_entropy(logits.transpose(1, 2), part[:, 1:].to(device), reduction="none")
    return nats.double().sum(1).cpu().numpy()


def _rows(
    nats: dict[str, np.ndarray], size: np.ndarray, squares: dict[str, float], spread: float
) -> list[dict[str, Any]]:
    """Ratios of sums, and the interval of the difference of two of them: residuals of each window over the mean size."""
    rows, n = [], len(size)
    loss = {name: float(each.sum() / size.sum() / math.log(2)) for name, each in nats.items()}
    for name, each in nats.items():
        change = loss[name] - loss["own"]
        apart = (each - nats["own"]) / math.log(2) - change * size
        half = student_t(0.95, n - 1) * apart.std(ddof=1) / math.sqrt(n) / size.mean() if n > 1 else None
        nmse = squares[name] / spread if spread else 0.0
        rows.append({"put": name, "nmse": nmse, "loss": loss[name], "change": change, "interval": half})
    return rows
