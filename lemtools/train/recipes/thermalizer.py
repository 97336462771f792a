"""Thermalizers: how much noise is in a state, told by the state alone."""

from __future__ import annotations

import numpy as np
import torch

from ...denoise.contract import Scale
from ...media.repeat import check_apart
from ...nets import build
from ...nets.model import Model
from ...signal import LemError
from ..data import Items, Spec, View
from ..levels import LARGEST, Levels, LevelTrainer
from ..network import blamed, card, record
from ..rollout import Rollout, moments
from ..run import Prepared
from ..settings import Settings
from .emulator import whole_states
from .values import moments as of_all
from .values import tried

USUAL = 0.002, 1.0  # levels of noise, in standard deviations
HELD = 10  # one state in so many is kept back


def thermalizer(settings: Settings) -> Prepared:
    """Read, split, build. Raises LemError for what does not go together."""
    check_apart(settings.data, settings.validate)
    chosen = USUAL if settings.levels is None else settings.levels
    low, high = chosen if isinstance(chosen, list | tuple) else (chosen, chosen)
    if not 0 < low < high:
        raise LemError(f"--levels {low:g}-{high:g}: from above 0 to a higher one, as in .002-1")
    states = whole_states(settings, settings.data)
    fingerprint = settings.fingerprint(states)
    rollout = Rollout(states.data, rows=settings.rows or 1, steps=0)
    if settings.validate:
        learnt, other = np.arange(len(states)), whole_states(settings, settings.validate)
        if other.item != states.item:
            shapes = [" x ".join(map(str, shape)) for shape in (other.item, states.item)]
            raise LemError(f"--validate: states of {shapes[0]}, where those of --data are {shapes[1]}")
        kept = np.linspace(0, len(other) - 1, min(len(other), LARGEST)).astype(int)
    else:
        count = len(states) // HELD if settings.holdout is None else settings.holdout
        back, learnt = rollout.split(settings.seed, count)
        other, kept = states, back[np.linspace(0, len(back) - 1, min(len(back), LARGEST)).astype(int)]
    model = _model(settings, states, learnt, low, high)
    goal = Levels(model)
    common = dict(operations=[], extras=goal.extras)
    spec = Spec(states.view(learnt), settings.batch, settings.seed, **common)
    validation = None
    if len(kept):
        size = min(settings.batch, len(kept), 64)
        validation = Spec(other.view(kept), size, settings.seed + 1, **common)
    return tried(Prepared(settings, model, goal, spec, validation, fingerprint, LevelTrainer))


def _model(settings: Settings, states: Items, learnt: np.ndarray, low: float, high: float) -> Model:
    """The network, untrained. Its coordinates come from what is learnt from alone."""
    item = tuple(states.item)
    config = record(settings, states.kind, item, low=low, high=high)
    torch.manual_seed(settings.seed)
    with blamed(config["net"]):
        net = build(config)
    if states.kind == "field":
        scale = Scale.centred(*moments(View(Rollout(states.data, steps=0).stretches, learnt)))
    else:
        scale = Scale(*of_all(View(states.data, learnt), states.kind))
    target = {"kind": states.kind, "item": list(item)}
    meta = card(settings, config, states.kind, item, target=target, fragment=[], classes=0)
    return Model(net, meta, scale, scale)
