"""From settings to all that a run needs: what is left open is settled, and the recipe does the rest."""

from __future__ import annotations

from ..catalogue.recipes import RECIPES
from .run import Prepared
from .settings import Settings, resolve


def prepare(settings: Settings, begun: str | None = None) -> Prepared:
    """Read, split, build. Raises LemError for what does not go together. begun: see settings.resolve."""
    return RECIPES.load(settings.recipe)(resolve(settings, begun))
