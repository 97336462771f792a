"""The recipes: what is asked of a network, the network each kind of memory gets, and the settings of the loop."""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module

import numpy as np

from ..nets import NETS
from ..signal import LemError


@dataclass(frozen=True)
class Recipe:
    """family: of the network, which fixes the objective. nets: the network of each kind. lr: AdamW's highest rate.
    batch, steps, ema: as of Settings."""

    family: str
    nets: dict[str, str]
    lr: float | None
    batch: int
    steps: int = 10_000
    ema: float = 0.999


RECIPES = {
    "feedforward": Recipe("estimate", {"image": "conv", "spectrum": "flat", "embedding": "mlp"}, 1e-3, 64),
    "recurrent": Recipe("estimate", {"image": "gru", "spectrum": "gru", "embedding": "gru"}, 1e-3, 64),
    "autoregressive": Recipe("sequence", {"image": "transformer", "embedding": "transformer"}, 1e-3, 64),
    "diffusion": Recipe("denoise", {"image": "resnet", "spectrum": "resnet", "embedding": "mlp-denoiser"}, 3e-4, 128),
    "lm": Recipe("language", {"tokens": "lm"}, 2e-3, 32),
    "token-ae": Recipe("autoencoder", {"tokens": "token-ae"}, 1e-3, 32),
    "rvq": Recipe("codebooks", {}, None, 4096, 1000, 0.99),
}
FRAGMENTS = "{} learns to recall from fragments: say what is lost, as in --fragment '--mask .75'"
DEPTH = ("depth", "blocks")  # what networks call their number of layers
FIXED = (  # by the data
    "item",
    "source",
    "target",
    "channels",
    "target_channels",
    "kind",
    "classes",
    "conditioned",
    "vocabulary",
    "codec",
    "stages",
    "codes",
)


def choices(recipe: str) -> list[str]:
    """The networks of nets.NETS that a recipe can train."""
    return [name for name in NETS if net_class(name).family == RECIPES[recipe].family]


def net_class(name: str):
    module, cls = NETS[name].split(".")
    return getattr(import_module(f"..nets.{module}", __package__), cls)


def config(
    recipe: str,
    kind: str,
    item: tuple[int, ...],
    target: tuple[str, tuple[int, ...]],
    *,
    net: str | None = None,
    classes: int = 0,
    conditioned: bool = True,
    width: int | None = None,
    depth: int | None = None,
    options: dict | None = None,
    facts: dict | None = None,
) -> dict:
    """The record of a network for these memories: what the data fix (`facts`: what they fix beside), and what the user
    chose.

    Raises LemError for a network of another recipe, an option that it does not take, or a shape that it cannot have.
    """
    if recipe not in RECIPES:
        raise LemError(f"no recipe {recipe!r}; there are {', '.join(RECIPES)}")
    name = net or RECIPES[recipe].nets.get(kind)
    if name is None:
        raise LemError(f"{recipe} does not learn from a {kind}; it takes {', '.join(RECIPES[recipe].nets)}")
    if net is not None and (net not in NETS or net_class(net).family != RECIPES[recipe].family):
        raise LemError(f"--arch {net} is not for {recipe}; there are {', '.join(choices(recipe))}")
    takes = inspect.signature(net_class(name).__init__).parameters
    if len(item) != 3 and "channels" in takes:
        raise LemError(f"--arch {name} is for images and spectra, not for an {kind} of shape {list(item)}")
    own = {"item": list(item), "channels": item[0], "kind": kind, "classes": classes, "conditioned": conditioned}
    facts = own | (facts or {})
    if tuple(target[1]) != tuple(item):
        if "target" in takes:
            facts["target"] = list(target[1])
        elif "source" in takes:
            facts |= {"source": list(item), "item": list(target[1])}
        elif "target_channels" in takes and target[1][1:] == item[1:]:
            facts["target_channels"] = target[1][0]
        else:
            raise LemError(f"--arch {name} answers in the shape it is given; for another --target take mlp")
    if any(n == 0 for n in item) and "item" in takes and ("channels" not in takes):
        raise LemError(f"--arch {name} needs memories of one size: give --crop, or take --arch conv or flat")
    chosen = dict(options or {})
    for key, value in (("width", width), ("depth", depth)):
        if value is not None:
            name_there = next((n for n in (DEPTH if key == "depth" else (key,)) if n in takes), key)
            if name_there in chosen:
                raise LemError(f"--{key} and --set {name_there} say the same: give one of them")
            if name_there in takes and not isinstance(takes[name_there].default, (int, type(None))):
                raise LemError(f"--{key} is one number; --arch {name} has several: --set {name_there}=[...]")
            chosen[name_there] = value
    for key in chosen:
        if key not in takes or key in FIXED:
            known = [k for k in takes if k not in ("self", *FIXED)]
            raise LemError(f"--arch {name} has no {key!r}; it has {', '.join(known)}")
    if not conditioned and "conditioned" not in takes:
        raise LemError(FRAGMENTS.format(recipe))
    plain = {k: v for k, v in facts.items() if k in takes}
    # (defaults are written down too: they may be others tomorrow, and the file must be read as it was made)
    usual = {k: _plain(p.default) for k, p in takes.items() if p.default is not inspect.Parameter.empty}
    return {"net": name, **usual, **plain, **chosen}


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


def moments(data, kind: str, seen=None) -> tuple:
    """(offset, gain) of the coordinates of such memories: images 2v - 1; embeddings less their mean, in units of their
    rms about it; spectra in units of their rms."""
    if kind == "image":
        return 0.5, 2.0
    rows = np.linspace(0, len(data) - 1, min(len(data), 10_000)).astype(int)
    x = np.asarray(data[rows], np.float64)
    mask = np.ones_like(x) if seen is None else seen[rows]
    mean = np.zeros(x.shape[1:]) if kind == "spectrum" else (x * mask).sum(0) / np.maximum(mask.sum(0), 1)
    rms = np.sqrt((((x - mean) * mask) ** 2).sum() / max(mask.sum(), 1))
    gain = float(1 / rms) if rms > 1e-7 * np.abs(x).max() else 1.0  # memories that are all alike have no unit
    return 0.0 if kind == "spectrum" else mean.astype(np.float32), gain
