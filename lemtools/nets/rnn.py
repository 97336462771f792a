"""Language models with a state in place of attention: a GRU, and products of Householder matrices. They are what a transformer of
fixed depth is held against where a state must be followed over more steps than it has layers.

Around the recurrence all is as in lm.Block. Its inner width makes it as many weights as attention has, 4 W^2, but for rounding.
Positions are not needed: any length can be read. Shapes: N items, T positions, W width, H heads of F features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from .embedding import Embedding
from .lm import Tokens, dial
from .transformer import wide


@dataclass
class State:
    """What a layer knows of the positions so far, [N, ...]; None: there were none."""

    held: torch.Tensor | None = None

    def take(self, rows: torch.Tensor) -> None:
        """Go on with these rows [M], any of them as often as wanted."""
        self.held = None if self.held is None else self.held[rows]


class Gru(nn.Module):
    """Cho et al. 2014 (arXiv 1406.1078), 2/3 W wide, and a map back to W. x [N, T, W] to the same, the state in float32 at least.
    state: of the positions before, which x goes on from."""

    def __init__(self, width: int):
        super().__init__()
        self.apart = True  # from other runs: torch has no GRU of several weights (train.beside)
        inner = round(2 * width / 3)  # 3 I (W + I) + I W = 4 W^2
        self.gru, self.out = nn.GRU(width, inner, batch_first=True), nn.Linear(inner, width, bias=False)

    @property
    def room(self) -> int:
        """Numbers of a state."""
        return self.gru.hidden_size

    def forward(self, x: torch.Tensor, state: State | None = None) -> torch.Tensor:
        begin = None if state is None or state.held is None else state.held.transpose(0, 1).contiguous()
        with torch.autocast(x.device.type, enabled=False):
            states = self.gru(wide(x), begin)[0]
        if state is not None:
            state.held = states[:, -1:]
        return self.out(states)


class Delta(nn.Module):
    """A linear recurrence whose transition is a product of `reflections` generalised Householder matrices of each input:
    S <- (1 - b k k^T) S + b k v^T, once for each of them; the answer is S^T q. b in (0, 2): eigenvalues 1 - b in (-1, 1)
    (Grazzi et al. 2024, arXiv 2411.12537), and of several also complex ones (Siems et al. 2025, arXiv 2502.10297).

    x [N, T, W] to the same, step by step, in float32: rounding would add up over the steps. before: as `state` of Gru.
    """

    def __init__(self, width: int, heads: int, reflections: int):
        super().__init__()
        self.heads, self.reflections = heads, reflections
        self.features = max(1, round(2 * width / (1 + reflections) / heads))  # (2 + 2 R) H F W = 4 W^2
        inner = heads * self.features
        self.query = nn.Linear(width, inner, bias=False)
        self.key, self.value = (nn.Linear(width, reflections * inner, bias=False) for _ in range(2))
        self.strength = nn.Linear(width, reflections * heads)
        self.norm, self.out = nn.RMSNorm(self.features), nn.Linear(inner, width, bias=False)

    @property
    def room(self) -> int:
        """Numbers of a state."""
        return self.heads * self.features**2

    def forward(self, x: torch.Tensor, before: State | None = None) -> torch.Tensor:
        keys, values = (
            wide(part(x)).unflatten(-1, (self.reflections, self.heads, 1, self.features))
            for part in (self.key, self.value)
        )
        keys = F.normalize(F.silu(keys), dim=-1)  # [N, T, R, H, 1, F]
        strengths = 2 * wide(self.strength(x)).sigmoid().unflatten(-1, (self.reflections, self.heads, 1, 1))
        queries = F.normalize(F.silu(wide(self.query(x)).unflatten(-1, (self.heads, 1, self.features))), dim=-1)
        state, found = queries.new_zeros(len(x), self.heads, self.features, self.features), []
        if before is not None and before.held is not None:
            state = before.held
        with torch.autocast(x.device.type, enabled=False):
            for q, ks, vs, bs in zip(*(part.unbind(1) for part in (queries, keys, values, strengths))):
                for k, v, b in zip(ks.unbind(1), vs.unbind(1), bs.unbind(1)):
                    state = state + k.mT @ (b * (v - k @ state))
                found.append(q @ state)
        if before is not None:
            before.held = state
        return self.out(self.norm(torch.stack(found, 1)).flatten(2))


class Layer(nn.Module):
    """x + recurrence(norm(x)), then x + SwiGLU(norm(x)); hidden width and first weights as of lm.Block."""

    def __init__(self, recurrence: nn.Module, width: int, depth: int):
        super().__init__()
        hidden = -(-8 * width // (3 * 32)) * 32
        self.norm_1, self.norm_2, self.recurrence = nn.RMSNorm(width), nn.RMSNorm(width), recurrence
        self.gate_up, self.down = nn.Linear(width, 2 * hidden, bias=False), nn.Linear(hidden, width, bias=False)
        for layer, gain in ((self.gate_up, 1), (recurrence.out, 2 * depth), (self.down, 2 * depth)):
            nn.init.normal_(layer.weight, std=(layer.in_features * gain) ** -0.5)

    def forward(self, x: torch.Tensor, state: State | None = None) -> torch.Tensor:
        x = x + self.recurrence(self.norm_1(x), state)
        gate, up = self.gate_up(self.norm_2(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class Recurrent(Tokens):
    """vocabulary, depth, width, context, head: as of lm.LM; tokens enter by a table. A network of this kind says by `made`
    what its recurrence is."""

    def __init__(self, vocabulary: int, depth: int, width: int | None, heads: int | None, context: int | None):
        super().__init__()
        sizes = dial(depth, width, heads, context)
        self.vocabulary, self.context, self.depth, width = vocabulary, sizes["context"], depth, sizes["width"]
        self.enter = Embedding(vocabulary, width)
        self.layers = nn.ModuleList(Layer(self.made(width, sizes["heads"]), width, depth) for _ in range(depth))
        self.norm, self.head = nn.RMSNorm(width), nn.Linear(width, vocabulary, bias=False)
        nn.init.zeros_(self.head.weight)
        self.register_buffer("lengths", torch.ones(vocabulary))

    def made(self, width: int, heads: int) -> nn.Module:
        """The recurrence of a layer."""
        raise NotImplementedError

    def hidden(self, tokens: torch.Tensor, layer: int) -> torch.Tensor:
        """What enters a layer, [N, T, W]: of 0 the embeddings; of `depth`, which is none, what the last leaves."""
        if not 0 <= layer <= self.depth:
            raise ValueError(f"layer {layer}: this network has 0 to {self.depth}")
        return self._run(wide(self.enter(tokens)), 0, layer)

    def resume(self, hidden: torch.Tensor, layer: int) -> torch.Tensor:
        """Logits [N, T, V] of the next token, from what enters a layer on."""
        return self.head(self.norm(self._run(hidden, layer, self.depth)))

    def features(self, tokens: torch.Tensor, places: torch.Tensor | None = None) -> torch.Tensor:
        return self.norm(self.hidden(tokens, self.depth))

    def _run(self, x: torch.Tensor, first: int, last: int, states: tuple[State, ...] = ()) -> torch.Tensor:
        for i in range(first, last):
            x = self.layers[i](x, states[i] if states else None)
        return x

    @property
    def room(self) -> int:
        """Numbers of what `caches` hold, a position of the context."""
        return -(-sum(layer.recurrence.room for layer in self.layers) // self.context)

    def caches(self) -> tuple[State, ...]:
        """As of lm.LM: what every layer knows of sequences that begin."""
        return tuple(State() for _ in self.layers)

    def said(self, tokens: torch.Tensor, caches: tuple[State, ...], last: int | None = None) -> torch.Tensor:
        """As of lm.LM."""
        x = self._run(wide(self.enter(tokens)), 0, self.depth, caches)
        return self.head(self.norm(x if last is None else x[:, -last:]))


class GruLM(Recurrent):
    """See Recurrent and Gru."""

    def __init__(self, vocabulary: int = 256, depth: int = 4, width: int | None = None, context: int | None = None):
        super().__init__(vocabulary, depth, width, None, context)

    def made(self, width: int, heads: int) -> nn.Module:
        return Gru(width)


class DeltaLM(Recurrent):
    """See Recurrent and Delta."""

    def __init__(
        self,
        vocabulary: int = 256,
        depth: int = 4,
        width: int | None = None,
        heads: int | None = None,
        context: int | None = None,
        reflections: int = 2,
    ):
        self.reflections = reflections
        super().__init__(vocabulary, depth, width, heads, context)

    def made(self, width: int, heads: int) -> nn.Module:
        return Delta(width, heads, self.reflections)
