"""Dissimilarities of the same items by several subjects, such as brains: how like them a set is, and the noise ceiling."""

from __future__ import annotations

import os
from functools import cached_property

import numpy as np

from ..media.dissimilarities import SHAPES, dissimilarities
from ..signal import LemError
from .correlation import ROUNDING as LAST_DIGITS
from .correlation import pearson, ranks

ROUNDING = 1e-6  # of the largest number: neither an asymmetry nor a diagonal


class Subjects:
    """What S subjects say of how unlike N items are.

    x: [N, N] of one, [S, N, N], or [S, sessions, N, N], of which the mean over sessions is taken; symmetric, and 0 (or
    nan) on the diagonal. called: the file, for errors. `ranks`: float64 [S, P], of the P = N (N - 1) / 2 pairs, each
    subject's about 0 and of length 1. LemError for anything else, and for a subject to whom all pairs are alike.
    """

    def __init__(self, x: np.ndarray, called: str):
        x = np.asarray(x, np.float64)
        x = x if x.ndim > 2 else x[None]
        if x.ndim not in (3, 4) or 0 in x.shape or x.shape[-1] != x.shape[-2]:
            raise LemError(f"{called}: dissimilarities {list(x.shape)} are not square; they are {SHAPES}")
        self.called, self.items = called, x.shape[-1]
        self.ranks = np.stack([self._unit(each, f"{called}: subject {s}") for s, each in enumerate(x)])

    def _unit(self, x: np.ndarray, whose: str) -> np.ndarray:
        """Ranks [P], about 0 and of length 1, of the mean over sessions of [N, N] or [sessions, N, N]."""
        x = x if x.ndim == 3 else x[None]
        upper = np.triu_indices(self.items, 1)
        above, below = x[:, upper[0], upper[1]], x[:, upper[1], upper[0]]
        if not (np.isfinite(above) & np.isfinite(below)).all():
            raise LemError(f"{whose} has dissimilarities that are not finite; leave such items out")
        least = ROUNDING * np.abs(above).max(initial=0)
        if (np.abs(above - below) > least).any():
            raise LemError(f"{whose} is not symmetric: a pair has one dissimilarity; take the mean of the two")
        if (np.abs(np.diagonal(x, axis1=1, axis2=2)) > least).any():
            raise LemError(f"{whose} has a diagonal that is not 0; of similarities take 1 less each")
        found = ranks(above.mean(0), LAST_DIGITS * np.abs(above).max(initial=0))
        found -= found.mean() if len(found) else 0
        if not found.any():
            raise LemError(f"{whose} finds all pairs of items as unlike: nothing to compare; leave it out")
        return found / np.linalg.norm(found)

    def beside(self, found: np.ndarray) -> np.ndarray:
        """Spearman's correlation [S] of dissimilarities, by their ranks [P], with each subject's; nan where all are alike."""
        return pearson(self.ranks.T, np.broadcast_to(found[:, None], self.ranks.T.shape))

    @cached_property
    def ceiling(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The noise ceiling, lower and upper, of each subject ([S], [S]), whose means count (Nili et al. 2014); None of one.

        Upper: the correlation of a subject with the sum of all subjects' ranks, itself among them: no dissimilarities
        have a higher mean over these subjects. Lower: with the sum of the others: as much as a set has that knows what they share.
        """
        if len(self.ranks) < 2:
            return None
        total = self.ranks.sum(0)
        others = total - self.ranks
        return pearson(self.ranks.T, others.T), self.beside(total)

    @property
    def names(self) -> list[str]:
        return [f"subject {s}" for s in range(len(self.ranks))]


def subjects(given: str | os.PathLike[str] | np.ndarray | None) -> Subjects | None:
    """`Subjects` of a npy file or an array; None of None."""
    if given is None:
        return None
    if isinstance(given, str | os.PathLike):
        return Subjects(dissimilarities(os.fspath(given)), os.fsdecode(given))
    return Subjects(given, "rdm")
