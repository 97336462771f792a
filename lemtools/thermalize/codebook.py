"""A codebook of tokens: from numbers to vectors, from vectors to the nearest numbers, and from logits to either.

Shapes: K codes of D numbers; M vectors.
"""

from __future__ import annotations

import os

import numpy as np
import torch

from ..catalogue import LemError

SPARE = 8  # codes that are looked at exactly: products in float32 confuse those that are as far as each other
CELLS = 1 << 24  # distances at a time
WIDTH = 0.25  # of the noise of a corrected vector, in units of the codebook: the next code is exp(8) times less likely
NEVER = -1e30  # log of a probability of 0


class Codebook:
    """table: [K, D] float, finite, K >= 2. unit: the median distance of a code from the nearest other one. twins: how many
    codes are the same as another one.

    Raises LemError for another shape, for values that are not finite, and where most codes have a twin.
    """

    def __init__(self, table: np.ndarray):
        if table.ndim != 2 or len(table) < 2 or np.asarray(table[:0]).dtype.kind != "f":
            raise LemError(
                f"an array of {table.dtype} {list(table.shape)} is no codebook; it is float [K, D], 2 codes or more"
            )
        self.table = torch.from_numpy(np.array(table, np.float64))
        if not bool(torch.isfinite(self.table).all()):
            raise LemError("a codebook with values that are NaN or infinite")
        self.middle = self.table.mean(0)
        self.near = (self.table - self.middle).float()
        self.half = self.near.square().sum(1) / 2
        apart = self.nearest(self.table)[1][:, 1]
        self.unit, self.twins = float(np.median(apart)), int((apart == 0).sum())  # (torch's is the lower of two)
        if not self.unit:
            raise LemError(
                f"{self.twins} of the {len(self)} codes are the same as another one; a token would stand for any of them"
            )

    def __len__(self) -> int:
        return len(self.table)

    @property
    def dim(self) -> int:
        """D."""
        return self.table.shape[1]

    def vectors(self, tokens: np.ndarray) -> torch.Tensor:
        """float64 [..., D] of tokens [...]."""
        return self.table[torch.from_numpy(tokens.astype(np.int64))]

    def nearest(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of x, float64 [M, D]: the two nearest codes [M, 2], the first of those that are as near, and their distances."""
        numbers, distances = [], []
        for part in x.split(max(CELLS // len(self), 1)):
            about = torch.addmm(self.half, (part - self.middle).float(), self.near.T, alpha=-1)
            near = about.topk(min(SPARE, len(self)), largest=False, sorted=False).indices.sort(1).values
            exact = (self.table[near] - part[:, None]).square().sum(2).sqrt()
            distance, order = exact.sort(dim=1, stable=True)
            numbers.append(near.gather(1, order[:, :2]))
            distances.append(distance[:, :2])
        return torch.cat(numbers), torch.cat(distances)

    def distance(self, x: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """[M] of x, float64 [M, D], from the codes [M]."""
        return (self.table[tokens] - x).square().sum(1).sqrt()

    def expected(self, log_p: torch.Tensor) -> torch.Tensor:
        """sum_k p_k e_k, float64 [M, D] of log p float64 [M, K]."""
        return log_p.exp() @ self.table

    def weighed(self, log_p: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """log p_k - |e_k - x|^2 / (2 s^2), up to a constant, of log p float64 [M, K] and x [M, D]: what is known of a token by p
        and by its vector x with noise of the standard deviation s, WIDTH times the unit."""
        centred = self.table - self.middle
        off = centred.square().sum(1) / 2 - (x - self.middle) @ centred.T
        return log_p - off / (WIDTH * self.unit) ** 2


def log_softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """log p float64 [..., K] of logits; those of minus infinity are never drawn; NaN where there are no probabilities."""
    x = np.asarray(logits, np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        x = x - x.max(-1, keepdims=True)  # NaN of nothing but minus infinity, and of infinity
        x = np.where(x == 0, 0.0, x / temperature) if temperature else np.where(x < 0, NEVER, x)
        return np.maximum(x - np.log(np.exp(x).sum(-1, keepdims=True)), NEVER)


def load(path: str, key: str | None = None) -> Codebook:
    """The codebook in a file: a table [K, D] (NPY, NPZ, safetensors; `key` names one of several), or a model of rvq, of
    lem-encode --fit, with one stage. LemError for any other file."""
    try:
        return Codebook(_table(path, key))
    except LemError as error:
        raise LemError(str(error) if str(error).startswith(path) else f"{path}: {error}") from error


def _table(path: str, key: str | None) -> np.ndarray:
    from .. import media
    from ..stream.files import ENCODER, record_of
    from ..vq.residual import RVQ

    if not os.path.isfile(path):
        raise LemError(f"{path}: no such file")
    record = record_of(path, ENCODER)
    if record is None:
        return np.asarray(media.store([path], key, called="--codebook-key", kind="embedding"))
    rvq = RVQ.load(path)
    if len(rvq.levels) != 1:
        what = f"{len(rvq.levels)} codes a vector"
        raise LemError(
            f"{path}: a model of {what}, where a token is one; fit one with --stages 1, one group and no gain"
        )
    return rvq.decode(np.arange(rvq.codes)[:, None])
