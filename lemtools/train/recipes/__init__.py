"""What can be learnt: a recipe is one function, from settings to a prepared run, and one row here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module

from ...signal import LemError

NETWORK = (  # settings of a network and of its optimiser
    *("arch", "width", "depth", "lr", "decay", "warmup", "weight_decay", "beta2"),
    *("clip", "dtype", "weights", "compile"),
)
LOSSES = ("fragment", "operations", "target", "labels", "crop", "augment", "pictures")  # of values


@dataclass(frozen=True)
class Recipe:
    """target: 'module:function' of this room that prepares a run. family: of the network. nets: the network of each
    kind. lr, batch, steps, ema: as of Settings; deep: the depth at which lr holds, which falls with its root, or None.
    properties: of what learns without a network, with their defaults. learns: what, in a word. refuses: Settings that it
    does not take."""

    target: str
    family: str
    nets: dict[str, str]
    lr: float | None
    batch: int
    steps: int = 10_000
    ema: float = 0.999
    deep: int | None = None
    properties: dict = field(default_factory=dict)
    learns: str = "values"
    refuses: tuple[str, ...] = ("on", "codec")

    def function(self) -> Callable:
        module, name = self.target.split(":")
        return getattr(import_module(f"..{module}", __name__), name)

    def refusal(self, name: str) -> str:
        """Why a setting is not for this recipe."""
        mine = next(key for key, row in RECIPES.items() if row == self)
        takers = [key for key, row in RECIPES.items() if name not in row.refuses]
        shown = "--" + name.replace("_", "-")
        if len(takers) <= 2:
            return f"{shown} is for {' and '.join(takers)}, not {mine}"
        return f"{shown} is not for {mine}, which learns {self.learns}"


RECIPES = {
    "feedforward": Recipe(
        "recipes.values:estimate",
        "estimate",
        {"image": "conv", "spectrum": "flat", "embedding": "mlp"},
        1e-3,
        64,
        refuses=("on", "codec", "labels"),
    ),
    "recurrent": Recipe(
        "recipes.values:estimate",
        "estimate",
        {"image": "gru", "spectrum": "gru", "embedding": "gru"},
        1e-3,
        64,
        refuses=("on", "codec", "labels"),
    ),
    "autoregressive": Recipe(
        "recipes.values:sequence",
        "sequence",
        {"image": "transformer", "embedding": "transformer"},
        1e-3,
        64,
        refuses=("on", "codec", "labels", "weighting"),
    ),
    "diffusion": Recipe(
        "recipes.values:denoise",
        "denoise",
        {"image": "resnet", "spectrum": "resnet", "embedding": "mlp-denoiser"},
        3e-4,
        128,
        refuses=("on", "codec", "weighting"),
    ),
    "lm": Recipe(
        "recipes.text:language",
        "language",
        {"tokens": "lm"},
        2e-3,
        32,
        deep=4,
        learns="text",
        refuses=(*LOSSES, "weighting", "key"),
    ),
    "token-ae": Recipe(
        "recipes.text:autoencoder",
        "autoencoder",
        {"tokens": "token-ae"},
        1e-3,
        32,
        learns="text",
        refuses=(*LOSSES, "weighting", "key", "on"),
    ),
    "rvq": Recipe(
        "recipes.rvq:codebooks",
        "codebooks",
        {},
        None,
        4096,
        1000,
        0.99,
        properties={
            "stages": 4,
            "codes": 1024,
            "groups": 1,
            "beam": 16,
            "cosine": 0.0,
            "gain_shape": False,
            "gains": 16,
            "whiten": False,
        },
        learns="no network",
        refuses=(*NETWORK, *LOSSES, "weighting", "on", "codec"),
    ),
}


def recipe(name: str) -> Recipe:
    """Its row. LemError for a name that there is not."""
    if name not in RECIPES:
        raise LemError(f"no recipe {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]
