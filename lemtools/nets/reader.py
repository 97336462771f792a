"""Rows of tokens that a language model reads from left to right, each computed once: prompts, guesses, and what follows them.

Shapes: R rows, T tokens so far, V vocabulary.
"""

from __future__ import annotations

import torch

from .lm import Tokens
from .rnn import State
from .step import Step
from .thoughts import Past
from .transformer import Cache


def begins(place: int, context: int) -> int:
    """Where the tokens begin from which the one at a place is predicted: 0, or further on by steps of half a context, so that
    what is known of them is computed once. At least half a context is seen, where there is as much."""
    half = max(context // 2, 1)
    return max(0, -(-(place - context) // half) * half)


class Reader:
    """tokens [R, T] int64, of which every one is predicted from those before it, from `begins` on.

    The first token has none before it: all are as likely. graph: on CUDA, tokens that come one by one are read by a graph, which
    is for rows that stay. Attribute: tokens, [R, T] on the network's device. Call it under inference_mode.
    """

    def __init__(self, net: Tokens, tokens: torch.Tensor, graph: bool = False):
        self.net, self.graph = net, graph
        self.tokens = tokens.to(next(net.parameters()).device)
        self.begun, self.seen = 0, 0  # the caches hold tokens[:, begun:seen]
        self.caches: list[Cache] | tuple[State, ...] | Past | None = None
        self.ahead: torch.Tensor | None = None  # logits [R, 1, V] of the token at `seen`
        self.step: Step | None = None
        self.stepping = False  # whether it is the step that holds those tokens

    @property
    def length(self) -> int:
        return self.tokens.shape[1]

    def logits(self) -> torch.Tensor:
        """Of the next token, [R, V] float32 or wider."""
        return self._said(self.length, self.length + 1)[:, 0]

    def add(self, tokens: torch.Tensor) -> None:
        """Go on with tokens [R, n]."""
        self.tokens = torch.cat([self.tokens, tokens.to(self.tokens)], 1)

    def score(self, tokens: torch.Tensor) -> torch.Tensor:
        """log p [R, n] float64 of going on with tokens [R, n], in nats; goes on with them."""
        first = self.length
        self.add(tokens)
        said = self._said(first, self.length).double().log_softmax(-1)
        return said.gather(-1, self.tokens[:, first:, None])[..., 0]

    def take(self, rows: torch.Tensor) -> None:
        """Go on with these rows [M], any of them as often as wanted."""
        rows = rows.to(self.tokens.device)
        self.tokens = self.tokens[rows]
        self.ahead = None if self.ahead is None else self.ahead[rows]
        if self.stepping:
            self.caches, self.step, self.stepping = None, None, False
        for held in [self.caches] if isinstance(self.caches, Past) else self.caches or ():
            held.take(rows)

    def _said(self, first: int, stop: int) -> torch.Tensor:
        """Logits [R, stop - first, V] of the tokens at the places from `first` to before `stop`."""
        parts = []
        while first < stop:
            if first == 0:
                parts.append(torch.zeros(len(self.tokens), 1, self.net.vocabulary, device=self.tokens.device))
                first = 1
                continue
            begun = begins(first, self.net.context)
            end = min(stop, begun + self.net.context + 1)
            if self.caches is None or begun != self.begun:
                self._begin(begun)
            if first == self.seen and self.ahead is not None:
                parts.append(self.ahead)
                first += 1
                if first == end:
                    continue
            parts.append(self._read(end - 1)[:, first - end :])
            first = end
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def _begin(self, place: int) -> None:
        self.caches, self.begun, self.seen, self.ahead, self.stepping = self.net.caches(), place, place, None, False

    def _read(self, stop: int) -> torch.Tensor:
        """Logits [R, n, V] of the tokens after each of those that were not seen, to before `stop`; of more, where it begins anew."""
        one = stop == self.seen + 1 and self.seen > self.begun
        if self.stepping and not one:
            self._begin(self.begun)
        new = self.tokens[:, self.seen : stop]
        step = one and self.graph and isinstance(self.caches, list)
        said = self._stepped(new) if step else self.net.said(new, self.caches)
        self.seen, self.ahead = stop, said[:, -1:]
        return said

    def _stepped(self, new: torch.Tensor) -> torch.Tensor:
        """As LM.said of one token a row."""
        if not self.stepping:
            if self.step is None:
                self.step = Step(self.net, self.caches)
            else:
                self.step.begin(self.caches)
            self.stepping = True
        return self.step(new).clone()
