"""How often a model of a task is right, by the length of the sequence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch

from ..catalogue.tasks import PREFIX
from ..nets.breaking import breaking
from ..nets.model import Model
from ..signal import LemError
from .answers import last
from .tasks import Asking, Parts, Stream, task

LENGTHS = (40, 80, 160, 400)


@dataclass(frozen=True)
class Answered:
    """Of sequences of `length` symbols. right: bool [N], whether the last answer is; share: of all answers that are.
    chance: how often a guess is right; majority: how often the state is that most others have (of as many sequences that
    are not among these). bits: of a thought, as it was broken; None where none was."""

    length: int
    right: np.ndarray
    share: float
    chance: float
    majority: float
    bits: float | None = None


@torch.no_grad()
def by_length(
    model: Model,
    lengths: Sequence[int] = LENGTHS,
    count: int = 1024,
    seed: int = 0,
    batch: int = 64,
    broken: Sequence[dict] = (),
) -> Iterator[Answered]:
    """Answers of a model of lem-train lm --data task:NAME to `count` sequences of each length, asked and paused as those that
    it has learnt, symbols one after the other. They follow from the seed alone, and none is learnt or kept back. The batch
    changes nothing, but where thoughts are shuffled across it (catalogue.thoughts).

    broken: operations of fragment.fragment by which thoughts are broken at every position before they are carried on, each by
    itself (nets.breaking); the seed fixes what they draw.

    LemError for a model of no task, for a length that the task or the model's context does not take, and for thoughts that are
    to be broken where there are none.
    """
    device = next(model.net.parameters()).device
    for length in lengths:
        tested, others = (stream(model, length, count, seed, part) for part in ("tested", "counted"))
        right, shares, bits = [], [], None
        for start in range(0, count, batch):
            items = np.stack([tested[i] for i in range(start, min(start + batch, count))])
            parts = Parts.of(torch.from_numpy(items).to(device))
            with breaking(model.net, broken, seed) if broken else nullcontext() as broke:
                if broke is not None:
                    broke.first = start
                answers = model.net(parts.symbols, parts.places).argmax(-1)
            bits = None if broke is None else broke.bits
            good = (answers == parts.states) & parts.asked
            right.append(good.gather(1, last(parts.asked)[:, None])[:, 0].cpu().numpy())
            shares.append((good.sum(1) / parts.asked.sum(1)).cpu().double().numpy())
        likely = np.bincount(_ends(others)).argmax()
        yield Answered(
            length,
            np.concatenate(right),
            float(np.concatenate(shares).mean()),
            tested.task.chance(length),
            float((_ends(tested) == likely).mean()),
            bits,
        )


def stream(model: Model, length: int, count: int, seed: int = 0, part: str = "tested") -> Stream:
    """Sequences of `length` symbols of the task that a model has learnt, asked and paused as it has learnt it, symbols one after
    the other. part: a name, of which each has sequences of its own. LemError as of by_length.
    """
    if "task" not in model.meta:
        raise LemError(
            f"a model of {model.meta.get('recipe')}, which has learnt no task; lem-train lm --data task:parity does"
        )
    facts = model.meta["task"]
    asked = task(PREFIX + facts["task"], facts["context"] // (1 + facts["pause"]))
    rest = {"every": facts["every"], "pause": facts["pause"], "context": facts["context"]}
    return Stream(asked, Asking(length, length, **rest), count, seed, part)


def _ends(stream: Stream) -> np.ndarray:
    """The state at the end of every sequence."""
    return np.array([stream[i][1, -1] for i in range(len(stream))])
