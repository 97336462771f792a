"""Emulators: the next state of a simulation from the one before, from rollouts or from pairs. And correctors of an
emulator: the next state from the one before and what the emulator claims, from triples that a solver completes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from ...catalogue.recipes import RECIPES
from ...denoise.contract import Scale
from ...denoise.order import misplaced
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

WAYS = ("noise_injection", "pushforward", "own_rollouts")


def emulator(settings: Settings) -> Prepared:
    """Read, split, build. Raises LemError for what does not go together."""
    check_apart(settings.data, settings.validate)
    asked = [f"--{name.replace('_', '-')}" for name in WAYS if getattr(settings, name)]
    steps = settings.own_rollouts or settings.pushforward or 1
    if len(asked) > 1 and (steps > 1 or not settings.noise_injection):
        raise LemError(f"{' and '.join(asked)}: give one of them")
    if settings.target and steps > 1:
        (way,) = asked
        raise LemError(f"{way} {steps} needs {steps + 1} states in a row: a rollout as --data, and no --target")
    states, nexts = whole_states(settings, settings.data), None
    if settings.target:
        nexts = whole_states(settings, settings.target)
    elif said := misplaced(states.data, settings.rows or 1):
        settings.notes.append(f"--rows {settings.rows or 1}: {said}; is that how many stand side by side?")
    rollout = Rollout(states.data, None if nexts is None else nexts.data, settings.rows or 1, steps)
    fingerprint = settings.fingerprint(states, None if nexts is None else nexts.data)
    learnt, kept = _split(settings, rollout)
    model = _model(settings, states, learnt)
    goal = objectives.Step(model, settings.noise_injection or 0.0, bool(settings.own_rollouts))
    return _prepared(settings, goal, learnt, kept, fingerprint, goal.extras if settings.noise_injection else None)


def corrector(settings: Settings) -> Prepared:
    """Read, split, build. Raises LemError for what does not go together."""
    for name, what in (("drift", "what the emulator claimed"), ("target", "what a solver says comes")):
        if not getattr(settings, name):
            raise LemError(f"a corrector learns from triples: give --{name}, {what} after each state of --data")
    states, claimed, solved = (
        whole_states(settings, each) for each in (settings.data, settings.drift, settings.target)
    )
    rollout = Rollout(states.data, solved.data, settings.rows or 1, claimed=claimed.data)
    fingerprint = settings.fingerprint(states, claimed.data, solved.data)
    learnt, kept = _split(settings, rollout)
    return _prepared(settings, objectives.Correct(_model(settings, states, learnt)), learnt, kept, fingerprint)


def _model(settings: Settings, states: Items, learnt: View) -> Model:
    """The network, untrained, in coordinates of what is learnt from."""
    item = tuple(states.item)
    config = record(settings, states.kind, item)
    torch.manual_seed(settings.seed)
    with blamed(config["net"]):
        net = build(config)
    scale = Scale.centred(*moments(learnt))
    target = {"kind": states.kind, "item": list(item)}
    meta = card(settings, config, states.kind, item, target=target, fragment=[], classes=0)
    return Model(net, meta, scale, scale)


def _prepared(
    settings: Settings,
    goal: objectives.Objective,
    learnt: View,
    kept: View,
    fingerprint: dict,
    extras: Callable[..., dict] | None = None,
) -> Prepared:
    kind, spec = goal.model.meta["kind"], partial(Spec, operations=[], extras=extras)
    validation = None
    if len(kept):
        size = min(settings.batch, len(kept), 64)
        validation = spec(Items(kind, kept), size, settings.seed + 1)
    learning = spec(Items(kind, learnt), settings.batch, settings.seed)
    return tried(Prepared(settings, goal.model, goal, learning, validation, fingerprint, Trainer))


def whole_states(settings: Settings, paths: Sequence[str]) -> Items:
    """States, whole. An array of numbers is one of states here, whatever else it looks like."""
    items = load_items(paths, replace(settings.reading, kind=settings.kind or "field"))
    RECIPES.check_kind(settings.recipe, items.kind, settings.recipe)
    if items.seen is not None:
        raise LemError(
            f"{', '.join(paths)}: fragments; {'an' if settings.recipe == 'emulator' else 'a'} {settings.recipe} learns from states that are whole"
        )
    return items


def _split(settings: Settings, rollout: Rollout) -> tuple[View, View]:
    """(what is learnt from, what is kept back), which have no state in common."""
    whole = rollout.stretches
    if settings.validate:
        if rollout.nexts is not None:
            raise LemError("--validate is for rollouts; of pairs --holdout N keeps some back")
        other = whole_states(settings, settings.validate)
        if other.data.shape[1:] != rollout.states.shape[1:]:
            shapes = [" x ".join(map(str, shape[1:])) for shape in (other.data.shape, rollout.states.shape)]
            raise LemError(f"--validate: states of {shapes[0]}, where those of --data are {shapes[1]}")
        kept = Rollout(other.data, None, rollout.rows, rollout.steps).stretches
        return View(whole, np.arange(len(whole))), View(kept, np.arange(len(kept)))
    count = min(256, len(whole) // 50) if settings.holdout is None else settings.holdout
    back, rows = rollout.split(settings.seed, count)
    return View(whole, rows), View(whole, back)
