"""Pairs of vectors, in one pass: their moments, and a sample of them for what needs the pairs themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..denoise.moments import Moments
from ..signal import LemError

WIDEST = 4096  # numbers a vector: the covariance of both sides together is square
SAMPLE = 4096  # pairs that are kept as they are
CLOUD, FEWEST = 20_000, 50  # vectors without partners that are kept of a side, and that are needed
SHORT, LONG = 1e-18, 1e18  # lengths of vectors: float32 holds what scales one side to the other
STILL = 1e-7  # of the mean's length: float32 has no digits for less
_ROWS = 1 << 21  # numbers that are float64 at a time


@dataclass
class Paired:
    """What maps are fitted to. Covariances are divided by the number of pairs.

    count: of pairs. mean: of each side [D], [E]. covariance: of both sides together [D + E, D + E]. x [n, D], y [n, E]: a
    sample of the pairs, in their order, float64; all of them where there are no more than that. penalties: what
    linear.penalties found.
    """

    count: int
    mean: tuple[np.ndarray, np.ndarray]
    covariance: np.ndarray
    x: np.ndarray
    y: np.ndarray
    penalties: tuple[float, float] | None = None

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray) -> Paired:
        """Pairs that are held: x [n, D], y [n, E]."""
        moments = Moments()
        moments.add(np.hstack([x, y]).astype(np.float64, copy=False))
        return cls._made(moments, x.shape[1], x, y)

    @classmethod
    def read(
        cls,
        blocks: Iterable[tuple[np.ndarray, np.ndarray]],
        *,
        pairs: int | None = None,
        seed: int = 0,
        of: tuple[str, str] = ("A", "B"),
    ) -> Paired:
        """Of blocks of pairs ([n, D], [n, E]), in one pass. The result does not depend on where one block ends.

        pairs: how many to take, drawn evenly by the seed and held in float64; None: all, of which a sample is held. of: what errors
        call the sides. LemError for fewer than 2, for fewer than `pairs`, for vectors of other widths than the first or wider than
        4096, for those that check_vectors refuses, and for a side whose vectors are all the same.
        """
        widths = [0, 0]
        moments, rows = gathered(_beside(blocks, widths, of), pairs=pairs, seed=seed)
        made = cls._made(moments, widths[0], rows[:, : widths[0]], rows[:, widths[0] :])
        aa, _, bb = made.parts
        for name, mean, square in zip(of, made.mean, (aa, bb), strict=True):
            check_varied(mean, square.diagonal(), name)
        return made

    @classmethod
    def _made(cls, moments: Moments, width: int, x: np.ndarray, y: np.ndarray) -> Paired:
        mean = moments.mean
        x, y = (side.astype(np.float64, copy=False) for side in (x, y))
        return cls(moments.count, (mean[:width], mean[width:]), moments.covariance, x, y)

    @cached_property
    def parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Covariance of A [D, D], of A with B [D, E], of B [E, E]."""
        d = len(self.mean[0])
        return self.covariance[:d, :d], self.covariance[:d, d:], self.covariance[d:, d:]

    @cached_property
    def centred(self) -> tuple[np.ndarray, np.ndarray]:
        """The sample less the means: [n, D], [n, E]."""
        return self.x - self.mean[0], self.y - self.mean[1]


def gathered(
    blocks: Iterable[np.ndarray], *, pairs: int | None = None, seed: int = 0, of: str = "pairs"
) -> tuple[Moments, np.ndarray]:
    """(moments of rows, a sample of them [n, T], float64) of blocks of rows [n, T], in one pass; neither depends on where one
    block ends. pairs: how many to take, drawn evenly by the seed; None: all, of which SAMPLE are held. LemError for fewer than 2,
    or than `pairs`; of: what it calls them.
    """
    moments, draw, kept, seen = Moments(), np.random.default_rng([seed, 18]), _Sample(pairs or SAMPLE), 0
    for block in blocks:
        seen += len(block)
        step = max(1, _ROWS // block.shape[1])
        for i in range(0, len(block), step):
            rows = block[i : i + step].astype(np.float64)
            kept.add(rows, draw.random(len(rows)))
            if pairs is None:
                moments.add(rows)
    if seen < max(pairs or 2, 2):
        raise LemError(f"{seen} {of}; " + (f"--pairs {pairs} are asked for" if pairs else "a map needs 2 at least"))
    rows = kept.rows()
    if pairs is not None:
        moments.add(rows)
        rows = rows[:: max(1, -(-len(rows) // SAMPLE))]
    return moments, rows


def drawn(count: int, pairs: int, seed: int) -> np.ndarray:
    """Which of `count` pairs `Paired.read` takes, ascending. LemError where there are fewer."""
    if pairs > count:
        raise LemError(f"{count} pairs; --pairs {pairs} are asked for")
    return np.sort(np.argsort(np.random.default_rng([seed, 18]).random(count), kind="stable")[:pairs])


def _beside(
    blocks: Iterable[tuple[np.ndarray, np.ndarray]], widths: list[int], of: tuple[str, str]
) -> Iterator[np.ndarray]:
    """Blocks [n, D + E] of pairs, checked; widths: is filled in."""
    seen = 0
    for x, y in blocks:
        widths[:] = widths if seen else (x.shape[1], y.shape[1])
        for side, width, name in zip((x, y), widths, of, strict=True):
            _check_side(side, width, name, seen)
        seen += len(x)
        yield np.hstack([x, y])


def read_side(blocks: Iterable[np.ndarray], of: str, *, width: int | None = None, seed: int = 0) -> np.ndarray:
    """Vectors [n, D] float32 of one space without partners, from blocks [., D]; of more than 20,000 as many, drawn by the seed.

    width: which they must have. of: what they are called in errors. LemError for fewer than 50, and as of Paired.read.
    """
    kept, draw, seen = _Sample(CLOUD), np.random.default_rng([seed, 19]), 0
    for x in blocks:
        width = width or x.shape[1]
        _check_side(x, width, of, seen)
        seen += len(x)
        kept.add(x.astype(np.float32, copy=False), draw.random(len(x)))
    if seen < FEWEST:
        raise LemError(f"{of}: {seen} vectors; without pairs {FEWEST} are needed at least")
    rows = kept.rows()
    check_varied(rows.mean(0, dtype=np.float64), rows.var(0, dtype=np.float64), of)
    return rows


class _Sample:
    """The rows with the least of random keys, in their order."""

    def __init__(self, most: int):
        self.most = most
        self.held: list[tuple[np.ndarray, np.ndarray]] = []
        self.count = 0

    def add(self, rows: np.ndarray, keys: np.ndarray) -> None:
        self.held.append((keys, rows))
        self.count += len(rows)
        if self.count > 2 * self.most:
            self._cut()

    def rows(self) -> np.ndarray:
        self._cut()
        return self.held[0][1]

    def _cut(self) -> None:
        keys, rows = (np.concatenate(parts) for parts in zip(*self.held))
        stay = np.sort(np.argsort(keys, kind="stable")[: self.most])
        self.held, self.count = [(keys[stay], rows[stay])], len(stay)


def _check_side(x: np.ndarray, width: int, of: str, seen: int) -> None:
    if x.shape[1] != width:
        raise LemError(f"vectors of {x.shape[1]} numbers among such of {width} in {of}")
    if width > WIDEST:
        raise LemError(f"vectors of {width} numbers in {of}; a map takes {WIDEST} at most: --encoder pca first")
    check_vectors(x, seen, f" of {of}")


def check_vectors(x: np.ndarray, seen: int = 0, of: str = "") -> None:
    """LemError for a vector that is not finite, is zero, or has a length beyond 1e-18 to 1e18. seen: how many came before."""
    energy = np.einsum("ij,ij->i", x, x)
    if not len(x) or (float(energy.min()) > SHORT**2 and float(energy.max()) < LONG**2):
        return
    length = np.hypot.reduce(x.astype(np.float64), axis=1)  # (squares may be more than the type holds)
    beyond = (length < SHORT) | (length > LONG)
    for bad, what in (
        (~np.isfinite(x).all(1), "is not finite"),
        (length == 0, "is zero: it has no direction"),
        (beyond, f"has a length beyond {SHORT:g} to {LONG:g}: scale the set"),
    ):
        if bad.any():
            way = "" if bad is beyond else "; leave it out of both sets"
            raise LemError(f"vector {seen + int(np.argmax(bad))}{of} {what}{way}")


def check_varied(mean: np.ndarray, variance: np.ndarray, of: str) -> None:
    """LemError for vectors that are all the same, by their mean [D] and variances [D]: no direction about the mean is left."""
    if not variance.sum() > STILL**2 * (mean @ mean):
        raise LemError(f"{of}: all vectors are the same, so that none can be told from another")
