"""Fitting the codebooks of a residual quantiser: k-means stage by stage, then all stages together under beam search.

Shapes: N vectors, W coordinates of a group, S stages, K codes; z the coordinates that a recall should meet, weight [N]
of its squared error (see ``Frame.targets``), codes int64 [N, S], codebooks [S, K, W].
"""

from __future__ import annotations

import numpy as np
import torch

from ..catalogue.encoders import RESIDUAL
from ..denoise.moments import Moments
from ..progress import steps
from ..signal import LemError
from .bound import water_fill
from .frame import ROWS, Frame, Vectors, checked_rows, row_blocks
from .search import beam_search, distance_tables, sum_codes

LLOYD = 8  # rounds of k-means before a stage joins the others
UPDATES = 24  # of all stages together
DECAY = 0.9  # of their sums, an update
PER_CODE = 32  # vectors an update, for each code of a stage,
MOST = 8192  # but no more than so many, or 8 a code
BEAM = 8  # at most, when fitting
RIDGE = 1.0  # vectors at 0 that every code counts beside its own: a code of few vectors stays short
DEAD = 0.5  # vectors; a code with fewer is given to a vector that is coded badly
VALIDATION = 10  # one vector in so many is kept for validation: it says when to stop
SHARE = 0.25  # bits that every direction must take where fewer directions are tried
PASS = 4096  # vectors searched at a time


def read_moments(vectors: Vectors, device: str, gain_shape: bool) -> tuple[Moments, Moments]:
    """Moments of the vectors and of what is coded of them (their directions, with gain_shape); vectors of 0 left out."""
    whole = Moments()
    coded = Moments() if gain_shape else whole
    dims = None
    for first, block in row_blocks(vectors):
        x = checked_rows(block, device, first, dims)
        dims, x = x.shape[1], x[(x != 0).any(1)]
        whole.add(x)
        if gain_shape:
            coded.add(torch.nn.functional.normalize(x, dim=1))
    return whole, coded


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


def kmeans(z: torch.Tensor, weight: torch.Tensor, codes: int, rounds: int, generator: torch.Generator) -> torch.Tensor:
    """Weighted k-means [K, W] from K of the vectors, by Lloyd's rounds; codes that nothing is nearest to move to the
    vectors that are coded worst."""
    table = z[torch.randperm(len(z), generator=generator)[:codes].to(z.device)].clone()
    for _ in range(rounds):
        found, error = _nearest(z, table)
        count = torch.zeros(codes, device=z.device).index_add_(0, found, weight)
        mean = torch.zeros_like(table).index_add_(0, found, weight[:, None] * z)
        dead = count == 0
        table = mean / count.clamp_min(1e-30)[:, None]
        if dead.any():
            table[dead] = z[(weight * error).topk(int(dead.sum())).indices]
    return table


def _nearest(z: torch.Tensor, table: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    parts = [(table.square().sum(1) - 2 * part @ table.mT).min(1) for part in z.split(PASS)]
    least = torch.cat([p.values for p in parts])
    return torch.cat([p.indices for p in parts]), (least + z.square().sum(1)).clamp_min(0)


def assign(z: torch.Tensor, codebooks: torch.Tensor, beam: int) -> torch.Tensor:
    """Codes int64 [N, S] by beam search."""
    stage_tables = distance_tables(codebooks)
    return torch.cat([beam_search(part, codebooks, stage_tables, beam)[0][:, 0] for part in z.split(PASS // 4)])


class Average:
    """Codebooks [S, K, W] that follow what is coded with them: decaying sums, stage by stage (van den Oord et al. 2017,
    appendix A.1), each stage on what the others, as they stand after their own update, leave."""

    def __init__(self, codebooks: torch.Tensor, decay: float, generator: torch.Generator, prior: float = 0.0):
        """prior: vectors that every code as it stands counts for at the first update; a hundredth is dead."""
        self.codebooks, self.decay, self.generator = codebooks.clone(), decay, generator
        self.dead = max(DEAD, prior / 100)
        self.count = torch.full(codebooks.shape[:2], float(prior), device=codebooks.device)
        self.sum = codebooks * (prior + RIDGE * (prior > 0))

    def update(self, z: torch.Tensor, weight: torch.Tensor, codes: torch.Tensor) -> None:
        """z [N, W], weight [N], codes [N, S] of z as the codebooks stand."""
        self.count *= self.decay
        self.sum *= self.decay
        old = self.sum.clone()
        for s, code in enumerate(codes.T):
            self.count[s].index_add_(0, code, weight)
        for _ in range(2):
            left = z - sum_codes(self.codebooks, codes)
            for s, code in enumerate(codes.T):
                own = self.codebooks[s]
                self.sum[s] = old[s].index_add(0, code, weight[:, None] * (left + own[code]))
                new = self.sum[s] / (self.count[s] + RIDGE)[:, None]
                left -= (new - own)[code]
                self.codebooks[s] = new
        for s, code in enumerate(codes.T):
            self._revive(s, code, left, weight)

    def _revive(self, s: int, code: torch.Tensor, left: torch.Tensor, weight: torch.Tensor) -> None:
        dead = torch.nonzero(self.count[s] < self.dead)[:, 0]
        share = (weight * left.square().sum(1)).double().cpu()
        dead = dead[: int((share > 0).sum())]
        if not len(dead):
            return
        chosen = torch.multinomial(share, len(dead), generator=self.generator).to(left.device)
        self.codebooks[s][dead] = self.codebooks[s][code[chosen]] + left[chosen]
        self.count[s][dead] = count = max(1.0, 2 * self.dead)
        self.sum[s][dead] = (count + RIDGE) * self.codebooks[s][dead]


def widths(variance: torch.Tensor, bits: float, whiten: bool) -> list[int]:
    """Numbers of coordinates to try: all [W] that `bits` reach, and those that take at least SHARE bits each.

    A Gaussian long block would use all; but K codes of each are learnt from a few vectors, and short codes have little
    to say of a direction that takes a tenth of a bit. Which weighs more is decided on validation vectors.
    """
    few = max(1, water_fill(variance.cpu().numpy(), bits, SHARE).rank)
    return [len(variance)] if whiten or few == len(variance) else [len(variance), few]


def fit_group(
    z: torch.Tensor, weight: torch.Tensor, variance: torch.Tensor, tries: list[int], **settings
) -> torch.Tensor:
    """Codebooks [S, K, W'] of one group in its first W' coordinates, W' of `tries`; settings: as of ``fit_codebooks``.

    One vector in VALIDATION is kept to choose among what was fitted to the others.
    """
    kept = min(len(z) // VALIDATION, len(z) - settings["codes"])
    test = slice(None, kept or None)
    fitted = []
    for wide in steps(tries, "widths"):
        lost = float((weight[test] * z[test, wide:].square().sum(1)).double().mean())
        books, loss = fit_codebooks(
            z[kept:, :wide], weight[kept:], z[test, :wide], weight[test], variance[:wide], **settings
        )
        fitted.append((loss + lost, books))
    return min(fitted, key=lambda f: f[0])[1]


def fit_codebooks(
    z: torch.Tensor,
    weight: torch.Tensor,
    test: torch.Tensor,
    test_weight: torch.Tensor,
    variance: torch.Tensor,
    *,
    stages: int,
    codes: int,
    beam: int,
    updates: int,
    generator: torch.Generator,
) -> tuple[torch.Tensor, float]:
    """(codebooks [S, K, W], mean weighted squared error on `test`). variance [W]: of the coordinates. updates: of all
    stages together; 0: the codebooks as k-means, stage by stage, has made them.

    Every vector is met with noise of the data's own variances, in a share that goes from 1 to 0 (a smoothed bootstrap,
    Silverman & Young 1987, which keeps the covariance): at 1 the codes see little but the spectrum, which few vectors
    tell well, at 0 only the vectors. The codebooks that code the test vectors best are kept. So a few dozen vectors a
    code are not learnt by heart, and clusters, where there are any, are found.
    """
    beam, deviation = min(beam, BEAM), variance.sqrt()

    def draw(count: int, share: float) -> tuple[torch.Tensor, torch.Tensor]:
        """`count` vectors, all equally often (but one time more or less)."""
        order = [torch.randperm(len(z), generator=generator) for _ in range(-(-count // len(z)))]
        chosen = torch.cat(order)[:count].to(z.device)
        noise = torch.randn((count, z.shape[1]), generator=generator).to(z.device)
        return blurred(z[chosen], noise * deviation, share), weight[chosen]

    def judged(books: torch.Tensor) -> float:
        error = test - sum_codes(books, assign(test, books, beam))
        return float((test_weight * error.square().sum(1)).double().mean())

    first, first_weight = draw(max(len(z), 64 * codes), 1.0)
    left, made = first, []
    for _ in range(stages):
        made.append(kmeans(left, first_weight, codes, LLOYD, generator))
        left = first - sum_codes(found := torch.stack(made), assign(first, found, beam))
    average, count = Average(found, DECAY, generator), min(PER_CODE * codes, max(MOST, 8 * codes))
    best, least = found, judged(found)
    for i in steps(range(updates), "updates"):
        drawn, drawn_weight = draw(count, share_of_noise(i, updates))
        average.update(drawn, drawn_weight, assign(drawn, average.codebooks, beam))
        if (i + 1) % 4 == 0 and (loss := judged(average.codebooks)) < least:
            best, least = average.codebooks.clone(), loss
    return best, least


def share_of_noise(update: int, updates: int) -> float:
    """1 in the first half of the updates, then less and less, 0 in the last."""
    return min(1.0, 2 - 2 * (update + 1) / updates)


def blurred(z: torch.Tensor, noise: torch.Tensor, share: float) -> torch.Tensor:
    """z [N, W] met with noise [N, W] of its own covariance, in a share of 0 to 1; the covariance stays."""
    return (z + share * noise) / (1 + share**2) ** 0.5


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
        raise LemError(f"{count} vectors (not counting zeros) for {codes} codes; fit fewer codes, or to more vectors")
