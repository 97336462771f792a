"""Mixtures of logistics for the values of one place, discretised or continuous, truncated to what is known of them.

After PixelCNN++ (Salimans, Karpathy, Chen & Kingma 2017, eqs. 1-3): K components; a component's mean for a channel
depends linearly on the channels before it. Where a value is known to lie in an interval, its distribution is that
mixture given the interval: channel by channel,

    p(x_c | x_<c, x_c in I_c) = sum_k w_k P_k(x_c) / sum_k w_k P_k(I_c),        w_k = pi_k prod_{d<c} P_k(x_d)

which sums to 1 over the interval, is PixelCNN++'s joint distribution where nothing is known, and costs 0 where I_c is
one value.

Everything is in *units*: levels from the middle of the range for discretised values, so that the ends of their cells
are exact in float32; the coordinates themselves for continuous ones. K is the last axis of what belongs to components.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

LIMIT = 7.0  # means and logarithms of scales lie within this of 0, in coordinates: float32 reaches so far
COLDEST = 1e-3  # a temperature of 0 is this one


@dataclass(frozen=True)
class Grid:
    """`levels` values in equal steps from -1 to 1, the outer ones standing for all beyond; levels=0: the real line."""

    levels: int

    @property
    def unit(self) -> float:
        """Units in one coordinate."""
        return (self.levels - 1) / 2 if self.levels else 1.0

    def snap(self, x: torch.Tensor) -> torch.Tensor:
        """Coordinates to the nearest level, in units."""
        if not self.levels:
            return x
        return (x * self.unit + self.unit).round().clamp(0, self.levels - 1) - self.unit

    def interval(self, low: torch.Tensor, high: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """First and last level within [low, high], in units; the nearest level where there is none in it."""
        if not self.levels:
            return low, high
        top = self.levels - 1
        first = (low * self.unit + self.unit - 0.01).ceil().clamp(0, top)  # 0.01: float32 ends lie 1e-4 off their level
        last = (high * self.unit + self.unit + 0.01).floor().clamp(0, top)
        none = first > last
        nearest = ((low + high) / 2 * self.unit + self.unit).round().clamp(0, top)
        return torch.where(none, nearest, first) - self.unit, torch.where(none, nearest, last) - self.unit

    def edges(self, first: torch.Tensor, last: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Ends of the cells from level `first` to level `last`, in units; infinite for the outer levels."""
        if not self.levels:
            return first, last
        low, high = (first - 0.5).masked_fill(first <= -self.unit, -torch.inf), last + 0.5
        return low, high.masked_fill(last >= self.unit, torch.inf)


def log_mass(low: torch.Tensor, high: torch.Tensor, mean: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
    """log(sigmoid(b) - sigmoid(a)) of the interval [low, high], low < high, infinite ends allowed; shapes broadcast.

    As log sigmoid(b) + log sigmoid(-a) + log(1 - exp(a - b)): no difference of near-equal numbers in the tails.
    """
    below, above = torch.isinf(low), torch.isinf(high)
    rate = torch.exp(-log_scale)
    # an infinite end is filled before the arithmetic and masked after it: inf * 0 in a gradient is nan
    upper = F.logsigmoid((high.masked_fill(above, 0) - mean) * rate).masked_fill(above, 0)
    lower = F.logsigmoid((mean - low.masked_fill(below, 0)) * rate).masked_fill(below, 0)
    width = (high - low).masked_fill(below | above, 1) * rate
    return upper + lower + torch.log(-torch.expm1(-width)).masked_fill(below | above, 0)


def log_density(x: torch.Tensor, mean: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
    """log density of the logistic distribution."""
    z = (x - mean) * torch.exp(-log_scale)
    return F.logsigmoid(z) + F.logsigmoid(-z) - log_scale


def quantile(
    u: torch.Tensor, low: torch.Tensor, high: torch.Tensor, mean: torch.Tensor, log_scale: torch.Tensor
) -> torch.Tensor:
    """The value below which a share u in (0, 1) of the logistic distribution truncated to [low, high] lies.

    Computed from the logarithm of the tail in which the interval lies, so that it is right however far out that is.
    """
    rate = torch.exp(-log_scale)
    a, b = (low - mean) * rate, (high - mean) * rate
    flip = a + b > 0  # (-inf) + inf is nan, which is not > 0
    a, b, u = torch.where(flip, -b, a), torch.where(flip, -a, b), torch.where(flip, 1 - u, u)
    tail = torch.logaddexp(torch.log1p(-u) + F.logsigmoid(a), torch.log(u) + F.logsigmoid(b))
    tail = tail.clamp(max=-1e-7)
    z = tail - torch.log(-torch.expm1(tail))
    return torch.maximum(torch.minimum(mean + torch.where(flip, -z, z) / rate, high), low)


class Mixture:
    """Mixtures for places of C channels from a network's raw outputs [..., count(C, K)], computed in float32."""

    def __init__(self, raw: torch.Tensor, channels: int, grid: Grid):
        raw = raw.float()
        c, self.grid = channels, grid
        k = raw.shape[-1] // self.count(c, 1)
        logits, means, scales, links = raw.split([k, k * c, k * c, k * c * (c - 1) // 2], -1)
        self.log_weights = F.log_softmax(logits, -1)
        # smooth limits: gradients find their way back
        means, scales = (LIMIT * torch.tanh(t / LIMIT) for t in (means, scales))
        self.means = (means * grid.unit).unflatten(-1, (c, k))
        self.log_scales = (scales + math.log(grid.unit)).unflatten(-1, (c, k))
        self.links = torch.tanh(links).unflatten(-1, (-1, k)) if c > 1 else None

    @staticmethod
    def count(channels: int, mixtures: int) -> int:
        """Raw numbers a place: weights, means, scales and the links between channels."""
        return mixtures * (1 + 2 * channels + channels * (channels - 1) // 2)

    def _mean(self, c: int, x: torch.Tensor) -> torch.Tensor:
        """Means [..., K] of channel c given channels 0 .. c-1 of x."""
        mean = self.means[..., c, :]
        for d in range(c):
            mean = mean + self.links[..., c * (c - 1) // 2 + d, :] * x[..., d, None]
        return mean

    def _seen(self, value: torch.Tensor, mean: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
        """log P_k of a level, or log density of a value."""
        if self.grid.levels:
            return log_mass(*self.grid.edges(value, value), mean, log_scale)
        return log_density(value, mean, log_scale)

    def _room(self, first: torch.Tensor, last: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Ends of the interval that is open to a value; where it is known exactly, and nothing is asked, all."""
        if self.grid.levels:
            return self.grid.edges(first, last)
        single = first == last
        return first.masked_fill(single, -torch.inf), last.masked_fill(single, torch.inf)

    def log_prob(self, x: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        """log p(x | x in [low, high]) in nats, channel by channel: all in units, [..., C] to [..., C].

        Discretised: x, low and high are levels, both ends included. Continuous: the density. 0 where low = high.
        """
        out, weights = [], self.log_weights
        for c in range(x.shape[-1]):
            mean, log_scale = self._mean(c, x), self.log_scales[..., c, :]
            value, first, last = (t[..., c, None] for t in (x, low, high))
            seen = self._seen(value, mean, log_scale)
            room = log_mass(*self._room(first, last), mean, log_scale)
            log_p = torch.logsumexp(weights + seen, -1) - torch.logsumexp(weights + room, -1)
            out.append(log_p.masked_fill((first == last)[..., 0], 0))
            weights = weights + seen
        return torch.stack(out, -1)

    def sample(
        self, low: torch.Tensor, high: torch.Tensor, uniforms: torch.Tensor, temperature: float = 1.0
    ) -> torch.Tensor:
        """Draw x [..., C] in units within [low, high], which are levels where it is discretised.

        uniforms [..., C, 2] in [0, 1): one chooses the component, one the value in it. A temperature T divides the
        logarithms of the mixture's weights by T and multiplies the components' scales by T, which is p^(1/T) in the
        tails and between components far apart; 0 takes about the mode of the heaviest component.
        """
        heat = max(temperature, COLDEST)
        uniforms = uniforms.clamp(2.0**-25, 1 - 2.0**-24)
        x, weights = low.clone(), self.log_weights / heat
        for c in range(low.shape[-1]):
            mean, log_scale = self._mean(c, x), self.log_scales[..., c, :] + math.log(heat)
            first, last = low[..., c, None], high[..., c, None]
            ends = self._room(first, last)
            share = torch.softmax(weights + log_mass(*ends, mean, log_scale), -1).cumsum(-1)
            pick = (share[..., :-1] < uniforms[..., c, :1] * share[..., -1:]).sum(-1, keepdim=True)
            value = quantile(uniforms[..., c, 1:], *ends, mean.gather(-1, pick), log_scale.gather(-1, pick))
            value = torch.maximum(torch.minimum(self.grid.snap(value / self.grid.unit), last), first)
            x[..., c] = value[..., 0]
            weights = weights + self._seen(value, mean, log_scale)
        return x
