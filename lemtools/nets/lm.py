"""A causal transformer over tokens: RMSNorm, rotary positions, SwiGLU, one dial.

Zhang & Sennrich 2019 (RMSNorm), Su et al. 2021 (RoFormer), Shazeer 2020 (GLU variants). Everything follows from the
depth: a width of 64 a layer, heads of 64, a context of 64 positions a layer.

Shapes: N items, T positions, W width, V vocabulary. A window of T + 1 tokens asks for T: each from those before it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .attention import attend
from .embedding import Embedding
from .nats import nats
from .thoughts import Past, Thoughts
from .transformer import Cache, rotate, wide

HEAD = 64  # features of a head, width of a layer, and positions of context a layer
BASE = 10_000  # the longest wavelength of the rotations is 2 pi times that many positions


def dial(depth: int, width: int | None = None, heads: int | None = None, context: int | None = None) -> dict[str, int]:
    """{'depth', 'width', 'heads', 'context'}: what was not chosen follows from the depth."""
    width = HEAD * depth if width is None else width
    heads = max(1, width // HEAD) if heads is None else heads
    if depth < 1 or heads < 1 or width % (2 * heads):
        raise ValueError(f"depth {depth}, width {width}: a width is a multiple of 2 x {heads} heads, a depth 1 or more")
    context = HEAD * depth if context is None else context
    if context < 1:
        raise ValueError(f"context is {context}: it takes one position at least")
    return {"depth": depth, "width": width, "heads": heads, "context": context}


class Block(nn.Module):
    """x + attention(norm(x)), then x + SwiGLU(norm(x)); the hidden width of the latter is 8/3 W, in steps of 32.

    causal: a position sees those before it and itself; else all.
    """

    def __init__(self, width: int, heads: int, depth: int, causal: bool = True):
        super().__init__()
        self.heads, self.causal, hidden = heads, causal, -(-8 * width // (3 * 32)) * 32
        self.norm_1, self.norm_2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.gate_up, self.down = nn.Linear(width, 2 * hidden, bias=False), nn.Linear(hidden, width, bias=False)
        for layer, gain in ((self.qkv, 1), (self.gate_up, 1), (self.out, 2 * depth), (self.down, 2 * depth)):
            nn.init.normal_(layer.weight, std=(layer.in_features * gain) ** -0.5)  # 2 depth branches keep their size

    def forward(
        self, x: torch.Tensor, angle: tuple[torch.Tensor, torch.Tensor], cache: Cache | None = None
    ) -> torch.Tensor:
        """x [N, T, W]; angle: cos, sin [T, pairs] of the positions. cache: of the positions before, which are seen, too."""
        q, k, v = self.qkv(self.norm_1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = rotate(q, angle).to(v.dtype), rotate(k, angle).to(v.dtype)
        mask = None
        if cache is not None:
            mask = cache.mask(x.shape[1], x.device)
            k, v = cache.put(k, v)
        causal = self.causal and x.shape[1] > 1 and mask is None
        y = attend(q, k, v, mask, causal)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        gate, up = self.gate_up(self.norm_2(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class Trunk(nn.Module):
    """The blocks and the norm after them: vectors [N, T, W], T up to the context, to vectors. causal: see Block."""

    def __init__(self, depth: int, width: int, heads: int, context: int, causal: bool = True):
        super().__init__()
        self.depth, self.width, self.context = depth, width, context
        self.blocks = nn.ModuleList(Block(width, heads, depth, causal) for _ in range(depth))
        self.norm = nn.RMSNorm(width)
        pairs = width // heads // 2
        wave = BASE ** (-torch.arange(pairs, dtype=torch.float64) / pairs)
        angle = torch.arange(context, dtype=torch.float64)[:, None] * wave
        self.register_buffer("cos", angle.cos().float(), persistent=False)  # [T, pairs]
        self.register_buffer("sin", angle.sin().float(), persistent=False)

    def run(
        self,
        x: torch.Tensor,
        first: int,
        last: int,
        caches: list[Cache] | None = None,
        places: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Through the blocks from `first` to before `last`. caches: of the positions before x, one a block (see Block).
        places [N, T]: where each vector stands, below the context, where that is not one after the other."""
        if x.shape[1] > self.context:
            raise ValueError(f"{x.shape[1]} positions; this network was made for {self.context}")
        here = caches[0].places(x.shape[1]) if caches else slice(x.shape[1])
        turns = (self.cos, self.sin)
        angle = [turn[here] if places is None else turn[places][:, None] for turn in turns]
        x = wide(x)  # what the blocks add to, of vectors as of tokens
        for i, block in enumerate(self.blocks[first:last]):
            x = block(x, (angle[0], angle[1]), caches[i] if caches else None)
        return x

    def forward(self, x: torch.Tensor, places: torch.Tensor | None = None) -> torch.Tensor:
        return self.norm(self.run(x, 0, self.depth, places=places))


class Tokens(nn.Module):
    """What predicts tokens: logits [N, T, V] of tokens [N, T] and, where they do not stand one after the other, their
    places. lengths [V]: bytes that each token stands for."""

    family = "language"
    lengths: torch.Tensor

    @property
    def readable(self) -> int:
        """Dimensions R that the head reads."""
        return self.enter.width

    def features(self, tokens: torch.Tensor, places: torch.Tensor | None = None) -> torch.Tensor:
        """What the head reads, [N, T, R]."""
        raise NotImplementedError

    def forward(self, tokens: torch.Tensor, places: torch.Tensor | None = None) -> torch.Tensor:
        """Logits [N, T, V] of the token after each of `tokens` [N, T]. places: as of Trunk.run."""
        return self.head(self.features(tokens, places))

    def said(self, tokens: torch.Tensor, caches: Any, last: int | None = None) -> torch.Tensor:
        """Logits [N, T, V] of the token after each of `tokens` [N, T], or after the `last` ones of them alone; they follow on
        those in the caches (of `caches()`, where sequences begin)."""
        raise NotImplementedError

    def after(self, tokens: torch.Tensor, caches: Any) -> torch.Tensor:
        """Logits [N, V] of the token after the last of `tokens` [N, T], which follow on those in the caches."""
        return self.said(tokens, caches, 1)[:, 0]

    def rate(self, items: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        """Nats [N, T] that tokens 1 .. T of windows [N, T + 1] take."""
        return nats(wide(self(items[:, :-1])), items[:, 1:])

    def rest(self, items: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        """Nats that the text takes beyond the rate, [N, T]: none, tokens are the text."""
        return self.lengths.new_zeros(len(items), items.shape[1] - 1)

    def sizes(self, items: torch.Tensor) -> torch.Tensor:
        """Bytes of what is predicted, [N, T]."""
        return self.lengths[items[:, 1:].long()]


class LM(Tokens):
    """vocabulary: tokens 0 .. V - 1; depth to context: see `dial`; embedding to hidden, and code_bits to codes: see Embedding; thoughts
    (0: none) to thoughts_carry: see Thoughts. The last dimensions are thoughts, the R others are read.

    head: `untied`, a table of its own, 0 at first: a fresh network gives every token the same probability. `tied`: the
    vectors by which tokens enter. These are never 0, or nothing would be learnt; 1 / W in the norm before them makes a fresh
    network nearly as fair: the token that was seen has about 1 nat above the others.
    """

    def __init__(
        self,
        vocabulary: int = 256,
        depth: int = 4,
        width: int | None = None,
        heads: int | None = None,
        context: int | None = None,
        embedding: str = "full",
        ratio: int = 1,
        coding: str | None = None,
        hidden: int = 0,
        head: str = "untied",
        code_bits: int | None = None,
        stages: int | None = None,
        codes: int | None = None,
        thoughts: float = 0.0,
        thoughts_by: str | None = None,
        thoughts_carry: str = "normal",
    ):
        super().__init__()
        sizes = dial(depth, width, heads, context)
        self.vocabulary, self.context, self.depth = vocabulary, sizes["context"], depth
        self.enter = Embedding(vocabulary, sizes["width"], embedding, ratio, coding, hidden, code_bits, stages, codes)
        self.trunk = Trunk(**sizes)
        self.thoughts = Thoughts(sizes["width"], thoughts, thoughts_by, thoughts_carry) if thoughts else None
        if self.thoughts is not None:
            self.trunk.norm = nn.RMSNorm(self.thoughts.readable)
        self.register_buffer("lengths", torch.ones(vocabulary))
        if head == "tied" and hidden:
            raise ValueError(
                f"a tied head for an up-projection with a hidden layer of {hidden}, which has no transpose"
            )
        if head == "tied":
            self.head = self.tied
            nn.init.constant_(self.trunk.norm.weight, 1 / sizes["width"])
        else:
            self.head = nn.Linear(self.readable, vocabulary, bias=False)
            nn.init.zeros_(self.head.weight)

    @property
    def readable(self) -> int:
        return self.trunk.norm.weight.shape[0]

    def tied(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [..., V] of what is read, x [..., R], by the vectors by which tokens enter."""
        return self.enter.logits(F.pad(x, (0, self.trunk.width - self.readable)))

    def hidden(self, tokens: torch.Tensor, layer: int) -> torch.Tensor:
        """What enters block `layer`, [N, T, W]: of 0 the embeddings, with thoughts; of `depth`, which is none, what the last leaves."""
        if not 0 <= layer <= self.depth:
            raise ValueError(f"layer {layer}: this network has 0 to {self.depth}")
        x = self.enter(tokens)
        return self.trunk.run(x if self.thoughts is None else self.thoughts.entering(self.trunk, x), 0, layer)

    def resume(self, hidden: torch.Tensor, layer: int) -> torch.Tensor:
        """Logits [N, T, V] of the next token, from what enters block `layer` on."""
        return self.head(self.read(self.trunk.run(hidden, layer, self.depth)))

    def read(self, x: torch.Tensor) -> torch.Tensor:
        """What the head reads, [..., R], of what the last block leaves, x [..., W]: not its thoughts."""
        return self.trunk.norm(x[..., : self.readable])

    def features(self, tokens: torch.Tensor, places: torch.Tensor | None = None) -> torch.Tensor:
        x = self.enter(tokens)
        if self.thoughts is None:
            return self.trunk(x, places)
        return self.read(self.thoughts(self.trunk, x, places=places))

    def left(self, tokens: torch.Tensor, places: torch.Tensor | None = None) -> torch.Tensor:
        """The thoughts that every position leaves, [N, T, C], of a network that has some; of passes, in the last one."""
        return self.thoughts(self.trunk, self.enter(tokens), places=places)[..., self.readable :]

    @property
    def room(self) -> int:
        """Numbers a position of what `caches` hold."""
        return 2 * self.depth * self.trunk.width * (1 if self.thoughts is None else self.thoughts.passes)

    def caches(self) -> list[Cache] | Past:
        """For `said`, of sequences that begin."""
        if self.thoughts is not None:
            return self.thoughts.past(lambda: Cache(self.context), self.depth)
        return [Cache(self.context) for _ in range(self.depth)]

    def said(self, tokens: torch.Tensor, caches: list[Cache] | Past, last: int | None = None) -> torch.Tensor:
        x = self.enter(tokens)
        if isinstance(caches, Past):
            x = self.thoughts(self.trunk, x, caches)
        else:
            x = self.trunk.run(x, 0, self.depth, caches)
        return self.head(self.read(x if last is None else x[:, -last:]))
