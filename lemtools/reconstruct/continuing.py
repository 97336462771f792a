"""Prompts and lost tokens by a language model, one after another, each drawn from those before it: what comes after is not seen."""

from __future__ import annotations

from time import monotonic

import numpy as np
import torch

from ..nets.draw import draw
from ..nets.model import Model
from ..rng import generators
from ..signal import Signal
from .dream import BUDGET, MOST_ROWS
from .language import Language

MORE = 200  # tokens that a whole item goes on by, where nothing else is said


class Continuer(Language):
    """A language model made ready; called with a batch of tokens, it answers (recalled, steps).

    What is known stays. A lost token is drawn from the model's probabilities after those before it, known or drawn: at least
    half of the model's context, where there are as many (see nets.reader.begins).

    model: a ``Model`` of lem-train lm, or the path of one. samples: 0 for one draw, else draws an item, named NAME#0 ...
    NAME#M-1. temperature: 1 for the model's probabilities, 0 for the likeliest token. top, top_p, typical: which tokens are drawn
    among (see nets.draw.likely); None: all. more: tokens to add behind the end; None: 200 where nothing is lost, else 0. seed: of the
    draws, which are each item's own.
    """

    method = "continue"

    def __init__(
        self,
        model: Model | str,
        *,
        samples: int = 0,
        temperature: float | None = None,
        top: int | None = None,
        top_p: float | None = None,
        typical: float | None = None,
        more: int | None = None,
        seed: int = 0,
        device: str = "auto",
    ):
        super().__init__(model, device)
        self.samples, self.more, self.seed = samples, more, seed
        self.temperature = 1.0 if temperature is None else temperature
        self.among = {"top": top, "top_p": top_p, "typical": typical}

    def __call__(self, signal: Signal) -> tuple[Signal, list[str]]:
        """LemError for what are no tokens, and for one that the model does not know."""
        whole, data, known = self.taken(signal)
        more = MORE * bool(known.all()) if self.more is None else self.more
        each = self.samples or 1
        data, known = (np.pad(x.repeat(each, 0), ((0, 0), (0, more))) for x in (data, known))
        items = np.arange(len(data)) // each
        rows = int(max(1, min(MOST_ROWS, BUDGET // (4 * self.net.room * self.net.context))))
        for start in range(0, len(data), rows):
            here = slice(start, start + rows)
            own = []
            for row in range(start, min(start + rows, len(data))):
                name = f"{self.method}#{row % each}"
                own += generators(self.seed, signal.index[items[row] : items[row] + 1], len(signal.ops), name)
            begun = monotonic()
            data[here] = self._filled(data[here], known[here], own)
            self.timed(begun, int((~known[here]).sum()))
        return self.given(whole, data, self.samples), [self._step(), *([f"{more} more"] if more else [])]

    def blank(self) -> Signal:
        """A prompt of no token, of as many lost ones as are asked for: its draws are samples."""
        length, self.more = MORE if self.more is None else max(self.more, 1), 0
        kind = np.uint16 if self.codec else np.uint8
        return Signal("tokens", np.zeros((1, length), kind), mask=np.zeros((1, length), bool), last=True)

    def _step(self) -> str:
        made = f"{self.samples} draws" if self.samples else "a draw"
        how = "the likeliest" if not self.temperature else f"temperature {self.temperature:g}"
        called = {"top": "among {}", "top_p": "top-p {:g}", "typical": "typical {:g}"}
        among = [called[name].format(value) for name, value in self.among.items() if value and self.temperature]
        return ", ".join([f"{self.method}: {made} by {self.name}, token after token, {how}", *among])

    @torch.inference_mode()
    def _filled(self, data: np.ndarray, known: np.ndarray, own: list[np.random.Generator]) -> np.ndarray:
        """Tokens [R, T] with those that are not known [R, T] drawn."""
        lost = np.flatnonzero(~known.all(0))
        if not len(lost):
            return data
        data = data.copy()
        reader = self.reader(data[:, : lost[0]], graph=self.device.type == "cuda")
        for t in range(int(lost[0]), int(lost[-1]) + 1):
            if len(rows := np.flatnonzero(~known[:, t])):
                logits = reader.logits().float().cpu()[rows, None]  # (a GPU's tensor would be sent its index first)
                drawn = draw(logits, [own[row] for row in rows], self.temperature, **self.among)
                data[rows, t] = drawn[:, 0]
            reader.add(torch.from_numpy(data[:, t : t + 1]))
        return data


def continuer(memory=None, model=None, **options) -> Continuer:
    """What goes on with tokens by a language model."""
    return Continuer(model, **options)
