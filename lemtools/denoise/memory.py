"""Associative recall: the exact softmax over stored patterns.

One sum serves three names: the retrieval of a modern Hopfield network (Ramsauer et al. 2020, eq. 3), attention with
keys = values = memories, and the posterior mean under the empirical prior (the ideal denoiser). For a query q, memories
k_i, element weights w_j >= 0 (0 = lost) and an inverse temperature beta,

    E_i = 1/2 sum_j w_j (q_j - a k_ij)^2,    p_i = softmax(-beta E_i),    mean = sum_i p_i k_i.

Shapes: B queries, D elements, T rows of a tile, C candidates, M samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
import torch

from .contract import AlphaBar, Array, Scale, Some, flat, like, per_item, split, wide
from .how import How, Stored
from .store import Store

CANDIDATES = 16  # nearest memories of a query whose energies are evaluated again, directly, in float64
TAIL = 1e-9  # weight of all other memories below which the candidates are the whole posterior
INDEPENDENT = 16.0  # automatic sigma: observations that the elements of a fragment are worth (see ``recall``)
FLOOR = 1e-12  # squared distances below FLOOR |q|^2 are zero: the query's own rounding to float32


@dataclass
class Recalled:
    """What a query brought back: the posterior over memories and what follows from it.

    mean: [B, ...item]. index, weight: [B, K], the K nearest memories, best first (ties: lowest number), and their
    posterior weights. log_sum: [B], log sum_i exp(-beta E_i). effective: [B], 1 / sum_i p_i^2, the effective number of
    memories. sigma: [B], the noise's standard deviation that was assumed (the smallest, where it differs per element).
    sampled: [B, M], numbers of the memories drawn, or None.
    """

    mean: Array
    index: np.ndarray
    weight: np.ndarray
    log_sum: np.ndarray
    effective: np.ndarray
    sigma: np.ndarray
    sampled: np.ndarray | None


class Squared:
    """Energies by the squared distance. q: [B, D], w: [B or 1, D], a: [B]; float64 on the CPU."""

    amplification = 8.0  # error of an energy in units of (rounding unit) * size

    def __init__(self, q: torch.Tensor, w: torch.Tensor, a: torch.Tensor, shift: torch.Tensor):
        # Removing a point amid the store from both changes no difference, but keeps its digits in the matrix products.
        self.q, self.w, self.a, self.shift = q - a[:, None] * shift, w, a, shift
        self.size = (w * self.q * self.q).sum(1)

    def select(self, rows: torch.Tensor) -> Squared:
        """The same for some of the queries."""
        part = copy(self)
        part.q, part.a, part.size = self.q[rows], self.a[rows], self.size[rows]
        part.w = self.w if len(self.w) == 1 else self.w[rows]
        return part

    def to(self, dtype: torch.dtype, device: torch.device) -> Squared:
        part = copy(self)
        for name in ("q", "w", "a", "size", "shift"):
            setattr(part, name, getattr(self, name).to(device=device, dtype=dtype))
        return part

    def error(self, dtype: torch.dtype) -> torch.Tensor:
        """[B] bound on the rounding error of ``products`` in ``dtype``, for memories about as large as the query."""
        return torch.finfo(dtype).eps * self.amplification * self.size

    def products(self, k: torch.Tensor) -> torch.Tensor:
        """[B, T] energies of shifted memories k [T, D] by matrix products."""
        cross, square = (self.w * self.q) @ k.T, self.w @ (k * k).T
        return (0.5 * self.size[:, None] - self.a[:, None] * cross + 0.5 * self.a[:, None] ** 2 * square).clamp_(min=0)

    def direct(self, k: torch.Tensor) -> torch.Tensor:
        """[C] energies of a single query and shifted memories k [C, D] by the definition."""
        return 0.5 * (self.w * (self.q - self.a * k) ** 2).sum(1)


class Correlation(Squared):
    """Energies after the best offset and gain >= 0 of each memory: 1/2 |q - o - g k|_w^2 = 1/2 |q~|^2 (1 - r^2).

    q~ is the query less its own weighted mean; r, where positive, its Pearson correlation with the memory.
    """

    amplification = 64.0  # variance = mean square - squared mean loses more

    def __init__(self, q: torch.Tensor, w: torch.Tensor, shift: torch.Tensor):
        q = q - ((w * q).sum(1) / w.sum(1).clamp_min(1e-300))[:, None]
        # Of that point only a constant may be removed from the memories: the offset absorbs it.
        super().__init__(q, w, torch.zeros(len(q), dtype=q.dtype), shift.mean())

    def products(self, k: torch.Tensor) -> torch.Tensor:
        cross, sums, square = (self.w * self.q) @ k.T, self.w @ k.T, self.w @ (k * k).T
        variance = square - sums**2 / self.w.sum(1, keepdim=True).clamp_min(1e-30)
        return self._residual(cross, variance, square, 1e-6)

    def direct(self, k: torch.Tensor) -> torch.Tensor:
        centred = k - ((k * self.w).sum(1) / self.w.sum().clamp_min(1e-300))[:, None]
        cross, variance = centred @ (self.w * self.q)[0], (self.w * centred**2).sum(1)
        return self._residual(cross[None], variance, (self.w * k * k).sum(1), 1e-12)[0]

    def _residual(
        self, cross: torch.Tensor, variance: torch.Tensor, square: torch.Tensor, rounding: float
    ) -> torch.Tensor:
        """A memory that is constant where it is compared (no variance beyond rounding) explains nothing."""
        explained = cross.clamp(min=0) ** 2 / torch.where(variance > rounding * square, variance, torch.inf)
        return 0.5 * (self.size[:, None] - explained).clamp_(min=0)


class Values:
    """What memories stand for under a posterior: themselves. width: numbers of an answer, 0: as many as a memory has."""

    width = 0

    def __call__(self, p: torch.Tensor, rows: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """Weights p [..., T] of memories `rows` [T, D], of these numbers [T], summed over what they stand for."""
        return p @ rows


class Classes(Values):
    """Their classes, [N] whole numbers from 0."""

    def __init__(self, classes: np.ndarray, count: int):
        if classes.shape != (count,) or classes.dtype.kind not in "iu" or classes.min() < 0:
            raise ValueError(
                f"classes must be {count} whole numbers from 0, not {list(classes.shape)} of {classes.dtype}"
            )
        self.classes, self.width = torch.from_numpy(classes.astype(np.int64)), int(classes.max()) + 1

    def __call__(self, p: torch.Tensor, rows: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        return p.new_zeros(*p.shape[:-1], self.width).index_add_(-1, self.classes[index].to(p.device), p)


class Memory:
    """The empirical prior as a denoiser, and recall from fragments. Both stream the store in tiles.

    store: [N, ...item] array (numpy, memmap, torch; uint8 stands for v / 255) or a ``Store``. scale: the coordinates of
    ``__call__`` and of ``recall`` (default: the signal's own values; ``Scale.image()`` beside networks on [-1, 1]).

    >>> memory = Memory(np.eye(3, dtype=np.float32))
    >>> memory.recall(np.array([[1.0, 0.0, 0.5]]), mask=np.array([[1, 1, 0]])).index
    array([[0]])
    """

    def __init__(self, store: Array | Store, scale: Scale | None = None, device: str = "cpu", tile: int | None = None):
        self.store = store if isinstance(store, Store) else Store(store, scale, tile, device)
        self.scale = self.store.scale

    def __call__(self, x_t: Some, alpha_bar: AlphaBar) -> Some:
        """E[x_0 | x_t] for x_0 uniform over the memories; x_t: [B, ...item], any float dtype."""
        x = flat(x_t, self.store.dim, "x_t")
        alpha_bar, noise = split(alpha_bar, len(x))
        result = torch.where((noise == 0)[:, None], x, self.store.mean if bool((alpha_bar == 0).any()) else x)
        inner = ((noise > 0) & (alpha_bar > 0)).nonzero()[:, 0]
        if len(inner):
            ones = torch.ones(1, self.store.dim, dtype=torch.float64)
            energy = Squared(x[inner], ones, alpha_bar[inner].sqrt(), self.store.centre)
            result[inner], _, _ = self._posterior(energy, 1.0 / noise[inner], top=0)
        return like(result, x_t)

    def recall(
        self,
        query: Array,
        mask: Array | None = None,
        sigma: float | Array | None = None,
        *,
        centred: bool = False,
        unaware: bool = False,
        top: int = 1,
        samples: int = 0,
        generators: Sequence[np.random.Generator] | None = None,
        classes: np.ndarray | None = None,
    ) -> Recalled:
        """Posterior over the memories given fragments y = x_i + sigma n of them, seen at the observed elements only.

        query: [B, ...item]; what stands at lost elements is ignored. mask: broadcastable to query, 1 = observed.
        sigma: the noise's standard deviation on the observed: one number, [B], or per element (the noise that was
        added; a quantiser's bin width / sqrt 12; of several, the root of the summed squares). None: for each query the
        distance to its nearest memory over sqrt 16, as if what is observed were worth 16 independent elements; an
        exact match then takes all the weight, shared equally by its duplicates. Under strong noise give sigma: the
        automatic one is then far too large, and the mean, unlike ``index``, is of no use.
        centred: an offset and a gain >= 0 are fitted to each memory before the comparison, which makes it the Pearson
        correlation on what is observed: for fragments whose brightness or contrast changed. unaware: the control of
        the literature: lost values count as zeros in a plain squared distance.
        classes: [N] whole numbers from 0, one a memory: `mean` is then the posterior of the classes [B, K], K the largest + 1,
        in place of the posterior mean: the sum of the posterior weights of the memories of each class.
        top: memories to report, 1 to 16. samples: memories to draw for each query, by its own generator.
        Raises ValueError for shapes that do not fit, a mask that is not 0 or 1, sigma <= 0, centred with unaware.
        """
        q = flat(query, self.store.dim, "query")
        if centred and unaware:
            raise ValueError("unaware is the plain squared distance: it cannot be centred")
        if not 1 <= top <= (most := min(CANDIDATES, len(self.store))):
            raise ValueError(f"top must lie in 1..{most} here, not {top}")
        generators = generators or ()
        if samples and len(generators) != len(q):
            raise ValueError(f"samples need one generator for each of the {len(q)} queries")
        observed = per_item(1 if mask is None else mask, len(q), self.store.item, "mask")
        if not bool(((observed == 0) | (observed == 1)).all()):
            raise ValueError("mask must hold 0 (lost) and 1 (observed) only")
        q = torch.where(observed > 0, q, 0.0)
        if not bool(torch.isfinite(q).all()):
            raise ValueError("query has observed values that are not finite")
        w, beta = torch.ones_like(observed[:1]) if unaware else observed, None
        if sigma is not None:
            variance = per_item(sigma, len(q), self.store.item, "sigma") ** 2
            if not bool((variance > 0).all()):
                raise ValueError("sigma must be positive (leave it out for exact fragments)")
            smallest = variance.amin(1, keepdim=True)  # weights stay <= 1, so energies stay finite in float32
            w, beta = w * (smallest / variance), (1.0 / smallest[:, 0]).expand(len(q))
        if len(w) > 1 and bool((w == w[:1]).all()):
            w = w[:1]  # one row for all queries: a vector product for a matrix one
        energy = (
            Correlation(q, w, self.store.centre)
            if centred
            else Squared(q, w, torch.ones(len(q), dtype=q.dtype), self.store.centre)
        )
        uniforms = [g.random(samples) for g in generators] if samples else []
        answer = Values() if classes is None else Classes(classes, len(self.store))
        average, facts, sampled = self._posterior(energy, beta, top, uniforms, answer)
        index, weight, log_sum, effective, assumed = (t.numpy() for t in facts)
        mean = like(average, query, (len(q), *(self.store.item if classes is None else average.shape[1:])))
        return Recalled(mean, index, weight, log_sum, effective, assumed, sampled.numpy() if samples else None)

    def _posterior(
        self,
        energy: Squared,
        asked: torch.Tensor | None,
        top: int,
        uniforms: Sequence[np.ndarray] = (),
        answer: Values | None = None,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], torch.Tensor]:
        """Of each query: the posterior mean; index, weight, log_sum, effective and sigma; what is drawn by `uniforms`.

        asked: beta; None is the automatic temperature of ``recall``. answer: what memories stand for.

        First the nearest memories by float32 products, their energies again in float64. Where all others together
        weigh less than TAIL that is the answer; else the whole store is summed in float64.
        """
        count = len(energy.q)
        beta = torch.zeros(count, dtype=torch.float64) if asked is None else asked.clone()
        answer = answer or Values()
        mean = energy.q.new_zeros(count, answer.width or self.store.dim)
        index, nearest = torch.zeros(count, top, dtype=torch.int64), torch.zeros(count, top, dtype=torch.float64)
        log_sum, effective = torch.zeros(count, dtype=torch.float64), torch.ones(count, dtype=torch.float64)
        sampled = torch.zeros(count, len(uniforms[0]) if uniforms else 0, dtype=torch.int64)
        whole = torch.zeros(count, dtype=torch.bool)
        error = energy.error(torch.float32)
        for b, candidates in enumerate(self._search(energy)):
            rows = self.store.rows(candidates).reshape(len(candidates), -1)
            e = energy.select(torch.tensor([b])).direct(rows - energy.shift)
            order = torch.argsort(e, stable=True)[:top]  # candidates come in the order of their numbers
            index[b], nearest[b] = candidates[order], e[order]
            if asked is None:
                squared = torch.maximum(2 * e.min(), FLOOR * energy.size[b]).clamp_min(1e-300)
                beta[b] = INDEPENDENT / squared
            others = len(self.store) - len(candidates)
            if others and np.log(others) - beta[b] * (e.max() - 2 * error[b] - e.min()) > np.log(TAIL):
                whole[b] = True
                continue
            log_sum[b] = torch.logsumexp(-beta[b] * e, 0)
            p = torch.exp(-beta[b] * e - log_sum[b])
            mean[b], effective[b] = answer(p, rows, candidates), 1.0 / (p * p).sum()
            if uniforms:
                drawn = torch.searchsorted(p.cumsum(0), torch.from_numpy(uniforms[b]), right=True)
                sampled[b] = candidates[drawn.clamp(max=len(p) - 1)]
        if bool(whole.any()):
            rows = whole.nonzero()[:, 0]
            part = energy.select(rows)
            mean[rows], log_sum[rows], effective[rows] = self._attend(part, beta[rows], answer)
            if uniforms:
                u = torch.from_numpy(np.stack([uniforms[b] for b in rows.tolist()]))
                sampled[rows] = self._draw(part, beta[rows], log_sum[rows], u)
        weight = torch.exp(-beta[:, None] * nearest - log_sum[:, None])
        return mean, (index, weight, log_sum, effective, beta**-0.5), sampled

    def _search(self, energy: Squared) -> torch.Tensor:
        """[B, C] numbers of the nearest memories, in increasing order."""
        fast = energy.to(torch.float32, self.store.device)
        best, index = (torch.empty(len(fast.q), 0, dtype=t, device=fast.q.device) for t in (torch.float32, torch.int64))
        for start, tile in self.store.tiles():
            e = fast.products(tile - fast.shift)
            e, i = e.topk(min(CANDIDATES, e.shape[1]), largest=False)
            e, i = torch.cat((best, e), 1), torch.cat((index, i + start), 1)
            best, order = e.topk(min(CANDIDATES, e.shape[1]), largest=False)
            index = i.gather(1, order)
        return index.sort(1).values.cpu()

    def _logits(self, energy: Squared, beta: torch.Tensor) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        """(first row, shifted tile [T, D], -beta E [B, T]) over the store, in float64 on the device."""
        dtype = wide(self.store.device)
        exact, beta = energy.to(dtype, self.store.device), beta.to(device=self.store.device, dtype=dtype)
        for start, tile in self.store.tiles(dtype):
            tile = tile - exact.shift
            yield start, tile, -beta[:, None] * exact.products(tile)

    def _attend(
        self, energy: Squared, beta: torch.Tensor, answer: Values
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Softmax over the whole store in one pass (Milakov & Gimelshein 2018): mean answer, log sum, effective [B]."""
        size = len(energy.q), answer.width or self.store.dim
        mean = torch.zeros(size, dtype=wide(self.store.device), device=self.store.device)
        high = torch.full_like(mean[:, :1], -torch.inf)
        total, square = torch.zeros_like(high), torch.zeros_like(high)
        for start, tile, logits in self._logits(energy, beta):
            peak = logits.amax(1, keepdim=True)
            if bool((peak < high - 60).all()):  # e^-60 of what is there already
                continue
            higher = torch.maximum(high, peak)
            decay, p = torch.exp(high - higher), torch.exp(logits - higher)
            total = total * decay + p.sum(1, keepdim=True)
            square = square * decay**2 + (p * p).sum(1, keepdim=True)
            mean = mean * decay + answer(p, tile, torch.arange(start, start + len(tile)))
            high = higher
        mean, log_sum, effective = mean / total, high + total.log(), total**2 / square
        shift = 0.0 if answer.width else energy.shift
        return mean.cpu().double() + shift, log_sum[:, 0].cpu().double(), effective[:, 0].cpu().double()

    def _draw(self, energy: Squared, beta: torch.Tensor, log_sum: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        """[B, M] memories by inversion of the cumulative posterior, streamed; u: [B, M] uniform in [0, 1)."""
        drawn = torch.full(u.shape, -1)
        before = torch.zeros(len(u), 1, dtype=torch.float64)
        for start, _, logits in self._logits(energy, beta):
            cumulative = before + torch.exp(logits.cpu().double() - log_sum[:, None]).cumsum(1)
            position = torch.searchsorted(cumulative, u, right=True)
            inside = (drawn < 0) & (position < cumulative.shape[1])
            drawn = torch.where(inside, start + position, drawn)
            before = cumulative[:, -1:]
        return torch.where(drawn < 0, len(self.store) - 1, drawn)  # u beyond the sum by its rounding


def remembered(memories: Store | Stored, how: How) -> Memory:
    """The memories themselves, each as likely."""
    return Memory(memories if isinstance(memories, Store) else memories.store)
