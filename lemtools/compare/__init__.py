"""Measure what came back: one value an item, its mean, and a 95 % interval over the items. numpy only.

The metrics and how to add one: catalogue/metrics.py. What a metric may need beside the two sets: resources.py.
"""

from ..catalogue.metrics import GROUPS, METRICS, named
from .comparison import Comparison, measure
from .pairs import centred, pair
from .summary import Result, missed

__all__ = ["GROUPS", "METRICS", "Comparison", "Result", "centred", "measure", "missed", "named", "pair"]
