"""What a translation of activations is worth: B's own loss once A's activations, translated, are put where B's own were.

Both models read the same text; where they know other tokens, B's position reads A's last state that has seen no more of it
(offsets). What B predicts is held against its loss with its own activations and with controls that
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
from .hub import Hub
from .offsets import Beside, ended, side_by_side
from .patch_back import windows_of
from .text import as_bytes, bytes_of

PUT = ("own", "translated", "mean", "identity", "shuffled")


def patch_translated(
    signals: Iterable[Signal],
    coder: Encoder,
    *,
    lm: str,
    from_lm: str,
    layer: int,
    from_layer: int | None = None,
    codec: str | None = None,
    from_codec: str | None = None,
    window: int | None = None,
    device: str = "cpu",
    batch: int = 32,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """A row for each of PUT, of all texts, or tokens, of a stream, in windows that lie side by side; the rest is left out.

    coder: translates A's vectors into B's. lm: B, lem-train lm's; from_lm: A. layer, from_layer: of B and A, as of
    activations.Activations; A's is B's where it is None. codec, from_codec: files of the byte pairs of B and A. Models that know
    other tokens read texts, in windows that end where tokens of both do; B reads its mean as long as no token of A has ended.
    window: tokens of B that are predicted in one, at most; None: what both take.
    Keys of a row: put, nmse (squared error over the variance of B's own), loss (bits a byte), change (of the loss), interval
    (half of the 95 % interval of the change over windows, Student's t; None of a single one). LemError where the models know
    other tokens and the stream is no text, or their byte pairs are not named, where no text is long enough, and for vectors of
    another width than the coder's.
    """
    if isinstance(coder, Hub):
        raise LemError("--translate takes a map of two spaces, from --fit --onto; this is a hub")
    b = Activations(lm=lm, codec=codec, layer=layer, window=window, device=device)
    a = Activations(lm=from_lm, codec=from_codec, layer=layer if from_layer is None else from_layer, device=device)
    read = _read(signals, a, b, window)
    parts = [Beside(*each) for each in zip(*(torch.from_numpy(column).split(batch) for column in read))]
    mean = _mean(b, parts)
    draw = np.random.default_rng(seed)
    nats, squares, sizes, spread = {put: [] for put in PUT}, dict.fromkeys(PUT, 0.0), [], 0.0
    with torch.inference_mode():
        for part in parts:
            own, theirs = _hidden(b, part.b[:, :-1]), _hidden(a, part.a)
            translated = _translated(coder, theirs)
            if translated.shape[-1] != own.shape[-1]:
                raise LemError(
                    f"it translates into vectors of {translated.shape[-1]} numbers; those of {lm} have {own.shape[-1]}"
                )
            made = _placed(translated, part, mean)
            cut = F.pad(theirs[..., : own.shape[-1]], (0, max(0, own.shape[-1] - theirs.shape[-1])))
            shuffled, seen = made.clone(), part.seen
            shuffled[seen] = made[seen][torch.from_numpy(draw.permutation(int(seen.sum())))]
            put = {
                "own": own,
                "translated": made,
                "mean": mean.expand_as(own),
                "identity": _placed(cut, part, mean),
                "shuffled": shuffled,
            }
            spread += float((own - mean)[seen].double().square().sum())
            for name, x in put.items():
                squares[name] += float((x - own)[seen].double().square().sum())
                nats[name].append(_nats(b, x, part))
            sizes.append((b.model.net.lengths.cpu()[part.b[:, 1:]] * seen).sum(1).double().numpy())
    return _rows({name: np.concatenate(each) for name, each in nats.items()}, np.concatenate(sizes), squares, spread)


def _read(signals: Iterable[Signal], a: Activations, b: Activations, window: int | None) -> Beside[np.ndarray]:
    """What the models read; tokens that are alike position by position."""
    one, two = a.model, b.model
    known = [None if model.codec is None else model.codec.pieces().get("pieces") for model in (one, two)]
    told = one.codec is not None and two.codec is not None and known[0] != known[1]
    if one.vocab == two.vocab and torch.equal(one.net.lengths.cpu(), two.net.lengths.cpu()) and not told:
        if window is not None and window > one.limit:
            raise LemError(f"--window {window}: {one.name} takes {one.limit} tokens at most")
        ids = windows_of(signals, two, min(a.window, b.window) + 1).astype(np.int64)
        last = np.broadcast_to(np.arange(ids.shape[1] - 1), (len(ids), ids.shape[1] - 1)).copy()
        return Beside(ids[:, :-1].copy(), ids, last, np.ones(last.shape, bool))
    for model, flag in (one, "--from-codec"), (two, "--codec"):
        if model.learnt_from and model.codec is None:
            knows = f"{one.name} knows {one.vocab} tokens and {two.name} {two.vocab}"
            raise LemError(f"{knows}: name the byte pairs of {model.name} ({flag} BPE), and give texts")
    tables = [bytes_of(each) for each in known]

    def texts():
        for signal in signals:
            raw = as_bytes(signal)
            for text, *each in zip(raw, one.ids(signal), two.ids(signal)):
                yield tuple(
                    ended(ids, table, text.tobytes(), model.name) for ids, table, model in zip(each, tables, (one, two))
                )

    return side_by_side(texts(), (a.window + 1, b.window + 1))


def _placed(x: torch.Tensor, part: Beside[torch.Tensor], mean: torch.Tensor) -> torch.Tensor:
    """A's vectors [N, R, D] at the positions of B [N, S, D]; the mean where A has read no token yet."""
    found = x.gather(1, part.last.clamp(min=0)[..., None].expand(-1, -1, x.shape[-1]))
    return torch.where(part.last[..., None] < 0, mean, found)


def _hidden(model: Activations, ids: torch.Tensor) -> torch.Tensor:
    return model.model.net.hidden(ids.to(model.model.device), model.layer).float().cpu()


@torch.inference_mode()
def _mean(model: Activations, parts: Iterable[Beside[torch.Tensor]]) -> torch.Tensor:
    total, count = torch.zeros(()), 0
    for part in parts:
        x = _hidden(model, part.b[:, :-1]).double() * part.seen[..., None]
        total, count = total + x.sum((0, 1)), count + int(part.seen.sum())
    return (total / count).float()


def _translated(coder: Encoder, x: torch.Tensor) -> torch.Tensor:
    (made,) = coder.encode(Signal("embedding", x.numpy()))
    return torch.from_numpy(made.data)


def _nats(model: Activations, x: torch.Tensor, part: Beside[torch.Tensor]) -> np.ndarray:
    """[N], of all that each window predicts."""
    net, device = model.model.net, model.model.device
    logits = net.resume(x.to(device), model.layer).float()
    nats = F.cross_entropy(logits.transpose(1, 2), part.b[:, 1:].to(device), reduction="none").cpu()
    return (nats.double() * part.seen).sum(1).numpy()


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
