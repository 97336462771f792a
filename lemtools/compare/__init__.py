"""Measure what came back: one value an item, its mean, and a 95 % interval over the items. numpy only.

The metrics and how to add one: metrics.py. What a metric may need beside the two sets: resources.py.
"""

from .comparison import Comparison, measure
from .metrics import GROUPS, METRICS, listed, named
from .pairs import pair
from .summary import Result, missed

__all__ = ["GROUPS", "METRICS", "Comparison", "Result", "listed", "measure", "missed", "named", "pair"]
