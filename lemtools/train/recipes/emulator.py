"""Emulators: the next state of a simulation from the one before, from rollouts or from pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from ...catalogue.recipes import RECIPES
from ...denoise.contract import Scale
from ...media.repeat import check_apart
from ...nets import build
from ...nets.model import Model
from ...signal import LemError
from .. import objectives
from ..data import Items, Spec, View, load_items
from ..network import blamed, card, record
from ..rollout import Rollout, moments
from ..run import Prepared
from ..settings import Settings
from ..trainer import Trainer
from .values import tried


def emulator(settings: Settings) -> Prepared:
    """Read, split, build. Raises LemError for what does not go together."""
    check_apart(settings.data, settings.validate)
    steps = settings.pushforward or 1
    if settings.noise_injection and steps > 1:
        raise LemError("--noise-injection and --pushforward: give one of them")
    if settings.target and steps > 1:
        raise LemError(f"--pushforward {steps} needs {steps + 1} states in a row: a rollout as --data, and no --target")
    states, nexts = _states(settings, settings.data), None
    if settings.target:
        nexts = _states(settings, settings.target)
    rollout = Rollout(states.data, None if nexts is None else nexts.data, settings.rows or 1, steps)
    fingerprint = settings.fingerprint(states, None if nexts is None else nexts.data)
    learnt, kept = _split(settings, rollout)
    item = tuple(states.item)
    config = record(settings, states.kind, item)
    torch.manual_seed(settings.seed)
    with blamed(config["net"]):
        net = build(config)
    scale = Scale.centred(*moments(learnt))
    target = {"kind": states.kind, "item": list(item)}
    meta = card(settings, config, states.kind, item, target=target, fragment=[], classes=0)
    model = Model(net, meta, scale, scale)
    goal = objectives.Step(model, settings.noise_injection or 0.0)
    common = dict(operations=[], extras=goal.extras if settings.noise_injection else None)
    spec = Spec(Items(states.kind, learnt), settings.batch, settings.seed, **common)
    validation = None
    if len(kept):
        size = min(settings.batch, len(kept), 64)
        validation = Spec(Items(states.kind, kept), size, settings.seed + 1, **common)
    return tried(Prepared(settings, model, goal, spec, validation, fingerprint, Trainer))


def _states(settings: Settings, paths: Sequence[str]) -> Items:
    """States, whole. An array of numbers is one of states here, whatever else it looks like."""
    items = load_items(paths, replace(settings.reading, kind=settings.kind or "field"))
    RECIPES.check_kind(settings.recipe, items.kind, settings.recipe)
    if items.seen is not None:
        raise LemError(f"{', '.join(paths)}: fragments; an emulator learns from states that are whole")
    return items


def _split(settings: Settings, rollout: Rollout) -> tuple[View, View]:
    """(what is learnt from, what is kept back), which have no state in common."""
    whole = rollout.stretches
    if settings.validate:
        if rollout.nexts is not None:
            raise LemError("--validate is for rollouts; of pairs --holdout N keeps some back")
        other = _states(settings, settings.validate)
        if other.data.shape[1:] != rollout.states.shape[1:]:
            shapes = [" x ".join(map(str, shape[1:])) for shape in (other.data.shape, rollout.states.shape)]
            raise LemError(f"--validate: states of {shapes[0]}, where those of --data are {shapes[1]}")
        kept = Rollout(other.data, None, rollout.rows, rollout.steps).stretches
        return View(whole, np.arange(len(whole))), View(kept, np.arange(len(kept)))
    count = min(256, len(whole) // 50) if settings.holdout is None else settings.holdout
    back, rows = rollout.split(settings.seed, count)
    return View(whole, rows), View(whole, back)
