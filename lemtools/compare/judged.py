"""Whether a task survived: what a judge sees in originals and in recalled items (nets.judge.Judge)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..media.labels import FOLDER, Classes, folders
from ..signal import LemError
from .pairs import Pair


@dataclass(frozen=True)
class Verdict:
    """What a judge sees on either side (nets.judge.Seen), and the true classes int64 [N], or None."""

    original: Any
    recalled: Any
    truth: np.ndarray | None


class Court:
    """A judge, and the labels of the originals: media.labels.Classes; FOLDER; or None where they are in the originals, or unknown. Pairs
    come in the order of the originals."""

    def __init__(self, judge: Any, labels: Any = None):
        self.judge, self.labels, self.count = judge, labels, 0

    def knows(self, pair: Pair) -> bool:
        """Whether the true classes are known."""
        return self.labels is not None or pair.label is not None

    def __call__(self, pair: Pair) -> Verdict:
        truth = self._truth(pair)
        original, recalled = (self.judge(pair.kind, side, pair.rate) for side in (pair.a, pair.b))
        return Verdict(original, recalled, truth)

    def check(self) -> None:
        """LemError where labels in the order of the items are more than these were, once all pairs have come."""
        ordered = isinstance(self.labels, Classes) and self.labels.table is None
        if ordered and len(self.labels.values) != self.count:
            raise LemError(f"{self.labels.path}: {len(self.labels.values)} labels for {self.count} items")

    def _truth(self, pair: Pair) -> np.ndarray | None:
        start, self.count = self.count, self.count + len(pair)
        if self.labels is None:
            found = pair.label
        elif self.labels == FOLDER:
            found = self.judge.numbers(folders(pair.names, "--labels FILE"))
        else:
            found = self.labels.part(start, len(pair), pair.names)
            if self.labels.words is not None:
                found = self.judge.numbers([self.labels.words[k] for k in found])
            elif self.judge.named:
                raise LemError(
                    f"{self.labels.path}: classes by numbers, where {self.judge.path} was taught {self.judge.called()}"
                )
            if len(found) < len(pair):
                raise LemError(f"{self.labels.path}: {len(self.labels.values)} labels for more items")
        most = len(self.judge.names)
        if found is not None and len(found) and not 0 <= found.min() <= found.max() < most:
            where = f"{self.labels.path}: " if isinstance(self.labels, Classes) else ""
            raise LemError(f"{where}class {found.max()}, where {self.judge.path} was taught {most}, from 0 on")
        return found


def judged(a: np.ndarray, b: np.ndarray, judge: Verdict, truth: np.ndarray) -> np.ndarray:
    """1 where the judge is right of the recalled item, else 0, [N]. truth: int64 [N], the true classes."""
    return (judge.recalled.classes == truth).astype(float)


def judged_original(a: np.ndarray, b: np.ndarray, judge: Verdict, truth: np.ndarray) -> np.ndarray:
    """1 where the judge is right of the original, else 0, [N]."""
    return (judge.original.classes == truth).astype(float)


def change(a: np.ndarray, b: np.ndarray, judge: Verdict, truth: np.ndarray) -> np.ndarray:
    """Right of the recalled item less right of its original, [N]: -1, 0 or 1."""
    return judged(a, b, judge, truth) - judged_original(a, b, judge, truth)


def agreement(a: np.ndarray, b: np.ndarray, judge: Verdict) -> np.ndarray:
    """1 where the judge says the same of both, else 0, [N]."""
    return (judge.recalled.classes == judge.original.classes).astype(float)


def deep(a: np.ndarray, b: np.ndarray, judge: Verdict, k: int) -> np.ndarray:
    """Cosine of the features of layer k of both, [N]; layer 1 is the lowest. NaN where one side has none. ValueError where there are fewer
    layers."""
    count = len(judge.original.layers)
    if k > count:
        raise ValueError(f"layer {k}: this judge has {count}; give --metric deep@{count} or lower")
    x, y = (side.layers[k - 1].astype(float) for side in (judge.original, judge.recalled))
    norms = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(norms > 0, (x * y).sum(1) / norms, np.nan)
