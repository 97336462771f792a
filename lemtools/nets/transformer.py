"""A causal transformer over the elements of a memory, in any order or in raster order: recall as continuation.

A *place* is a pixel of an image, with its channels, or one dimension of an embedding; a *fact* is a place with what is
known of it. The network reads facts, one a token, and predicts the place that comes next, whose position comes
with the token before (two positions a token: sigma-GPT, Pannatier, Courdier & Fleuret 2024):

    any      the fragment's facts first, then the places not known exactly, one after another in any order
    raster   the places in raster order and no facts beforehand: what lies below a gap cannot be seen. The control

In both, the step that predicts a place also has what the fragment says of that place (its bin). Attention is causal
everywhere, over the fragment's facts too: it then needs no mask but the flag for which fast kernels exist, a cache
serves prefix and steps alike, and every step sees the whole fragment at each of its layers all the same. A query is
rotated by the predicted place and a key by its fact's: attention knows how far a fact lies from what it predicts.

Shapes: N items, P places, C channels, T tokens, S steps (predicted places), W width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from .condition import Condition
from .mixture import Grid, Mixture

ROUND = 32  # lengths of sequences are rounded up to multiples of this at least, and of an eighth of the places
WAVES = 4  # sines and cosines of a value by which it enters, beside itself: wavelengths 4, 2, 4/3, 1 in coordinates

# cuDNN's attention is planned anew for every shape, and shapes change with every batch: on an H100 a step took 77 ms with
# it and 54 without
KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


@dataclass
class Known:
    """What a fragment says place by place. features [N, P, (3 + 2 WAVES) C + 1]: see `describe`. value [N, P, C] in
    coordinates; low, high [N, P, C] in the mixture's units; free [N, P, C]: not known exactly; prefix, steps [N, P]:
    facts beforehand; predicted."""

    features: torch.Tensor
    value: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    free: torch.Tensor
    prefix: torch.Tensor
    steps: torch.Tensor


@dataclass
class Ordering:
    """Order of the sequences. places [N, 2 P]: the prefix's, then from P on the steps'. before, count [N]: how many."""

    places: torch.Tensor
    before: torch.Tensor
    count: torch.Tensor


class Cache:
    """Keys and values [N, heads, slots, F] of the tokens so far, in a room for all that will come."""

    def __init__(self, slots: int):
        self.slots, self.used = slots, 0
        self.keys: Any = None  # (tensors, once there are any)
        self.values: Any = None

    def put(self, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Append those of new tokens; returns all."""
        if self.keys is None:
            self.keys, self.values = (t.new_empty(*t.shape[:2], self.slots, t.shape[3]) for t in (k, v))
        new = slice(self.used, self.used + k.shape[2])
        self.keys[:, :, new], self.values[:, :, new], self.used = k, v, new.stop
        return self.keys[:, :, : self.used], self.values[:, :, : self.used]

    def places(self, count: int) -> slice | torch.Tensor:
        """Where the next `count` tokens stand. ValueError where there is no room for them."""
        if self.used + count > self.slots:
            raise ValueError(f"{self.used + count} positions; this network was made for {self.slots}")
        return slice(self.used, self.used + count)

    def mask(self, count: int, device: torch.device) -> torch.Tensor | None:
        """Which of all slots each of the next `count` tokens sees, bool [count, slots]; None: those before it, by causality or
        because it is the only one."""
        if count == 1 or not self.used:
            return None
        return torch.ones(count, self.used + count, dtype=torch.bool, device=device).tril(self.used)

    def take(self, rows: torch.Tensor) -> None:
        """Go on with these rows [M], any of them as often as wanted."""
        for name in ("keys", "values") if self.used else ():
            held = getattr(self, name)
            room = held.new_empty(len(rows), *held.shape[1:])
            room[:, :, : self.used] = held[:, :, : self.used][rows]
            setattr(self, name, room)


class PlacedBlock(nn.Module):
    """Attention and MLP, both after an RMSNorm; a query stands at the predicted place, a key at its fact's place."""

    def __init__(self, width: int, heads: int, depth: int):
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        with torch.no_grad():  # GPT-2: the sum of 2 depth branches keeps its size
            self.out.weight *= (2 * depth) ** -0.5
            self.down.weight *= (2 * depth) ** -0.5

    def forward(
        self,
        x: torch.Tensor,
        query_at: tuple,
        key_at: tuple,
        cache: Cache | None = None,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """x [N, T, W]; query_at, key_at: rotations. Causal among x, or as `mask` says over what is in the cache."""
        q, k, v = self.qkv(self.norm_1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = rotate(q, query_at).to(v.dtype), rotate(k, key_at).to(v.dtype)
        if cache is not None:
            k, v = cache.put(k, v)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm_2(x))))


def wide(x: torch.Tensor) -> torch.Tensor:
    """In float32, where products are in bfloat16; in float64 where the network is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def rotate(x: torch.Tensor, angle: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Rotary embedding (Su et al. 2021): pairs of features of x [N, heads, T, 2 F] turned by cos, sin [N, 1, T, F]."""
    a, b = x.chunk(2, -1)
    cos, sin = angle
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


class Transformer(nn.Module):
    """item: [C, H, W] of images, any shape of embeddings. order: 'any' or 'raster'.

    levels: equal steps of a discretised value over [-1, 1], 0 for a density; by default 256 for images and 0 for
    embeddings. mixtures: components of the distribution of a value. Positions enter as learned vectors per axis (of the
    fact and of the predicted place) and as rotations of keys and queries.
    """

    family = "sequence"

    def __init__(
        self,
        item: Sequence[int],
        kind: str = "image",
        width: int = 128,
        depth: int = 5,
        heads: int = 4,
        mixtures: int = 10,
        levels: int | None = None,
        order: str = "any",
    ):
        super().__init__()
        if kind not in ("image", "embedding"):
            raise ValueError(f"a transformer recalls images and embeddings, not kind {kind!r}")
        if order not in ("any", "raster"):
            raise ValueError(f"order must be 'any' or 'raster', not {order!r}")
        levels = (256 if kind == "image" else 0) if levels is None else levels
        if levels < 0 or levels == 1:
            raise ValueError(f"levels must be 0 (continuous) or 2 and more, not {levels}")
        self.item, self.order = tuple(item), order
        self.channels, self.axes = (item[0], tuple(item[1:])) if kind == "image" else (1, tuple(item))
        self.places, self.grid = math.prod(self.axes), Grid(levels)
        half = width // heads // 2
        if width % (2 * heads) or half < len(self.axes):
            raise ValueError(f"width {width} must be a multiple of 2 x {heads} heads, with a pair for every axis")
        facts = (3 + 2 * WAVES) * self.channels + 1
        self.fact, self.ask = nn.Linear(facts, width), nn.Linear(facts, width)
        self.start = nn.Parameter(0.3 * torch.randn(width))
        tables = (nn.ParameterList(0.3 * torch.randn(n, width) for n in self.axes) for _ in range(2))
        self.fact_at, self.ask_at = tables
        self.blocks = nn.ModuleList(PlacedBlock(width, heads, depth) for _ in range(depth))
        self.norm = nn.RMSNorm(width)
        answer = nn.Linear(width, Mixture.count(self.channels, mixtures))
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), answer)
        with torch.no_grad():  # components begin spread over the range, each about as wide as their distance
            k, c = mixtures, self.channels
            nn.init.normal_(answer.weight, std=0.02)
            answer.bias.zero_()
            answer.bias[k : k + k * c] = torch.linspace(-1, 1, k).repeat(c)
            answer.bias[k + k * c : k + 2 * k * c] = -math.log(max(k, 2) / 2)
        grid = torch.cartesian_prod(*map(torch.arange, self.axes)).reshape(self.places, -1)
        self.register_buffer("coordinates", grid, persistent=False)  # [P, axes]
        angles, first = [], 0
        for axis, n in enumerate(self.axes):  # wavelengths from 2 pi places to 2 pi sides, pairs shared among the axes
            pairs = half * (axis + 1) // len(self.axes) - first
            angles.append(grid[:, axis, None] * torch.logspace(0, -math.log10(max(n, 2)), pairs)[None])
            first += pairs
        turns = torch.cat(angles, 1)
        self.register_buffer("cos", turns.cos(), persistent=False)  # [P, pairs]
        self.register_buffer("sin", turns.sin(), persistent=False)

    # what is asked of it

    def forward(self, target: torch.Tensor, condition: Condition, order: torch.Tensor | None = None) -> torch.Tensor:
        """`log_prob`, as the call that DDP and torch.compile wrap."""
        return self.log_probs(target, condition, order).sum(1)

    def log_prob(self, target: torch.Tensor, condition: Condition, order: torch.Tensor | None = None) -> torch.Tensor:
        """log p of what is not known exactly given the fragment, in nats [N]; a density where levels = 0.

        target [N, *item], condition: in coordinates. order [N, P]: permutations of the places; None is raster order,
        for a network of raster order only. Discretised targets are taken to the nearest level in their interval.
        """
        return self(target, condition, order)

    def log_probs(self, target: torch.Tensor, condition: Condition, order: torch.Tensor | None = None) -> torch.Tensor:
        """The terms of `log_prob` by place: [N, P], 0 where a place is known exactly."""
        known = self._known(condition)
        ordering = self._ordering(known, order)
        units = self.grid.snap(self._by_place(target))
        units = torch.maximum(torch.minimum(units, known.high), known.low)
        values = torch.where(known.free, units / self.grid.unit, known.value)
        # items of one length run together, so that what an item costs depends on it alone, not on its batch
        lengths = self.lengths(ordering.before + ordering.count)
        out = torch.zeros_like(units[..., 0])
        for tokens in lengths.unique().tolist():
            rows = (lengths == tokens).nonzero()[:, 0]
            here, now = some(known, rows), some(ordering, rows)
            index = torch.arange(tokens, device=rows.device).expand(len(rows), tokens)
            hidden = self._run(here, now, values[rows], index)
            item, step = (index[:, : self.places] < now.count[:, None]).nonzero(as_tuple=True)
            place = now.places[item, self.places + step]
            mixture = self._mixture(hidden[item, now.before[item] + step])
            asked = (t[item, place] for t in (units[rows], here.low, here.high))
            out = out.index_put((rows[item], place), mixture.log_prob(*asked).sum(-1))
        return out

    @torch.no_grad()
    def sample(
        self,
        condition: Condition,
        order: torch.Tensor | None,
        generators: Sequence[np.random.Generator],
        temperature: float = 1.0,
    ) -> torch.Tensor:
        """Whole memories [N, *item] drawn given the fragment, one place a step; exact values and bins hold exactly.

        order: as in `log_prob`. generators: one per item; each gives [P, C, 2] uniforms at once, by place, so that
        neither the batch nor the order changes them. temperature: see ``Mixture.sample``.
        """
        known = self._known(condition)
        ordering = self._ordering(known, order)
        draws = np.stack([g.random((self.places, self.channels, 2), np.float32) for g in generators])
        values, uniforms = known.value.clone(), torch.from_numpy(draws).to(known.value.device)
        before, steps = torch.stack([ordering.before, ordering.count]).amax(1).tolist()
        # a token of the prefix has its number as slot, that of step j > 0 has slot before + j in every item; the slots
        # between an item's own prefix and the longest one are never looked at
        slot = torch.arange(before + steps, device=values.device)
        visible = ((slot <= ordering.before[:, None]) | (slot > before))[:, None, None]
        cache, mask = [Cache(len(slot)) for _ in self.blocks], None
        for step in range(steps):
            if step == 0:
                index = slot[: before + 1].expand(len(values), before + 1)
                hidden = take(self._run(known, ordering, values, index, cache), ordering.before[:, None])
            else:
                mask = visible[..., : before + step + 1]
                hidden = self._run(known, ordering, values, ordering.before[:, None] + step, cache, mask)
            place = ordering.places[:, self.places + step, None]
            low, high, free, u, old = (take(t, place) for t in (known.low, known.high, known.free, uniforms, values))
            drawn = self._mixture(hidden).sample(low, high, u, temperature) / self.grid.unit
            new = torch.where(free & (step < ordering.count)[:, None, None], drawn, old)
            values.scatter_(1, place[..., None].expand_as(new), new)
        return condition.hold(self._by_item(values))

    def orders(self, generators: Sequence[np.random.Generator]) -> torch.Tensor:
        """One order per generator, [N, P] int64 on the CPU: a random permutation, or raster order."""
        rows = [g.permutation(self.places) if self.order == "any" else np.arange(self.places) for g in generators]
        return torch.from_numpy(np.stack(rows))

    def unknown(self, condition: Condition) -> torch.Tensor:
        """How many elements of each item are not known exactly: int64 [N]."""
        return self._known(condition).free.sum((1, 2))

    def tokens(self, condition: Condition) -> torch.Tensor:
        """How many tokens each item costs, without padding: int64 [N]."""
        known = self._known(condition)
        return known.prefix.sum(1) + known.steps.sum(1)

    def lengths(self, tokens: torch.Tensor) -> torch.Tensor:
        """Lengths at which sequences of so many tokens are run, padding included: one of a few (nine, at most)."""
        unit = max(ROUND, -(-self.places // 8))
        return (tokens.clamp(min=1).div(unit).ceil().long() * unit).clamp(max=2 * self.places)

    # how it is done

    def _by_place(self, x: torch.Tensor) -> torch.Tensor:
        """[N, *item] to [N, P, C]."""
        return x.reshape(len(x), self.channels, self.places).transpose(1, 2)

    def _by_item(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(1, 2).reshape(len(x), *self.item)

    def _known(self, condition: Condition) -> Known:
        noisy = (condition.sigma > 0)[:, None, None]
        observed = self._by_place(condition.observed)
        fields = (condition.value, condition.known, condition.low, condition.high)
        value, known, low, high = (self._by_place(t) for t in fields)
        # behind noise an interval holds the noisy value, not the memory's
        low, high = self.grid.interval(low.masked_fill(noisy, -torch.inf), high.masked_fill(noisy, torch.inf))
        sigma = condition.sigma[:, None, None].expand(-1, self.places, 1)
        features = describe(value, known, observed.to(value), sigma)
        free = low != high
        prefix, steps = observed.any(-1), free.any(-1)
        if self.order == "raster":
            prefix, steps = torch.zeros_like(prefix), torch.ones_like(steps)
        return Known(features, value, low, high, free, prefix, steps)

    def _ordering(self, known: Known, order: torch.Tensor | None) -> Ordering:
        n = len(known.value)
        if order is None:
            if self.order == "any":
                raise ValueError("a transformer of any order takes an order: [N, places] permutations")
            order = torch.arange(self.places, device=known.value.device).expand(n, -1)
        if tuple(order.shape) != (n, self.places):
            shape = tuple(order.shape)
            raise ValueError(f"order has shape {shape}: expected {(n, self.places)}, a permutation an item")
        order = order.to(known.value.device)
        parts = (known.prefix, known.steps)
        last = [(~part).gather(1, order).byte() for part in parts]
        places = [order.gather(1, t.argsort(dim=1, stable=True)) for t in last]
        return Ordering(torch.cat(places, 1), *(part.sum(1) for part in parts))

    def _run(
        self,
        known: Known,
        ordering: Ordering,
        values: torch.Tensor,
        index: torch.Tensor,
        cache: list | None = None,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Hidden states [N, T, W] of the tokens of numbers `index` [N, T]; values [N, P, C]: facts that steps leave.

        Token 0 starts; token t > 0 holds fact t - 1, prefix first; token before + j predicts the place of step j.
        """
        before, p = ordering.before[:, None], self.places
        done, step = index > before, index - before
        fact = ordering.places.gather(1, torch.where(done, p + step - 1, index - 1).clamp(0, 2 * p - 1))
        ask = ordering.places.gather(1, p + step.clamp(0, p - 1))
        holds, predicts = index > 0, (step >= 0) & (step < ordering.count[:, None])
        value, one = take(values, fact), torch.ones_like(values[:, :1]).expand(-1, fact.shape[1], -1)
        sure = describe(value, one, one, torch.zeros_like(value[..., :1]))
        facts = torch.where(done[..., None], sure, take(known.features, fact))
        facts = torch.where(holds[..., None], self.fact(facts) + self._at(self.fact_at, fact), self.start)
        next_place = self.ask(take(known.features, ask)) + self._at(self.ask_at, ask)
        x = facts + next_place * predicts[..., None]
        fact = fact * holds
        stands = (torch.where(predicts, ask, fact), fact)
        query_at, key_at = ((self.cos[at][:, None], self.sin[at][:, None]) for at in stands)
        with sdpa_kernel(KERNELS):
            for block, room in zip(self.blocks, cache or [None] * len(self.blocks)):
                x = block(x, query_at, key_at, room, mask)
        return self.norm(x)

    def _at(self, tables: nn.ParameterList, place: torch.Tensor) -> torch.Tensor:
        """Position vectors [N, T, W]: the sum of one row of each axis' table."""
        return sum(F.embedding(self.coordinates[..., axis][place], table) for axis, table in enumerate(tables))

    def _mixture(self, hidden: torch.Tensor) -> Mixture:
        with torch.autocast(hidden.device.type, enabled=False):
            return Mixture(self.head(hidden.float()), self.channels, self.grid)


def describe(value: torch.Tensor, known: torch.Tensor, observed: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Features of facts: three [..., C] and one [..., 1] to [..., (3 + 2 WAVES) C + 1]. Waves part near values."""
    angle = (value[..., None] * (math.pi / 2 * torch.arange(1, WAVES + 1, device=value.device))).flatten(-2)
    seen = observed.repeat_interleave(WAVES, -1)
    return torch.cat([value, known, observed, angle.sin() * seen, angle.cos() * seen, sigma], -1)


def some(x: Known | Ordering, rows: torch.Tensor) -> Known | Ordering:
    """The same of some items."""
    return type(x)(**{name: part[rows] for name, part in vars(x).items()})


def take(x: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """Rows x[n, place[n, t]]: [N, P, ...] and [N, T] to [N, T, ...]."""
    return x[torch.arange(len(x), device=x.device)[:, None], place]
