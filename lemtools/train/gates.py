"""Whether a language model learns as one must, before any number of it is printed: lem-train lm --gates.

Every gate is met by a model that is sound, and by which a defect of one kind is caught: one that sees what it is asked for,
does not learn, learns in part, or whose loss is not what it is called. Each works on a copy of the run's objective as it
stands; neither the run nor torch's generator is changed. Losses are what the run's own log would report, bits a byte (or base,
or token), and are held against counts of the text that no network sees.

A gate is a function of a Subject that returns (whether it is passed, what was found in a few words).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..rng import generator
from ..signal import LemError
from .corpus import Corpus, Windows
from .texts import Language

WINDOWS = 32  # that are measured, or learnt from at a time
SHORT = 32  # tokens of a window, where a copy learns: what is wrong shows in a few
LEAST = 0.002  # the share of what counts of single tokens take by which a model must be better
UPDATES = 200  # of a copy on text in random order,
ABOVE, BELOW = 0.05, 0.02  # after which its loss is so much, in shares of it, above or below that of counts
HEART, ROUNDS = (
    400,
    5,
)  # updates by which a row is learnt by heart, and how often so many (codes of one number take some),
KNOWN = 0.01  # to less than this share of what counts of single tokens take
STILL = 1e-4  # the share of the logits' own size by which those before a changed token may move
STEP, SLOPE = 1e-5, 1e-4  # of a difference quotient in float64; how far, in its own size, it may be from the gradient

Gate = Callable[["Subject"], tuple[bool, str]]


class Failed(LemError):
    """A model that is not to be measured."""


@dataclass
class Subject:
    """goal: the objective, which is only measured. learnt: tokens [n] of the text; lengths [V]: bytes of each, None: not known; windows:
    int64 [N, T + 1] that were not learnt, where there are such. lr: of copies that learn. learns: what of the embedding has
    to learn."""

    goal: Language
    learnt: np.ndarray
    lengths: np.ndarray | None
    windows: torch.Tensor
    lr: float
    learns: tuple[str, ...]
    seed: int = 0

    def fresh(self) -> Language:
        """A copy, to learn or to change."""
        return copy.deepcopy(self.goal)

    def draws(self, what: str) -> np.random.Generator:
        return generator(self.seed, 0, 0, f"gate {what}")

    def counted(self, windows: torch.Tensor) -> float:
        """Bits a byte of the tokens asked for in windows, by how often the learnt text has each: Witten and Bell's
        smoothing without a context (Method C; IEEE Trans. Inf. Theory 37, 1991)."""
        counts = np.bincount(self.learnt, minlength=self.goal.net.vocabulary).astype(float)
        counts += (counts > 0).sum() / len(counts)
        asked = windows[:, 1:].cpu().numpy()
        sizes = np.ones(asked.shape) if self.lengths is None else self.lengths[asked]
        return float(-np.log2(counts / counts.sum())[asked].sum() / sizes.sum())

    @torch.no_grad()
    def loss(self, goal: Language, windows: torch.Tensor) -> float:
        """Bits a byte, as the log has them."""
        found = [goal.measure({"target": part})[f"bits_per_{goal.unit}"] for part in windows.split(WINDOWS)]
        bits, sizes = (torch.cat(part).double().sum() for part in zip(*found, strict=True))
        return float(bits / sizes)

    def teach(self, goal: Language, batches: Callable[[], torch.Tensor], updates: int) -> None:
        """Update a copy by batches(), at a rate that falls to 0."""
        optimizer = torch.optim.Adam(goal.parameters(), lr=self.lr, betas=(0.9, 0.99))
        for step in range(updates):
            optimizer.param_groups[0]["lr"] = self.lr * (1 - step / updates)
            optimizer.zero_grad(set_to_none=True)
            goal({"target": batches()}).mean().backward()
            optimizer.step()


def unigram(subject: Subject) -> tuple[bool, str]:
    """Windows that were not learnt take less than by counts of single tokens."""
    loss, counted = subject.loss(subject.goal, subject.windows), subject.counted(subject.windows)
    return loss < (1 - LEAST) * counted, f"{loss:.4g} bits, by counts {counted:.4g}"


def shuffled(subject: Subject) -> tuple[bool, str]:
    """On the text in random order, where nothing is to be known of a token but how often it is there, a copy comes to what
    counts take, and no lower: one that sees what it is asked for does, and so does a loss that is a formula."""
    goal, draws = subject.fresh(), subject.draws("shuffled")
    span = min(SHORT, subject.windows.shape[1] - 1) + 1

    def drawn(rows: int = WINDOWS) -> torch.Tensor:
        found = subject.learnt[draws.integers(len(subject.learnt), size=(rows, span))]
        return torch.from_numpy(found.astype(np.int64)).to(subject.windows.device)

    subject.teach(goal, drawn, UPDATES)
    windows = drawn(8 * WINDOWS)
    loss, counted = subject.loss(goal, windows), subject.counted(windows)
    return -BELOW <= loss / counted - 1 <= ABOVE, f"{loss:.4g} bits, by counts {counted:.4g}"


def by_heart(subject: Subject) -> tuple[bool, str]:
    """A copy learns one row of tokens by heart: the most frequent ones, each of them once, in random order.

    Every token then follows from the one before it. In a window of text it does not: where one begins with the same token
    twice, attention sees the same vector at both places, and what follows them cannot be told apart; and what follows a
    token that is there n times waits at log2 n bits until attention has learnt to tell the n places apart.
    """
    goal, counts = subject.fresh(), np.bincount(subject.learnt)
    span = min(SHORT, subject.windows.shape[1] - 1) + 1
    often = np.argsort(-counts, kind="stable")[: min(span, np.count_nonzero(counts))]
    row = torch.from_numpy(subject.draws("by heart").permutation(often)[None].astype(np.int64))
    row = row.to(subject.windows.device)
    most = KNOWN * subject.counted(row)
    for _ in range(ROUNDS):
        subject.teach(goal, lambda: row, HEART)
        if (loss := subject.loss(goal, row)) < most:
            break
    return loss < most, f"{loss:.4g} bits, where {most:.4g} are the most"


def reached(subject: Subject) -> tuple[bool, str]:
    """A gradient, finite and not 0, reaches every parameter, those among them that are to learn."""
    goal = subject.fresh()
    goal.zero_grad(set_to_none=True)
    goal({"target": subject.windows[:WINDOWS]}).mean().backward()
    parameters = dict(goal.named_parameters())
    missing = [
        f"enter.{part}" for part in subject.learns if not any(k.startswith(f"net.enter.{part}") for k in parameters)
    ]
    for name, p in parameters.items():
        size = 0.0 if p.grad is None else float(p.grad.double().norm())
        if not 0 < size < np.inf:
            missing.append(name.removeprefix("net."))
    return (
        not missing,
        f"none, or none that is finite, for {', '.join(missing)}" if missing else f"{len(parameters)} of them",
    )


@torch.no_grad()
def causal(subject: Subject) -> tuple[bool, str]:
    """A changed token moves logits at its own place, and none before it."""
    goal, draws = subject.fresh(), subject.draws("causal")
    goal.settle()
    tokens = subject.windows[:4, :-1]
    logits = goal.net(tokens).float()
    before, own, size = 0.0, np.inf, float(logits.std()) + 1e-30
    for place in {0, tokens.shape[1] - 1, *draws.integers(tokens.shape[1], size=6).tolist()}:
        other = tokens.clone()
        other[:, place] = torch.from_numpy(draws.choice(subject.learnt, len(tokens)).astype(np.int64)).to(other)
        same = other[:, place] == tokens[:, place]
        other[same, place] = (other[same, place] + 1) % goal.net.vocabulary
        moved = (goal.net(other).float() - logits).abs().amax(2) / size
        before = max(before, float(moved[:, :place].amax()) if place else 0.0)
        own = min(own, float(moved[:, place].amax()))
    found = f"logits before it move by {before:.2g} of their size, its own by {own:.2g}"
    return before <= STILL < own, found


def slopes(subject: Subject) -> tuple[bool, str]:
    """In float64 the gradient of the embedding, of its vectors and of what makes them, is the difference quotient."""
    goal = subject.fresh().double()
    draws = subject.draws("slopes")
    windows = subject.windows[:2, :9]
    shape = (len(windows), windows.shape[1] - 1, goal.net.enter.width)
    there = torch.zeros(shape, dtype=torch.float64, device=windows.device, requires_grad=True)
    goal.net.enter.register_forward_hook(lambda module, given, vectors: vectors + there)
    groups = {"vectors": [there], "parameters": [p for p in goal.net.enter.parameters() if p.requires_grad]}
    worst = 0.0
    for group in filter(None, groups.values()):
        ways = [torch.from_numpy(draws.standard_normal(tuple(p.shape))).to(p) for p in group]
        found = torch.autograd.grad(goal({"target": windows}).mean(), group, allow_unused=True)
        slope = sum(float((g * way).sum()) for g, way in zip(found, ways, strict=True) if g is not None)
        size = sum(float((g * way).square().sum()) for g, way in zip(found, ways, strict=True) if g is not None) ** 0.5
        with torch.no_grad():
            ends = []
            for sign in (1, -1):
                torch._foreach_add_(group, ways, alpha=sign * STEP)
                ends.append(float(goal({"target": windows}).mean()))
                torch._foreach_add_(group, ways, alpha=-sign * STEP)
        worst = max(worst, abs((ends[0] - ends[1]) / (2 * STEP) - slope) / max(size, 1e-12))
    return worst < SLOPE, f"off by {worst:.2g} of its size"


GATES: dict[str, Gate] = {
    "unigram": unigram,
    "shuffled text": shuffled,
    "a row by heart": by_heart,
    "gradient for every parameter": reached,
    "causal": causal,
    "gradient of the embedding": slopes,
}


def check(subject: Subject) -> str:
    """What all gates found, in one line. Failed, in one line, where one is not passed."""
    found = {name: gate(subject) for name, gate in GATES.items()}
    if failed := [f"{name}: {said}" for name, (passed, said) in found.items() if not passed]:
        raise Failed(
            f"failed {'; '.join(failed)}. No model is left; one that is only slow to learn wants a larger --gates"
        )
    return "; ".join(f"{name}: {said}" for name, (_, said) in found.items())


def subject(run: Any, learnt: Corpus, windows: Windows, learns: tuple[str, ...]) -> Subject:
    """Of a run as it stands. windows: those kept back, or else those learnt."""
    some = np.linspace(0, len(windows) - 1, min(len(windows), 4 * WINDOWS)).astype(int)
    tokens = torch.from_numpy(np.stack([windows[i] for i in some]).astype(np.int64)).to(run.device)
    settings = run.settings
    return Subject(run.objective, learnt.tokens, learnt.lengths, tokens, settings.lr, learns, settings.seed)
