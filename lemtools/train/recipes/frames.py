"""Frames of tokens: the next frame from some before it, all its places at once, from rollouts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from ... import media
from ...media.repeat import check_apart
from ...nets import build
from ...nets.model import Model
from ...signal import LemError
from ..data import Items, Spec, View
from ..network import blamed, card, record
from ..objectives import Objective
from ..rollout import Rollout
from ..run import Prepared
from ..settings import Settings
from ..trainer import Trainer
from .values import tried


class NextFrame(Objective):
    """Nats that a token of the next frame takes, once those before it are known. A batch has C + 1 frames in a row."""

    needs_fragments = False

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.net.nats(batch["target"])[0].mean(1)

    def measure(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor | tuple[torch.Tensor, torch.Tensor]]:
        """The loss; the share of tokens that are the likeliest ones, and, as the control, of those that the last frame has."""
        frames = batch["target"]
        nats, likeliest = self.net.nats(frames)
        right = {"right": likeliest == frames[:, -1], "copying": frames[:, -2] == frames[:, -1]}
        return {"loss": nats.mean(1)} | {name: part.float().mean(1) for name, part in right.items()}


def frames(settings: Settings) -> Prepared:
    """Read, split, build. Raises LemError for what does not go together."""
    check_apart(settings.data, settings.validate)
    if settings.rows and settings.places:
        raise LemError("--rows and --places: give one of them")
    tokens, known = _tokens(settings, settings.data)
    kept, more = _tokens(settings, settings.validate) if settings.validate else (None, 0)
    places = settings.places or tokens.shape[1]
    config = record(settings, "tokens", (places,), vocabulary=max(known, more), places=places)
    rollout = _rollout(settings, tokens, config["context"])
    fingerprint = settings.fingerprint(Items("tokens", rollout.states))
    learnt, back = _split(settings, rollout, None if kept is None else _rollout(settings, kept, config["context"]))
    torch.manual_seed(settings.seed)
    with blamed(config["net"]):
        net = build(config)
    target = {"kind": "tokens", "item": [places]}
    model = Model(net, card(settings, config, "tokens", [places], target=target, fragment=[], classes=0))
    spec = Spec(Items("tokens", learnt), settings.batch, settings.seed, operations=[])
    validation = None
    if len(back):
        size = min(settings.batch, len(back), 64)
        validation = Spec(Items("tokens", back), size, settings.seed + 1, operations=[])
    return tried(Prepared(settings, model, NextFrame(model), spec, validation, fingerprint, Trainer))


def _tokens(settings: Settings, paths: Sequence[str]) -> tuple[np.ndarray, int]:
    """(tokens int32 [N, L], how many kinds there are: as their history says, else as many as are seen)."""
    shown, parts, known = ", ".join(paths), [], 1
    for signal in media.load(paths, replace(settings.reading, kind=settings.kind or "tokens")):
        if signal.kind != "tokens" or signal.ops or signal.mask is not None:
            what = signal.kind if signal.kind != "tokens" else "fragments"
            raise LemError(f"{shown}: {what}, where frames of tokens are learnt; lem-encode makes tokens")
        if parts and signal.data.shape[1] != parts[0].shape[1]:
            lengths = f"{signal.data.shape[1]} tokens among those of {parts[0].shape[1]}"
            raise LemError(f"{shown}: items of {lengths}; frames have as many places each")
        parts.append(signal.data)
        known = max(known, *(entry["vocab"] for entry in signal.history if isinstance(entry.get("vocab"), int)), 1)
    whole = np.concatenate(parts)
    low, high = int(whole.min()), int(whole.max())
    if low < 0 or high >= 2**31 - 1:
        raise LemError(f"{shown}: token {low if low < 0 else high}; tokens are numbers from 0 to 2147483646")
    return whole.astype(np.int32), max(known, high + 1)


def _rollout(settings: Settings, tokens: np.ndarray, context: int) -> Rollout:
    """Frames [T R, P] of R rows side by side, of which an item is `context` + 1 in a row."""
    if settings.places is None:
        return Rollout(tokens, None, settings.rows or 1, context, called="frames")
    (rows, length), places = tokens.shape, settings.places
    if length % places or length // places <= context:
        whole = f"{context + 1} or more frames of --places {places}"
        raise LemError(f"--data: items of {length} tokens are no sequences of {whole}")
    side_by_side = tokens.reshape(rows, -1, places).swapaxes(0, 1).reshape(-1, places)
    return Rollout(np.ascontiguousarray(side_by_side), None, rows, context, called="frames")


def _split(settings: Settings, rollout: Rollout, kept: Rollout | None) -> tuple[View, View]:
    """(what is learnt from, what is kept back), which have no frame in common."""
    whole = rollout.stretches
    if kept is not None:
        if kept.states.shape[1] != rollout.states.shape[1]:
            places = [array.shape[1] for array in (kept.states, rollout.states)]
            raise LemError(f"--validate: frames of {places[0]} tokens, where those of --data have {places[1]}")
        return tuple(View(part, np.arange(len(part))) for part in (whole, kept.stretches))  # type: ignore[return-value]
    count = min(256, len(whole) // 50) if settings.holdout is None else settings.holdout
    back, rows = rollout.split(settings.seed, count)
    return View(whole, rows), View(whole, back)
