"""Which methods are asked for, by what a user gave: none of this computes anything."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..catalogue.methods import METHODS, meant
from ..catalogue.networks import NETWORKS
from ..signal import LemError, Signal
from ..stream.files import LEM, record_of


def methods(
    method: str, *, memory: bool = False, model: Any = None, kind: str | None = None, given: Iterable[str] = ()
) -> tuple[str, ...]:
    """Names of the methods that a user may mean: those that a memory of tokens, or a language model, is asked by, of which the
    fragment chooses one (see `by_sides`); else one.

    memory: whether there is a store; kind: of its memories, None where it is not known yet: then both ways are open. model: a
    network, its path or None. given: options that are not at their defaults, by keyword: those methods are meant that take them all. LemError where
    the method does not go with what was given.
    """
    name = meant(method, memory, model is not None)
    if method != "auto":
        return (name,)
    if memory and kind in (None, "tokens"):
        rows = [row for row in METHODS.rows if row.sequences == "tokens" or (kind is None and row.name == name)]
    elif model is not None and family(model) == "language":
        rows = [row for row in METHODS.rows if row.family == "language"]
    else:
        return (name,)
    wanted = set(given)
    for option in (option for option in METHODS.options() if option in wanted):
        left = [row for row in rows if row.takes(option)]
        if not left:
            raise LemError(str(METHODS.refused(option, rows[0].name, "--method")))
        rows = left
    return tuple(row.name for row in rows)


def family(model: Any) -> str:
    """The family of a network or of that of a file; empty where it is not to be known without reading all of it."""
    if not isinstance(model, str | os.PathLike):
        return str(getattr(model, "family", ""))
    if not os.path.isfile(model):
        return ""
    try:
        net = (record_of(os.fspath(model), LEM) or {}).get("net")
    except LemError:
        return ""  # (who reads it says what is wrong with it)
    name = net.get("net") if isinstance(net, dict) else None
    return NETWORKS[name].family if isinstance(name, str) and name in NETWORKS else ""


def changed(options: Mapping[str, Any]) -> list[str]:
    """Those options of methods that are not at their defaults."""
    known = METHODS.options()
    return [name for name, value in options.items() if name in known and value != known[name][0].value()]


def by_sides(signal: Signal, names: tuple[str, ...]) -> str:
    """Of methods that ask a language model: `fill` where something known stands behind a lost token, else the first."""
    mask = np.ones(1, bool) if signal.mask is None else signal.observed() != 0
    behind = (np.diff(mask.astype(np.int8), axis=-1) > 0).any()
    return "fill" if behind and "fill" in names else names[0]
