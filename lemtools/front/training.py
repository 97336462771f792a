"""A run of training as the library asks for it: its data, its losses, its settings."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any

from ..catalogue import LemError
from ..catalogue.recipes import RECIPES
from ..media import Target
from ..train.settings import FIELDS, Settings
from .inputs import signals
from .losses import Operation, operations, text
from .saving import save
from .words import SEED, unknown, value

_OURS = ("recipe", "data", "output", "fragment", "operations", "notes")  # not of `settings`


def settings_of(recipe: str, given: Mapping[str, Any]) -> Callable[..., Settings]:
    """Settings of a run, but for its data and its output. LemError for a word or value that there is not."""
    row = RECIPES.find(recipe)
    options = {"seed": SEED} | {name: option for name, (option, _) in RECIPES.options().items()}
    own = {option.name: option for option in row.options}
    known = sorted({*FIELDS, *own} - {*_OURS})
    found: dict[str, Any] = {}
    properties = dict(given.get("options") or {})
    for word, each in given.items():
        if word not in known:
            raise unknown(f"keyword of train {recipe!r}", word, known)
        if each is None or word == "options":
            continue
        option = own.get(word) or options.get(word)
        if option is None or isinstance(each, Mapping):
            found[word] = each
        elif option.multiple:
            several = [each] if isinstance(each, str | os.PathLike) else list(each)
            found[word] = [value(option, one, word) for one in several]
        else:
            checked = value(option, each, word)
            (found if word in FIELDS else properties)[word] = checked
    return functools.partial(Settings, recipe, **found, options=properties)


def losses_of(fragment: Any) -> tuple[list[str], list[list[Operation]]]:
    """(as lem-fragment is asked for them, the operations), one of each for every loss that an item may draw."""
    options = [fragment] if isinstance(fragment, str | Mapping) else list(fragment)
    parsed = [operations(option) for option in options]
    return [o if isinstance(o, str) else text(p) for o, p in zip(options, parsed)], parsed


def paths_of(data: Any, model: str) -> list[str]:
    """Files to learn from; of what is none, a file beside the model. Raises LemError where one is the model's own."""
    target = Target(model) if model.endswith(".safetensors") else None
    if target is None:
        raise LemError(f"output={model!r}: a model is a .safetensors file")
    things = data if isinstance(data, list | tuple) else [data]
    if things and all(isinstance(thing, str | os.PathLike) for thing in things):
        names = [os.fspath(thing) for thing in things]
        target.refuse(names)
        return names
    path = f"{model.removesuffix('.safetensors')}.data.safetensors"
    if save(signals(data), path) == 0:
        raise LemError("nothing to learn from: the data hold no item")
    return [path]
