"""Networks that learn a task whose state is known exactly, by the recipe of the language model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace

import torch

from ...catalogue.embeddings import EMBEDDINGS
from ...catalogue.tasks import REACH
from ...nets import build
from ...nets.model import Model
from ...signal import LemError
from ..answers import Answers, Supervised
from ..data import Items, Spec
from ..network import blamed, card
from ..run import Prepared
from ..settings import Settings
from ..tasks import Asking, Stream, Task, is_task, task
from ..trainer import Trainer
from .values import tried

LONGEST = 40  # symbols of a sequence that is learnt, where nothing else is said
COUNT = 1 << 20  # sequences, after which they are the same again
KEPT = 256
OWN = ("longest", "asked", "positions", "pause", "states")  # settings of tasks alone
OTHERS = ("codec", "validate", "table", "gates")  # those of texts


def named(settings: Settings) -> bool:
    """Whether the data are a task. LemError for a task among others, and for settings of a task where there is none."""
    if any(map(is_task, settings.data)):
        if len(settings.data) > 1:
            raise LemError(f"--data: {len(settings.data)} of them, where a task is learnt alone")
        return True
    for name in OWN:
        if getattr(settings, name) is not None:
            raise LemError(f"--{name} is for a task, as in --data task:parity")
    return False


def streams(settings: Settings, recorded: Callable[..., dict]) -> Prepared:
    """The state where it is asked for, from the symbols so far. recorded: (settings, facts) -> the network's record."""
    for name in OTHERS:
        if getattr(settings, name):
            raise LemError(f"--{name} is for texts, not for {settings.data[0]}")
    if EMBEDDINGS.find(settings.options.get("embedding", "full")).needs:
        raise LemError(
            f"--embedding {settings.options['embedding']} is made of a text's table, not for {settings.data[0]}"
        )
    if settings.on == "dense":
        raise LemError(f"--on dense is for texts, not for {settings.data[0]}")
    longest, pause, every = settings.longest or LONGEST, settings.pause or 0, settings.asked != "end"
    if settings.states and every:
        raise LemError("--states: the state is asked for at every position as it is; give --asked end")
    context = settings.options.get("context") or REACH * (1 + pause)
    asked = task(settings.data[0], context // (1 + pause))
    least = longest if every and asked.nested else asked.least
    asking = Asking(least, longest, every, settings.positions or "spread", pause, context)
    learnt = Stream(asked, asking, COUNT, settings.seed, "learnt")
    count = KEPT if settings.holdout is None else settings.holdout
    kept = Stream(asked, replace(asking, positions="plain"), count, settings.seed, "kept back")
    settings_of_net = replace(settings, options={**settings.options, "context": context})
    config = recorded(settings_of_net, vocabulary=asked.vocabulary)
    return _prepared(settings, asked, asking, config, learnt, kept)


def _prepared(settings: Settings, asked: Task, asking: Asking, config: dict, learnt: Stream, kept: Stream) -> Prepared:
    torch.manual_seed(settings.seed)
    with blamed(config["net"]):
        net = build(config)
    item = [learnt.width]
    facts = {"task": asked.name, "states": asked.states, "supervised": bool(settings.states), **asdict(asking)}
    target = {"kind": "tokens", "item": item}
    model = Model(net, card(settings, config, "tokens", item, target=target, fragment=[], classes=0, task=facts))
    goal = Supervised(model) if settings.states else Answers(model)
    items = Items("tokens", learnt)
    spec = Spec(items, settings.batch, settings.seed, operations=[])
    validation = None
    if len(kept):
        validation = Spec(Items("tokens", kept), min(settings.batch, len(kept), 64), settings.seed, operations=[])
    fingerprint = settings.fingerprint(items)
    return tried(Prepared(settings, model, goal, spec, validation, fingerprint, Trainer))
