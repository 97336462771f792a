"""The record of a network: what the data fix, what the user chose, and what is usual."""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module

from .. import __version__
from ..nets import NETS
from ..signal import LemError
from .recipes import recipe
from .settings import Settings

FRAGMENTS = "{} learns to recall from fragments: say what is lost, as in --fragment '--mask .75'"
DEPTH = ("depth", "blocks")  # what networks call their number of layers
FIXED = (  # by the data
    *("item", "source", "target", "channels", "target_channels", "kind", "classes", "conditioned"),
    *("vocabulary", "codec", "stages", "codes"),
)


def choices(family: str) -> list[str]:
    """The networks of nets.NETS of a family."""
    return [name for name in NETS if net_class(name).family == family]


def net_class(name: str):
    module, cls = NETS[name].split(".")
    return getattr(import_module(f"..nets.{module}", __package__), cls)


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
    name = _net(settings, kind, net or settings.arch)
    takes = inspect.signature(net_class(name).__init__).parameters
    facts |= _shapes(name, takes, tuple(item), tuple(item if target is None else target)) | {"kind": kind}
    if not facts.get("conditioned", True) and "conditioned" not in takes:
        raise LemError(FRAGMENTS.format(settings.recipe))
    # (defaults are written down too: they may be others tomorrow, and the file must be read as it was made)
    usual = {k: _plain(p.default) for k, p in takes.items() if p.default is not inspect.Parameter.empty}
    found = {k: v for k, v in facts.items() if k in takes}
    return {"net": name, **usual, **found, **_chosen(settings, name, takes)}


def _net(settings: Settings, kind: str, chosen: str | None) -> str:
    row = recipe(settings.recipe)
    if chosen is None and kind not in row.nets:
        raise LemError(f"{settings.recipe} does not learn from a {kind}; it takes {', '.join(row.nets)}")
    name = chosen or row.nets[kind]
    if name not in NETS or net_class(name).family != row.family:
        raise LemError(f"--arch {name} is not for {settings.recipe}; there are {', '.join(choices(row.family))}")
    return name


def _shapes(name: str, takes: Mapping, item: tuple[int, ...], target: tuple[int, ...]) -> dict:
    """What a network must know of the shapes."""
    if len(item) != 3 and "channels" in takes:
        raise LemError(f"--arch {name} is for images and spectra, not for an embedding of shape {list(item)}")
    if any(n == 0 for n in item) and "item" in takes and "channels" not in takes:
        raise LemError(f"--arch {name} needs memories of one size: give --crop, or take --arch conv or flat")
    facts = {"item": list(item), "channels": item[0]}
    if target == item:
        return facts
    if "target" in takes:
        return facts | {"target": list(target)}
    if "source" in takes:
        return facts | {"source": list(item), "item": list(target)}
    if "target_channels" in takes and target[1:] == item[1:]:
        return facts | {"target_channels": target[0]}
    raise LemError(f"--arch {name} answers in the shape of its input; for another --target take mlp")


def _chosen(settings: Settings, name: str, takes: Mapping) -> dict:
    """--width, --depth and --set, under the names of this network."""
    chosen = dict(settings.options)
    for key, value in (("width", settings.width), ("depth", settings.depth)):
        if value is None:
            continue
        there = next((n for n in (DEPTH if key == "depth" else (key,)) if n in takes), key)
        if there in chosen:
            raise LemError(f"--{key} and --set {there} say the same: give one of them")
        if there in takes and not isinstance(takes[there].default, (int, type(None))):
            raise LemError(f"--{key} is one number; --arch {name} has several: --set {there}=[...]")
        chosen[there] = value
    for key in chosen:
        if key not in takes or key in FIXED:
            known = [k for k in takes if k not in ("self", *FIXED)]
            raise LemError(f"--arch {name} has no {key!r}; it has {', '.join(known)}")
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


def _plain(value):
    return list(value) if isinstance(value, tuple) else value


def option(text: str) -> tuple[str, object]:
    """'widths=[64,96]' or 'padding=circular' as (name, value)."""
    name, sep, value = text.partition("=")
    if not sep:
        raise LemError(f"--set {text}: NAME=VALUE, as in widths=[64,96]")
    try:
        return name.replace("-", "_"), json.loads(value)
    except ValueError:
        return name.replace("-", "_"), value
