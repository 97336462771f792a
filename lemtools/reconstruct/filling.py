"""Gaps in tokens by a left-to-right model, from both sides: guesses are kept by what fits on the left, and weighed by the right.

A model gives p(gap, right | left), one token after another; the posterior of the gap is that over its sum. Guesses grow through
the gap, each with its log p; of more than `beam` the likeliest are kept, or, for draws, some that stand for all. What is known behind the gap is
read by each of them, and its log p added.

Shapes: H guesses, L tokens of a gap, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, pairwise
from time import monotonic

import numpy as np
import torch

from ..nets.model import Model
from ..nets.reader import Reader
from ..rng import generator
from ..signal import Signal
from .language import Language

BEAM, RIGHT = 256, 8
Prune = Callable[
    [np.ndarray, int], tuple[np.ndarray, np.ndarray]
]  # log weights [M], how many -> (which [H], log weights [H])


def best(weights: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """The heaviest, the first of those that are alike."""
    if most < len(weights) // 8:  # (what cannot be among them is not sorted)
        near = np.flatnonzero(weights >= np.partition(weights, -most)[-most])
        keep = near[np.argsort(-weights[near], kind="stable")[:most]]
    else:
        keep = np.argsort(-weights, kind="stable")[:most]
    return keep, weights[keep]


def resampled(weights: np.ndarray, most: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Some that stand for all, so that the expected weight of each is its own (Fearnhead & Clifford, J. R. Stat. Soc. B 65,
    2003, section 3.2): heavy ones as they are, of the others evenly spaced ones, of one weight. All, where they are not too many.
    """
    p = np.exp(weights - weights.max())
    order = np.argsort(-p, kind="stable")[: np.count_nonzero(p)]
    if len(order) <= most:
        return order, weights[order]
    rest = np.cumsum(p[order][::-1])[::-1]  # what is left from each on
    unit = rest[:most] / (most - np.arange(most))  # what each of the others weighs, where so many stay as they are
    count = int(np.argmax(np.append(p[order[: most - 1]] < unit[:-1], True)))
    heavy, others = order[:count], np.sort(order[count:])
    edges = np.floor(np.cumsum(p[others]) / unit[count] + generator.random())
    chosen = others[np.diff(edges, prepend=0.0) > 0]
    one = np.log(unit[count]) + weights.max()
    return np.concatenate([heavy, chosen]), np.concatenate([weights[heavy], np.full(len(chosen), one)])


class Guesses:
    """What may stand in the gaps so far: a reader of H rows, with log p [H] of each since the last choice."""

    def __init__(self, reader: Reader, beam: int, prune: Prune = best):
        self.reader, self.beam, self.prune = reader, beam, prune
        self.weights = np.zeros(len(reader.tokens))

    def grow(self, count: int = 1) -> None:
        """By lost tokens."""
        for _ in range(count):
            said = self.reader.logits().double().log_softmax(-1).cpu().numpy()
            keep, self.weights = self.prune((self.weights[:, None] + said).ravel(), self.beam)
            rows, tokens = np.divmod(keep, said.shape[1])
            self.reader.take(torch.from_numpy(rows))
            self.reader.add(torch.from_numpy(tokens)[:, None])

    def read(self, tokens: np.ndarray) -> None:
        """Known tokens [n], each of which counts."""
        if len(tokens):
            said = self.reader.score(torch.from_numpy(tokens).expand(len(self.weights), -1))
            self.weights = self.weights + said.sum(1).cpu().numpy()

    def settle(self, gap: slice, generator: np.random.Generator | None = None) -> None:
        """Keep those that have in a gap what the likeliest has, or by a generator one drawn by its weight."""
        row = int(self.weights.argmax())
        if generator is not None:
            bound = np.exp(self.weights - self.weights.max()).cumsum()
            row = int((bound <= generator.random() * bound[-1]).sum())
        stands = self.reader.tokens[:, gap]
        alike = (stands == stands[row]).all(1).nonzero()[:, 0]
        if len(alike) < len(self.weights):
            self.reader.take(alike)
            self.weights = self.weights[alike.cpu().numpy()]


class Filler(Language):
    """A language model made ready; called with a batch of fragments of tokens, it answers (recalled, steps).

    What is known stays. A gap gets the tokens for which log p(gap, right | left) is greatest, as far as the beam finds them: with V^L
    guesses or more it is exact. On the right are the `right` tokens behind it; where some of these are lost, too, both gaps are guessed together.
    Then it is settled, and stands on the left of what follows.

    model: a ``Model`` of lem-train lm, or the path of one. samples: 0 for the likeliest, else draws an item, named NAME#0 ...
    NAME#M-1, each by guesses of its own; they are the posterior's as the beam grows (exactly, where it holds all guesses). beam: guesses that are kept; None: 256.
    right: tokens behind a gap that count; None: 8. seed: of the draws, which are each item's own.
    """

    method = "fill"

    def __init__(
        self,
        model: Model | str,
        *,
        samples: int = 0,
        beam: int | None = None,
        right: int | None = None,
        seed: int = 0,
        device: str = "auto",
    ):
        super().__init__(model, device)
        self.samples, self.seed = samples, seed
        self.beam, self.right = BEAM if beam is None else beam, RIGHT if right is None else right

    def __call__(self, signal: Signal) -> tuple[Signal, list[str]]:
        """LemError for what are no tokens, and for one that the model does not know."""
        whole, data, known = self.taken(signal)
        filled = np.empty((len(data) * (self.samples or 1), data.shape[1]), np.int64)
        for row in range(len(filled)):
            item, number = divmod(row, self.samples or 1)
            own = None
            if self.samples:
                own = generator(self.seed, int(signal.index[item]), len(signal.ops), f"{self.method}#{number}")
            begun = monotonic()
            filled[row] = self.filled(data[item], known[item], own)
            self.timed(begun, int((~known[item]).sum()))
        made = f"{self.samples} draws" if self.samples else "the likeliest"
        step = (
            f"{self.method}: {made} by {self.name}, of {self.beam} guesses, by up to {self.right} tokens behind a gap"
        )
        return self.given(whole, filled, self.samples), [step]

    @torch.inference_mode()
    def filled(self, tokens: np.ndarray, known: np.ndarray, own: np.random.Generator | None = None) -> np.ndarray:
        """Tokens [T] with those that are not known [T] filled in."""
        gaps = np.flatnonzero(np.diff(known.astype(int), prepend=1, append=1)).reshape(-1, 2).tolist()
        if not gaps:
            return tokens
        prune = best if own is None else lambda weights, most: resampled(weights, most, own)
        guesses = Guesses(self.reader(tokens[None, : gaps[0][0]]), self.beam, prune)
        settled = [min(end + self.right, len(tokens)) for _, end in gaps]
        cuts, opened, closed = sorted({*chain(*gaps), *settled, len(tokens)}), 0, 0
        for begin, end in pairwise(cuts):
            lost = not known[begin]
            opened += lost and known[begin - 1 : begin].all()
            if lost:
                guesses.grow(end - begin)
            elif closed < opened:
                guesses.read(tokens[begin:end])
            else:  # (nothing is to be decided)
                guesses.reader.add(torch.from_numpy(tokens[None, begin:end]))
            while closed < opened and settled[closed] <= end:
                first, last = (place + len(self.before) for place in gaps[closed])
                guesses.settle(slice(first, last), own)
                closed += 1
        return guesses.reader.tokens[0, len(self.before) :].cpu().numpy()


def filler(memory=None, model=None, **options) -> Filler:
    """What fills gaps by a language model."""
    return Filler(model, **options)
