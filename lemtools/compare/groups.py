"""Sets of vectors with labels: what each is, who made it, and on which side its maker stands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..media.label_table import LabelTable
from ..signal import LemError, Signal
from ..transforms.history import latest

MOST = 8192  # items: all their distances are held at once


@dataclass
class Groups:
    """Vectors x float64 [N, D] of one set, and their labels.

    name: of the set. by: int64 [N], the class of each, a place in `classes`. who: int64 [N], its speaker, a place in
    `speakers` (or whatever else is left out in turn). side: int64 [S] of 0 and 1, on which of the two `sides` each
    speaker stands, or None. features: names of the D numbers where they have some; each then counts in units of its
    standard deviation over the set, which is `scale`. same: what else was said to be alike, a value of each item, or None. centred: each
    speaker's mean is 0. kept: what was found of x and `who` alone, which shuffled classes do not change.
    """

    name: str
    x: np.ndarray
    by: np.ndarray
    who: np.ndarray
    classes: list[str]
    speakers: list[str]
    side: np.ndarray | None = None
    sides: tuple[str, ...] = ()
    features: list[str] | None = None
    same: list[str] | None = None
    centred: bool = False
    scale: np.ndarray | None = None
    kept: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.x)

    def about_speakers(self) -> Groups:
        """Each speaker's mean taken away, that over all of its items: no label is looked at."""
        means = sums(self.x, self.who, len(self.speakers)) / self.count()[:, None]
        return replace(self, x=self.x - means[self.who], centred=True, kept={})

    def shuffled(self, rng: np.random.Generator) -> Groups:
        """Classes changed about among the items of each speaker."""
        by = self.by.copy()
        for s in range(len(self.speakers)):
            rows = np.flatnonzero(self.who == s)
            by[rows] = by[rng.permutation(rows)]
        return replace(self, by=by)

    def count(self) -> np.ndarray:
        """Items a speaker, int64 [S]."""
        return np.bincount(self.who, minlength=len(self.speakers))

    def cells(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(items, means, squared distance to the mean over n - 1) of speaker and class: [S, K], [S, K, D], [S, K]; nan
        where there are none, or is but one."""
        shape, cell = (len(self.speakers), len(self.classes)), self.who * len(self.classes) + self.by
        n = np.bincount(cell, minlength=shape[0] * shape[1])
        with np.errstate(invalid="ignore", divide="ignore"):
            means = sums(self.x, cell, len(n)) / n[:, None]
            apart = np.bincount(cell, np.square(self.x - means[cell]).sum(1), len(n))
            spread = np.where(n > 1, apart / (n - 1), np.nan)
        return n.reshape(shape), means.reshape(*shape, -1), spread.reshape(shape)

    def of(self, features: Sequence[str]) -> Groups:
        """Only these of the features. LemError for one that is not there."""
        names = self.features or [str(i) for i in range(self.x.shape[1])]
        for name in features:
            if name not in names:
                shown = ", ".join(names) if self.features else f"numbers from 0 to {len(names) - 1}"
                raise LemError(f"{self.name}: no feature {name}; there are {shown}")
        at = [names.index(name) for name in features]
        scale = None if self.scale is None else self.scale[at]
        return replace(self, x=self.x[:, at], features=list(features), scale=scale, kept={})

    def where(self, kept: np.ndarray) -> Groups:
        """Some of the items; speakers and classes without any are left out."""
        who, at = np.unique(self.who[kept], return_inverse=True)
        by, of = np.unique(self.by[kept], return_inverse=True)
        return replace(
            self,
            kept={},
            x=self.x[kept],
            by=of,
            who=at,
            classes=[self.classes[i] for i in by],
            speakers=[self.speakers[i] for i in who],
            side=None if self.side is None else self.side[who],
            same=None if self.same is None else [self.same[i] for i in np.flatnonzero(kept)],
        )


def sums(x: np.ndarray, group: np.ndarray, count: int) -> np.ndarray:
    """[count, D]: the sum of the rows of each group."""
    out, order = np.zeros((count, x.shape[1])), np.argsort(group, kind="stable")
    there, starts = np.unique(group[order], return_index=True)
    if len(there):
        out[there] = np.add.reduceat(x[order], starts, axis=0)
    return out


def groups(
    batches: Iterable[Signal],
    table: LabelTable,
    by: str,
    leave: str,
    cross: str | None = None,
    same: str | None = None,
    name: str = "",
) -> Groups:
    """A set of embeddings [N, D] or [N, L, D], with the labels of their names in a table.

    by, leave, cross, same: columns of the table. LemError for what is no embedding or is not finite, for names that the
    table does not have, for one class or one speaker alone, and for a speaker on two sides or more than two sides.
    """
    vectors, names, features = _read(batches, name)
    places = table.places(names)
    classes, of = np.unique(table.column(by, places), return_inverse=True)
    speakers, who = np.unique(table.column(leave, places), return_inverse=True)
    if len(classes) < 2:
        raise LemError(f"{name}: one {by} only, {classes[0]}: there is nothing to tell apart")
    if len(speakers) < 2:
        raise LemError(f"{name}: one {leave} only, {speakers[0]}: none is left when it is left out")
    side, sides = _sides(table.column(cross, places), who, speakers, leave, cross) if cross else (None, ())
    scale = None
    if features is not None:
        scale = np.where((spread := vectors.std(0)) > 0, spread, 1)
        vectors = vectors / scale
    alike = table.column(same, places) if same else None
    return Groups(
        name, vectors, of, who, classes.tolist(), speakers.tolist(), side, sides, features, alike, scale=scale
    )


def _read(batches: Iterable[Signal], name: str) -> tuple[np.ndarray, list[str], list[str] | None]:
    """(vectors float64 [N, D], names, names of the D numbers or None)."""
    parts, names, features = [], [], None
    for batch in batches:
        if batch.kind != "embedding" or batch.ops:
            what = "a fragment" if batch.ops else f"{batch.kind}"
            raise LemError(f"{name}: {what}; --labels is for embeddings, as lem-encode makes them of sounds and images")
        if batch.names is None:
            raise LemError(
                f"{name}: embeddings without names; --labels goes by name, and lem-encode keeps the names of files"
            )
        parts.append(np.asarray(batch.data, np.float64).reshape(len(batch), -1))
        names += batch.names
        features = (latest(batch.history) or {}).get("features")
        if parts[-1].shape[1] != parts[0].shape[1]:
            raise LemError(f"{batch.names[0]}: {parts[-1].shape[1]} numbers among embeddings of {parts[0].shape[1]}")
        if not np.isfinite(parts[-1]).all():
            raise LemError(
                f"{batch.names[int((~np.isfinite(parts[-1])).any(1).argmax())]}: a number that is not finite"
            )
    count = sum(map(len, parts))
    if not count:
        raise LemError(f"{name}: nothing to compare")
    if count > MOST:
        raise LemError(f"{name}: {count} embeddings; --labels takes {MOST} at most: name fewer files")
    vectors = np.concatenate(parts)
    known = (
        isinstance(features, list) and len(features) == vectors.shape[1] and all(isinstance(f, str) for f in features)
    )
    return vectors, names, features if known else None


def _sides(
    values: Sequence[str], who: np.ndarray, speakers: np.ndarray, leave: str, cross: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    sides, at = np.unique(values, return_inverse=True)
    if len(sides) != 2:
        raise LemError(
            f"--cross {cross}: two values are compared, and the table has {len(sides)} ({', '.join(sides[:5])})"
        )
    found = np.array([at[who == s][0] for s in range(len(speakers))])
    for s, name in enumerate(speakers):
        if (at[who == s] != found[s]).any():
            raise LemError(f"--cross {cross}: {leave} {name} is both {sides[0]} and {sides[1]}; it must be one of them")
    return found, tuple(sides.tolist())
