"""Learning the codebooks of a residual quantiser: k-means stage by stage, then all stages together under beam search.

Few vectors a code make codes that know them by heart. So: the codes of a stage are learnt from what *several* good paths
of every vector leave (as faiss does); every code is drawn towards 0 in every direction by what chance alone would make
of it (``shrunk``), to 0 where it says nothing; and vectors are met with noise at first. What is best for vectors kept
back is taken, then refitted to all.

Shapes: N vectors, W coordinates of a group, S stages, K codes; z the coordinates that a recall should meet, weight [N]
of its squared error (see ``Frame.targets``), codes int64 [N, S], codebooks [S, K, W].
"""

from __future__ import annotations

import torch

from ..progress import steps
from .kmeans import kmeans
from .search import beam_search, distance_tables, sum_codes

LLOYD = 10  # rounds of k-means of a stage
UPDATES = 12  # of all stages together, with less and less noise
REFIT = 2  # updates with all vectors in the end
DECAY = 0.7  # of the sums of an update, where it is met with noise or does not see all vectors
NOISE = 0.5  # standard deviation of the noise to begin with, over the vectors' own;
STRONG = 1.5  # of vectors that are coded like Gaussian ones of the same variances:
ALIKE = 1.05  # with an error of no less than theirs over this
PER_CODE = 64  # vectors an update, for each code of a stage,
MOST = 8192  # or so many
PATHS = 16  # of every vector, whose rests a stage is learnt from,
RESTS = 256  # but no more rests than these a code,
SPACE = 1 << 25  # or than fill so many numbers
BEAM = 8  # at most, when fitting
DEAD = 0.5  # vectors; a code with fewer is given to a vector that is coded badly
VALIDATION, MOST_KEPT = 10, 4096  # one vector in so many is kept back, at most so many
BLOCK = {"cpu": 256}  # vectors searched at a time
ELSEWHERE = 1024


def assign(z: torch.Tensor, codebooks: torch.Tensor, beam: int) -> torch.Tensor:
    """Codes int64 [N, S] by beam search."""
    tables = distance_tables(codebooks)
    return torch.cat([beam_search(part, codebooks, tables, beam)[0][:, 0] for part in _blocks(z)])


def _blocks(z: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return z.split(BLOCK.get(z.device.type, ELSEWHERE))


def shrunk(total: torch.Tensor, count: torch.Tensor, square: torch.Tensor, most: float) -> torch.Tensor:
    """Codes [K, W] of a stage, from sums of what they stand for: of the vectors total [K, W], of their weights count
    [K], of all their squares square [W]. most: how many different vectors there are, at most.

    Empirical Bayes (Efron & Morris 1973) in each direction: of the variance of the means of the codes a part is chance,
    that within the codes over the vectors of a code. What is left, B, is what codes have to say; a mean of n vectors
    with the variance V is drawn to 0 as by V / B vectors at 0. Where nothing is left, all codes are 0.
    """
    n = count.sum().clamp_min(1e-30)
    alone = min(1.0, most / float(n))  # the share of the sums that comes from vectors seen for the first time
    used = (count > 0).sum()
    means = torch.where(count[:, None] > 0, total.square() / count.clamp_min(1e-30)[:, None], 0)
    between = means.sum(0) / n
    within = (square / n - between).clamp_min(0) * (n * alone / (n * alone - used).clamp_min(1))
    left = (between - within * used / (n * alone)).clamp_min(0)
    ridge = within / alone / left.clamp_min(1e-30)
    return torch.where(left > 0, total / (count[:, None] + ridge).clamp_min(1e-30), 0)


class Average:
    """Codebooks [S, K, W] that follow what is coded with them: decaying sums, stage by stage (van den Oord et al. 2017,
    appendix A.1), each stage on what the others, as they stand after their own update, leave; see ``shrunk``."""

    def __init__(
        self,
        codebooks: torch.Tensor,
        decay: float,
        generator: torch.Generator,
        prior: float = 0.0,
        most: float = float("inf"),
    ):
        """prior: vectors that every code as it stands counts for at the first update; a hundredth is dead. most: how
        many different vectors there are."""
        self.codebooks, self.decay, self.generator, self.most = codebooks.clone(), decay, generator, most
        self.dead, self.prior = max(DEAD, prior / 100), prior
        self.count = torch.full(codebooks.shape[:2], float(prior), device=codebooks.device)
        self.sum = codebooks * prior
        self.square = torch.zeros_like(codebooks[:, 0])

    def update(self, z: torch.Tensor, weight: torch.Tensor, codes: torch.Tensor) -> None:
        """z [N, W], weight [N], codes [N, S] of z as the codebooks stand."""
        left = z - sum_codes(self.codebooks, codes)
        if self.prior:  # the codes were not alone: they left as much as they leave now
            own = (weight[:, None] * left.square()).sum(0) / weight.sum().clamp_min(1e-30)
            self.square = (self.count[:, :, None] * (self.codebooks.square() + own)).sum(1)
            self.prior = 0.0
        for kept in (self.count, self.sum, self.square):
            kept *= self.decay
        old, old_square = self.sum.clone(), self.square.clone()
        for s, code in enumerate(codes.T):
            self.count[s].index_add_(0, code, weight)
        for _ in range(2):
            for s, code in enumerate(codes.T):
                own = self.codebooks[s]
                target = left + own[code]
                weighted = weight[:, None] * target
                self.sum[s] = old[s].index_add(0, code, weighted)
                self.square[s] = old_square[s] + (weighted * target).sum(0)
                new = shrunk(self.sum[s], self.count[s], self.square[s], self.most)
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
        gone = self.sum[s][dead].square() / self.count[s][dead].clamp_min(1e-30)[:, None]
        self.square[s] = (self.square[s] - gone.where(self.count[s][dead, None] > 0, 0).sum(0)).clamp_min(0)
        self.codebooks[s][dead] = self.codebooks[s][code[chosen]] + left[chosen]
        self.count[s][dead] = count = max(1.0, 2 * self.dead)
        self.sum[s][dead] = count * self.codebooks[s][dead]
        self.square[s] += count * self.codebooks[s][dead].square().sum(0)


class Learner:
    """One group's codebooks. z [N, W], weight [N]; variance [W]: of the coordinates."""

    def __init__(
        self,
        z: torch.Tensor,
        weight: torch.Tensor,
        variance: torch.Tensor,
        *,
        stages: int,
        codes: int,
        beam: int,
        updates: int,
        generator: torch.Generator,
    ):
        self.z, self.weight, self.deviation = z, weight, variance.sqrt()
        self.stages, self.codes, self.beam, self.updates = stages, codes, min(beam, BEAM), updates
        self.generator = generator
        self.kept = max(0, min(len(z) // VALIDATION, MOST_KEPT, len(z) - codes))

    def learn(self) -> torch.Tensor:
        """Codebooks [S, K, W]. updates: of all stages together; 0: as they are after k-means, stage by stage.

        Of k-means alone, of the stages by several paths, and of what updates make of these the one that codes the
        vectors kept back best is taken, and refitted to all vectors.
        """
        if len(self.z) < 2 * self.codes:  # nothing tells chance from what they have in common
            return self.spared(self.one_by_one(0, 1))
        plain = self.one_by_one(self.kept, 1)
        start = self.one_by_one(self.kept, PATHS)
        found = [(self.judged(plain), plain, 0.0), (self.judged(start), start, 0.0), *self.together(start)]
        _, best, share = min(found, key=lambda f: f[0])
        if best is plain:
            return self.spared(self.one_by_one(0, 1))
        average = Average(best, DECAY if share else 0.0, self.generator)
        for _ in range(REFIT if self.kept else 0):
            drawn = self.noisy(self.z, share)
            average.update(drawn, self.weight, assign(drawn, average.codebooks, self.beam))
        return self.spared(average.codebooks)

    def spared(self, books: torch.Tensor) -> torch.Tensor:
        """The codebooks with a code that few vectors need as the last of the path of all codes 0, which is the zero
        vector's."""
        codes = assign(self.z[:MOST_KEPT], books, self.beam)
        there = torch.bincount(codes[(codes[:, :-1] == 0).all(1), -1], minlength=self.codes)
        books[-1, [0, int(there.argmin())]] = books[-1, [int(there.argmin()), 0]]
        return books

    def judged(self, books: torch.Tensor) -> float:
        """Mean weighted squared error of the vectors kept back; of all, where none is."""
        part = slice(None, self.kept or None)
        return loss(self.z[part], self.weight[part], books, self.beam)

    def noisy(self, z: torch.Tensor, share: float) -> torch.Tensor:
        if not share:
            return z
        return blurred(z, torch.randn(z.shape, generator=self.generator).to(z.device) * self.deviation, share)

    def one_by_one(self, kept: int, paths: int) -> torch.Tensor:
        """Codebooks by k-means, each of what those before leave: of the best path of each vector (paths 1: residual
        k-means), or of several, and with every code drawn towards 0."""
        most = max(self.codes, min(RESTS * self.codes, SPACE // self.z.shape[1]))
        z, weight = self.z[kept : kept + most], self.weight[kept : kept + most]
        several = paths > 1 and most // len(z) > 1
        paths = max(1, min(paths, most // len(z)))
        left, left_weight, made = z, weight, []
        for s in range(self.stages):
            made.append(kmeans(left, left_weight, self.codes, LLOYD, self.generator))
            books = torch.stack(made)
            if several:
                average = Average(books, 0.0, self.generator)
                average.update(z, weight, assign(z, books, self.beam))
                books, made = average.codebooks, list(average.codebooks)
            if s < self.stages - 1:
                left, left_weight = self._rests(z, weight, books, paths)
        return torch.stack(made)

    def _rests(
        self, z: torch.Tensor, weight: torch.Tensor, books: torch.Tensor, paths: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the best paths of each vector leave [N paths, W], with the vectors' weights."""
        tables = distance_tables(books)
        found = [-beam_search(part, books, tables, paths, paths)[1] for part in _blocks(z)]
        return torch.cat([f.flatten(0, 1) for f in found]), weight.repeat_interleave(found[0].shape[1])

    def together(self, books: torch.Tensor) -> list[tuple[float, torch.Tensor, float]]:
        """(loss, codebooks, share of noise) now and then along the updates of all stages, with noise of the data's own
        variances that goes to 0 (a smoothed bootstrap, Silverman & Young 1987, which keeps the covariance)."""
        if not self.updates:
            return []
        z, weight = self.z[self.kept :], self.weight[self.kept :]
        count = min(len(z), max(PER_CODE * self.codes, MOST))
        average = Average(books, DECAY, self.generator, most=len(z))
        part = slice(None, self.kept or MOST_KEPT)
        losses = gaussian_and_own(self.z[part], self.weight[part], self.deviation, books, self.beam, self.generator)
        strength, found = strength_of_noise(*losses), []
        for i in steps(range(self.updates), "updates"):
            drawn, drawn_weight = z, weight
            if count < len(z):
                chosen = torch.randperm(len(z), generator=self.generator)[:count].to(z.device)
                drawn, drawn_weight = z[chosen], weight[chosen]
            share = share_of_noise(i, self.updates, strength)
            drawn = self.noisy(drawn, share)
            average.update(drawn, drawn_weight, assign(drawn, average.codebooks, self.beam))
            if (i + 1) % 3 == 0 or i == self.updates - 1:
                found.append((self.judged(average.codebooks), average.codebooks.clone(), share))
        return found


def loss(z: torch.Tensor, weight: torch.Tensor, books: torch.Tensor, beam: int) -> float:
    """Mean weighted squared error of z [N, W]."""
    return float((weight * (z - sum_codes(books, assign(z, books, beam))).square().sum(1)).double().mean())


def gaussian_and_own(
    z: torch.Tensor,
    weight: torch.Tensor,
    deviation: torch.Tensor,
    books: torch.Tensor,
    beam: int,
    generator: torch.Generator,
) -> tuple[float, float]:
    """The losses of as many Gaussian vectors of the deviations [W], and of z."""
    gaussian = torch.randn(z.shape, generator=generator).to(z.device) * deviation
    return loss(gaussian, weight, books, beam), loss(z, weight, books, beam)


def strength_of_noise(gaussian: float, own: float) -> float:
    """Of the noise to begin with, by the losses of Gaussian vectors and of one's own: those that have nothing but their
    variances are best learnt from these."""
    return STRONG if gaussian <= ALIKE * own else NOISE


def share_of_noise(update: int, updates: int, strength: float = NOISE) -> float:
    """From `strength` at the first update to 0 at the last."""
    return strength * (1 - (update + 1) / updates)


def blurred(z: torch.Tensor, noise: torch.Tensor, share: float) -> torch.Tensor:
    """z [N, W] met with noise [N, W] of its own covariance, in a share; the covariance stays."""
    return (z + share * noise) / (1 + share**2) ** 0.5


def used(books: torch.Tensor) -> torch.Tensor:
    """Numbers of the coordinates in which any code is not 0; the first, if none is."""
    found = torch.nonzero((books != 0).flatten(0, 1).any(0))[:, 0]
    return found if len(found) else torch.zeros(1, dtype=torch.int64, device=books.device)
