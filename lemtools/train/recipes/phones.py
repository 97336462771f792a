"""Boundaries of phones: how far each lies from where an aligner put it, told by the sound around it and the classes of the phones."""

from __future__ import annotations

import numpy as np
import torch

from ...denoise.contract import Scale
from ...media.repeat import check_apart
from ...nets import build
from ...nets.model import Model
from ...phones.refine import CLASSES
from ...signal import LemError
from ..boundaries import Learnt, Offsets, read
from ..data import Spec, held_out
from ..network import blamed, card, record
from ..run import Prepared
from ..settings import Settings
from ..trainer import Trainer
from .values import tried

HELD = 10  # one sound in so many is kept back


def phones(settings: Settings) -> Prepared:
    """Read, split by sound, build. Raises LemError for what does not go together."""
    check_apart(settings.data, settings.validate)
    if not settings.aligned:
        raise LemError("--aligned: where an aligner put the boundaries; lem-encode --encoder phones --refine none does")
    learnt = read(settings.data, settings.aligned, settings.reading)
    fingerprint = settings.fingerprint(learnt.items)
    if settings.validate:
        rows, kept = np.arange(len(learnt.of)), read(settings.validate, settings.aligned, settings.reading).items
    else:
        rows, back = _split(settings, learnt)
        kept = learnt.items.view(back)
    item = learnt.items.item
    config = record(settings, "audio", item, classes=len(CLASSES))
    torch.manual_seed(settings.seed)
    with blamed(config["net"]):
        net = build(config)
    target = {"kind": "audio", "item": [1]}
    meta = card(settings, config, "audio", item, target=target, fragment=[], classes=0)
    model = Model(net, meta, Scale(0.0, 1.0), Scale(0.0, 1.0))
    spec = Spec(learnt.items.view(rows), settings.batch, settings.seed, operations=[])
    validation = None
    if len(kept):
        validation = Spec(kept, min(settings.batch, len(kept)), settings.seed + 1, operations=[])
    return tried(Prepared(settings, model, Offsets(model), spec, validation, fingerprint, Trainer))


def _split(settings: Settings, learnt: Learnt) -> tuple[np.ndarray, np.ndarray]:
    """(boundaries to learn from, boundaries kept back): of whole sounds, by the seed alone."""
    sounds = int(learnt.of[-1]) + 1
    count = sounds // HELD if settings.holdout is None else settings.holdout
    back, _ = held_out(settings.seed, sounds, count)
    kept = np.isin(learnt.of, back)
    if kept.all():
        raise LemError(f"--holdout {count} leaves no boundary to learn from")
    return np.flatnonzero(~kept), np.flatnonzero(kept)
