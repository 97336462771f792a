"""The record of a network: what the data fix, what the user chose, and what is usual."""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import Iterator, Sequence, Set

from .. import __version__
from ..catalogue import Option, Row
from ..catalogue.networks import NETWORKS
from ..catalogue.recipes import RECIPES
from ..signal import LemError
from .settings import Settings, check_properties

FRAGMENTS = "{} learns to recall from fragments: say what is lost, as in --fragment '--mask .75'"
DEPTH = ("depth", "blocks")  # what networks call their number of layers


def record(
    settings: Settings,
    kind: str,
    item: tuple[int, ...] = (1,),
    target: tuple[int, ...] | None = None,
    net: str | None = None,
    **facts,
) -> dict:
    """The record of a network for memories of this kind and shape (target: the shape of what is to be recalled, where
    it is another), with what the user chose. net: in place of what the recipe takes; facts: what the data fix besides.

    Raises LemError for a network of another recipe, an option that it does not take, or a shape that it cannot have.
    """
    row = _net(settings, kind, net or settings.arch)
    known = {option.name: option for option in row.options}
    parameters = inspect.signature(row.load()).parameters
    takes = set(parameters) - set(known)
    facts |= _shapes(row.name, takes, tuple(item), tuple(item if target is None else target)) | {"kind": kind}
    if len(item) == 3 and "axes" in takes and parameters["axes"].default != 2:
        facts["axes"] = 2
    if not facts.get("conditioned", True) and "conditioned" not in takes:
        raise LemError(FRAGMENTS.format(settings.recipe))
    # (defaults are written down too: they may be others tomorrow, and the file must be read as it was made)
    found = {k: v for k, v in facts.items() if k in takes}
    usual = {name: option.value() for name, option in known.items()} | _preset(settings, row)
    return {"net": row.name, **usual, **found, **_chosen(settings, row.name, known)}


def _preset(settings: Settings, row: Row) -> dict:
    brought = row.presets.get(settings.preset, {})
    return {name: list(value) if isinstance(value, tuple) else value for name, value in brought.items()}


def _net(settings: Settings, kind: str, chosen: str | None) -> Row:
    recipe = RECIPES[settings.recipe]
    if chosen is None:
        RECIPES.check_kind(settings.recipe, kind, settings.recipe)
        return NETWORKS[recipe.presets.get(settings.preset, {}).get("arch", recipe.arch)[kind]]
    if chosen not in NETWORKS or NETWORKS[chosen].family != recipe.family:
        there = ", ".join(row.name for row in NETWORKS.rows if row.family == recipe.family)
        raise LemError(f"--arch {chosen} is not for {settings.recipe}; there are {there}")
    return NETWORKS.check_kind(chosen, kind, f"--arch {chosen}")


def _shapes(name: str, takes: Set[str], item: tuple[int, ...], target: tuple[int, ...]) -> dict:
    """What a network must know of the shapes."""
    if any(n == 0 for n in item) and "item" in takes and "channels" not in takes:
        raise LemError(f"--arch {name} needs memories of one size: give --crop, or take --arch conv or flat")
    facts = {"item": list(item), "channels": item[0]}
    if len(item) == 2:
        facts["axes"] = 1  # (records of networks over two do not say so, as they never did)
    if target == item:
        return facts
    if "target" in takes:
        return facts | {"target": list(target)}
    if "source" in takes:
        return facts | {"source": list(item), "item": list(target)}
    if "target_channels" in takes and target[1:] == item[1:]:
        return facts | {"target_channels": target[0]}
    raise LemError(f"--arch {name} answers in the shape of its input; for another --target take mlp")


def _chosen(settings: Settings, name: str, known: dict[str, Option]) -> dict:
    """--width, --depth and --set, under the names of this network."""
    chosen = dict(settings.options)
    for key, value in (("width", settings.width), ("depth", settings.depth)):
        if value is None:
            continue
        there = next((n for n in (DEPTH if key == "depth" else (key,)) if n in known), key)
        if there in chosen:
            raise LemError(f"--{key} and --set {there} say the same: give one of them")
        several = next((n for n in (there, f"{there}s") if n in known and isinstance(known[n].default, tuple)), None)
        if several is not None:
            raise LemError(f"--{key} is one number; --arch {name} has several: --set {several}=[...]")
        if there not in known:
            raise LemError(f"--{key} {value}: --arch {name} has no {key}; it has {', '.join(known)} (--set NAME=VALUE)")
        chosen[there] = value
    for given in RECIPES[settings.recipe].options:
        if given.name in chosen and given.name not in known:
            family = (row for row in NETWORKS.rows if row.family == NETWORKS[name].family)
            having = [row.name for row in family if any(option.name == given.name for option in row.options)]
            raise LemError(f"{given.flag} is for --arch {' and '.join(having)}, not {name}")
    check_properties(f"--arch {name}", chosen, known)
    return chosen


def card(settings: Settings, net: dict, kind: str, item: Sequence[int], **more) -> dict:
    """What a model's file says of it; see nets.model."""
    run = {"recipe": settings.recipe, "step": 0, "seed": settings.seed, "card": dict(settings.card)}
    return (
        {"v": 1, "tool": "lem-train", "version": __version__, "net": net, "kind": kind, "item": list(item)} | run | more
    )


@contextlib.contextmanager
def blamed(net: str) -> Iterator[None]:
    """A property that a network cannot have is the user's, by --set, --width or --depth."""
    try:
        yield
    except LemError:
        raise
    except (TypeError, ValueError, ArithmeticError, IndexError, RuntimeError) as error:
        if "memory" in str(error):
            raise
        raise LemError(f"--arch {net}: {str(error).splitlines()[0][:120]}") from error


def option(text: str) -> tuple[str, object]:
    """'widths=[64,96]' or 'padding=circular' as (name, value)."""
    name, sep, value = text.partition("=")
    if not sep:
        raise LemError(f"--set {text}: NAME=VALUE, as in widths=[64,96]")
    try:
        return name.replace("-", "_"), json.loads(value)
    except ValueError:
        return name.replace("-", "_"), value
