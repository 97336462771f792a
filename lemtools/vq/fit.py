"""What a fit of a residual quantiser begins with: moments, a sample, settings that go together; and levels of a gain.

The codebooks themselves are learnt in learn.py.
"""

from __future__ import annotations

import numpy as np
import torch

from ..catalogue.encoding import RESIDUAL
from ..denoise.moments import Moments
from ..signal import LemError
from .frame import ROWS, Frame, Vectors, checked_rows, row_blocks
from .kmeans import kmeans

SPACE = 1 << 25  # numbers in a sample that was not asked for by size


def read_moments(vectors: Vectors, device: str, gain_shape: bool) -> tuple[Moments, Moments, int]:
    """Moments of the vectors and of what is coded of them (their directions, with gain_shape), vectors of 0 left out; and
    how many vectors there are with these."""
    whole = Moments()
    coded = Moments() if gain_shape else whole
    dims, seen = None, 0
    for first, block in row_blocks(vectors):
        seen = first + len(block)
        x = checked_rows(block, device, first, dims)
        dims, x = x.shape[1], x[(x != 0).any(1)]
        whole.add(x)
        if gain_shape:
            coded.add(torch.nn.functional.normalize(x, dim=1))
    return whole, coded, seen


def sample(
    vectors: Vectors, frame: Frame, count: int, gain_shape: bool, device: str, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Coordinates [n, R] and energies [n] of `count` vectors drawn evenly (of all, if there are fewer), in order.

    A reservoir by random keys: memory is a share of the sample's, whatever the number of vectors.
    """
    draw, edge, full = np.random.default_rng([seed, 1]), 1.0, 0
    room = count + max(count // 4, ROWS)  # one array for all: small ones kept between large ones would scatter memory
    keys, kept = np.empty(room), torch.empty((room, len(frame.scale) + 1))
    for _, block in row_blocks(vectors):
        x = checked_rows(block, device)
        x = x[(x != 0).any(1)]
        key = draw.random(len(x))
        take = key < edge
        if full + take.sum() > room:
            full = _cut(keys, kept, full, count)
            edge = keys[:full].max()
            take = key < edge
        z, energy = frame.coordinates(torch.nn.functional.normalize(x, dim=1) if gain_shape else x)
        part, chosen = slice(full, full + int(take.sum())), torch.from_numpy(np.flatnonzero(take)).to(device)
        keys[part], kept[part, :-1], kept[part, -1] = key[take], z[chosen].cpu(), energy[chosen].cpu()
        full = part.stop
    full = _cut(keys, kept, full, count)
    return kept[:full, :-1], kept[:full, -1]


def _cut(keys: np.ndarray, kept: torch.Tensor, full: int, count: int) -> int:
    """Move the `count` first by key to the front, in order; returns how many there are."""
    stay = np.sort(np.argsort(keys[:full], kind="stable")[:count])
    keys[: len(stay)] = keys[stay]
    for i in range(0, len(stay), ROWS):  # they only move forward
        kept[i : i + len(stay[i : i + ROWS])] = kept[torch.from_numpy(stay[i : i + ROWS])]
    return len(stay)


def gain_levels(norms: torch.Tensor, levels: int, generator: torch.Generator) -> torch.Tensor:
    """Levels [L], ascending, that keep the relative error of the norms small: k-means of their logarithms."""
    logs = norms.log()[:, None].to(torch.float32)
    if len(logs.unique()) <= levels:
        return logs.unique().exp()
    return kmeans(logs, torch.ones_like(logs[:, 0]), levels, 50, generator)[:, 0].sort().values.exp()


def check_settings(
    dims: int, count: int, *, stages: int, codes: int, groups: int, beam: int, cosine: float, gains: int
) -> None:
    """LemError for settings that do not fit the data or one another."""
    chosen = {"stages": stages, "codes": codes, "groups": groups, "beam": beam, "gains": gains}
    ranges = {o.name: (o.low, o.high) for o in RESIDUAL} | {"groups": (1, dims), "gains": (2, codes)}
    for name, value in chosen.items():
        least, most = ranges[name]
        if not least <= value <= most:
            raise LemError(f"--{name} must lie in {least} .. {most}, not {value}")
    if not 0 <= cosine < np.inf:
        raise LemError(f"--cosine must be 0 or more, not {cosine}")
    if dims % groups:
        fit = ", ".join(str(g) for g in range(1, min(dims, 64) + 1) if dims % g == 0)
        raise LemError(f"{dims} dimensions do not divide into {groups} groups; they do into {fit}")
    if count < codes:
        raise LemError(f"{count} vectors (not counting zeros) for {codes} codes; give fewer (--codes), or more vectors")
