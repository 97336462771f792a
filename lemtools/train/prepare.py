"""From settings to all that a run needs: what is left open is settled, and the recipe does the rest."""

from __future__ import annotations

import os

from ..catalogue.networks import NETWORKS
from ..catalogue.recipes import RECIPES
from ..nets.model import Model, load
from ..signal import LemError
from .beside import beside
from .run import Prepared
from .settings import Settings, resolve


def prepare(settings: Settings, begun: str | None = None) -> Prepared:
    """Read, split, build. Raises LemError for what does not go together. begun: see settings.resolve."""
    if settings.runs is not None:
        every, lacking = settings.each_run(), {}
        if (
            settings.table is not None
        ):  # a run whose table failed its gates has none; where no run has one, it is refused
            lacking = {one.seed: f"{one.table}: no such file" for one in every if not os.path.exists(one.table)}
        if len(lacking) == len(every):
            lacking = {}
        return beside(settings, [prepare(one, begun) for one in every if one.seed not in lacking], lacking)
    prepared = RECIPES.load(settings.recipe)(resolve(settings, begun))
    if settings.init is not None:
        _init(prepared.model, settings.init)
    return prepared


def _init(model: Model, path: str) -> None:
    """Give the network the weights of a trained one. LemError where that is another network."""
    trained = load(path)
    mine, other = model.meta["net"], trained.meta["net"]
    if other["net"] == mine["net"]:  # options that are younger than the model are as where nobody chooses them
        other = {option.name: option.value() for option in NETWORKS[mine["net"]].options} | other
    differ = [f"{k} {other[k]}, not {mine[k]}" for k in mine if k in other and mine[k] != other[k]]
    if differ:
        raise LemError(f"--init {path}: it is another network: {'; '.join(differ)}")
    model.net.load_state_dict(trained.net.state_dict())
