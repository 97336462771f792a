"""Lost tokens by a language model, one after another, each drawn from those before it: what comes after is not seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ..device import pick
from ..nets.draw import draw
from ..nets.model import Model
from ..rng import generators
from ..signal import LemError, Signal
from . import tiles
from .dream import BUDGET, MOST_ROWS
from .learned import identified


class Continuer:
    """A language model made ready; called with a batch of fragments of tokens, it answers (recalled, steps).

    What is known stays. A lost token is drawn from the model's probabilities after those before it, known or drawn: at least
    half of the model's context, where there are as many. The first one has none before it, and is any token.

    model: a ``Model`` of lem-train lm, or the path of one. samples: 0 for one draw, else draws an item, named NAME#0 ...
    NAME#M-1. temperature: 1 for the model's probabilities, 0 for the likeliest token. top: how many of the likeliest tokens
    are drawn among; None: all. more: tokens to add behind the end. seed: of the draws, which are each item's own.
    """

    method = "continue"

    def __init__(
        self,
        model: Model | str,
        *,
        samples: int = 0,
        temperature: float | None = None,
        top: int | None = None,
        more: int = 0,
        seed: int = 0,
        device: str = "auto",
    ):
        self.device = torch.device(pick(device))
        model, self.name, self.identity = identified(model)
        if model.family != "language" or not hasattr(model.net, "after"):
            raise LemError(
                f"{self.name}: a model of {model.meta['recipe']} ({model.meta['net']['net']}), which draws no token after "
                "another; --method continue takes one of lem-train lm"
            )
        if "task" in model.meta:
            raise LemError(
                f"{self.name}: a model of a task ({model.meta['task']['task']}), which says states, not what follows"
            )
        self.net = model.net.to(self.device).eval()
        self.samples, self.top, self.more, self.seed = samples, top, more, seed
        self.temperature = 1.0 if temperature is None else temperature

    def __call__(self, signal: Signal) -> tuple[Signal, list[str]]:
        """LemError for what are no tokens, and for one that the model does not know."""
        if signal.kind != "tokens":
            raise LemError(f"{self.name} goes on with tokens, not with {signal.kind}")
        whole = tiles.framed(signal)
        out = tiles.repeated(whole, self.samples) if self.samples else whole
        data = np.pad(np.asarray(out.data, np.int64), ((0, 0), (0, self.more)))
        known = np.broadcast_to(np.True_ if out.mask is None else out.mask != 0, out.data.shape)
        known = np.pad(known, ((0, 0), (0, self.more)))
        self._check(data, known)
        items = np.arange(len(data)) // (self.samples or 1)
        each = 4 * self.net.room * self.net.context
        rows = int(max(1, min(MOST_ROWS, BUDGET // each)))
        for start in range(0, len(data), rows):
            here = slice(start, start + rows)
            own = []
            for row in range(start, min(start + rows, len(data))):
                name = f"{self.method}#{row % (self.samples or 1)}"
                own += generators(self.seed, signal.index[items[row] : items[row] + 1], len(signal.ops), name)
            data[here] = self._filled(torch.from_numpy(data[here]), known[here], own).numpy()
        kind = signal.whole_dtype if data.max(initial=0) <= np.iinfo(signal.whole_dtype).max else np.dtype(np.int64)
        made = f"{self.samples} draws" if self.samples else "a draw"
        how = "the likeliest" if not self.temperature else f"temperature {self.temperature:g}"
        among = f", among {self.top}" if self.top and self.temperature else ""
        step = f"{self.method}: {made} by {self.name}, token after token, {how}{among}"
        done = replace(out, data=data.astype(kind, copy=False), mask=None, codes=None, ops=[])
        return done, [step, *([f"{self.more} more"] if self.more else [])]

    def _check(self, data: np.ndarray, known: np.ndarray) -> None:
        bad = data[known & ((data < 0) | (data >= self.net.vocabulary))]
        if len(bad):
            raise LemError(f"token {bad[0]}, where {self.name} knows 0 to {self.net.vocabulary - 1}")

    @torch.inference_mode()
    def _filled(self, tokens: torch.Tensor, known: np.ndarray, own: list[np.random.Generator]) -> torch.Tensor:
        """Tokens [R, T] with those that are not known [R, T] drawn."""
        lost = np.flatnonzero(~known.all(0))
        caches, begun = None, 0
        for t in range(int(lost[0]), int(lost[-1]) + 1) if len(lost) else ():
            start = self._start(t)
            if t == 0:
                logits = torch.zeros(len(tokens), self.net.vocabulary)
            elif caches is None or start != begun:
                caches, begun = self.net.caches(), start
                logits = self.net.after(tokens[:, start:t].to(self.device), caches)
            else:
                logits = self.net.after(tokens[:, t - 1 : t].to(self.device), caches)
            if len(rows := np.flatnonzero(~known[:, t])):
                drawn = draw(logits[rows, None].float(), [own[row] for row in rows], self.temperature, self.top)
                tokens[rows, t] = torch.from_numpy(drawn[:, 0])
        return tokens

    def _start(self, t: int) -> int:
        """Where the tokens begin from which the one at place t is drawn: by steps of half a context, so that what is known of
        them is computed once."""
        context = self.net.context
        half = max(context // 2, 1)
        return max(0, -(-(t - context) // half) * half)


def continuer(memory=None, model=None, **options) -> Continuer:
    """What goes on with tokens by a language model."""
    return Continuer(model, **options)
