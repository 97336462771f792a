"""What all methods that ask a language model share: the model made ready, and the tokens that it is asked of."""

from __future__ import annotations

from dataclasses import replace
from time import monotonic

import numpy as np
import torch

from ..device import pick
from ..encode.text import Text, codec_of, is_text
from ..nets.model import Model
from ..nets.reader import Reader
from ..signal import LemError, Signal
from . import tiles
from .learned import identified

LINE_END = 10


class Language:
    """A model of lem-train lm made ready, or the path of one. LemError for another one.

    Attributes: net, on `device`; name; identity; codec, by which a text is encoded for it, or None; made, tokens that it wrote,
    and seconds, what they took. Before a text of bytes stands a line end, which is not written: so the first byte, too, is one
    that a text may begin with. The first one of other tokens may be any.
    """

    method = ""

    def __init__(self, model: Model | str, device: str = "auto"):
        self.device = torch.device(pick(device))
        model, self.name, self.identity = identified(model)
        if model.family != "language" or not hasattr(model.net, "said"):
            raise LemError(
                f"{self.name}: a model of {model.meta['recipe']} ({model.meta['net']['net']}), which draws no token after "
                f"another; --method {self.method} takes one of lem-train lm --on tokens"
            )
        if "task" in model.meta:
            raise LemError(
                f"{self.name}: a model of a task ({model.meta['task']['task']}), which says states, not what follows"
            )
        self.net = model.net.to(self.device).eval()
        self.codec = codec_of(model.meta.get("unit", "byte"), self.net.vocabulary)
        text = self.net.vocabulary == 256 and not self.codec and model.meta.get("measured", False)
        self.before = [LINE_END] if text else []
        self.made, self.seconds = 0, 0.0

    def taken(self, signal: Signal) -> tuple[Signal, np.ndarray, np.ndarray]:
        """(the batch in its frame, tokens int64 [N, T], bool [N, T] whether they are known). LemError for what are no tokens,
        and for one that the model does not know."""
        if signal.kind != "tokens":
            raise LemError(f"{self.name} goes on with tokens, not with {signal.kind}")
        if signal.alphabet is not None:
            raise LemError(f"{self.name} goes on with text and its tokens, not with symbols of {signal.alphabet.name}")
        if is_text(signal) and self.codec:
            raise LemError(
                f"text, where {self.name} goes on with tokens of {self.net.vocabulary} kinds; give the encoding that it was "
                f"trained by, --codec {self.codec}"
            )
        kinds = [entry["vocab"] for entry in signal.history if isinstance(entry.get("vocab"), int)]
        if kinds and kinds[-1] != self.net.vocabulary:
            raise LemError(
                f"tokens of {kinds[-1]} kinds, where {self.name} knows {self.net.vocabulary}; encode as it was trained"
            )
        whole = tiles.framed(signal)
        data = np.asarray(whole.data, np.int64)
        known = np.broadcast_to(np.True_ if whole.mask is None else whole.mask != 0, data.shape)
        bad = data[known & ((data < 0) | (data >= self.net.vocabulary))]
        if len(bad):
            raise LemError(f"token {bad[0]}, where {self.name} knows 0 to {self.net.vocabulary - 1}")
        return whole, data, known

    def suits(self, coder: Text) -> None:
        """LemError for an encoding of as many tokens that stand for other bytes."""
        if not coder.fits(self.net.lengths.cpu().numpy()):
            raise LemError(
                f"--codec: its tokens are not those of {self.name}, which was learnt with other byte pairs; give the encoding that "
                "it was trained by"
            )

    def reader(self, tokens: np.ndarray, graph: bool = False) -> Reader:
        """Of rows of tokens [R, T], to go on with."""
        before = np.broadcast_to(np.asarray(self.before, np.int64), (len(tokens), len(self.before)))
        return Reader(self.net, torch.from_numpy(np.concatenate([before, tokens], 1)), graph)

    def given(self, whole: Signal, data: np.ndarray, samples: int) -> Signal:
        """The tokens [N, T], of N draws an item where there are samples, as whole memories."""
        out = tiles.repeated(whole, samples) if samples else whole
        kind = whole.whole_dtype if data.max(initial=0) <= np.iinfo(whole.whole_dtype).max else np.dtype(np.int64)
        return replace(out, data=data.astype(kind, copy=False), mask=None, codes=None, ops=[])

    def speed(self) -> str:
        """How fast tokens were written, in words; empty where there were none."""
        return f"{self.made} tokens, {self.made / self.seconds:.0f} a second" if self.made and self.seconds else ""

    def timed(self, begun: float, tokens: int) -> None:
        """Count tokens that were written since a time of `monotonic`."""
        self.made, self.seconds = self.made + tokens, self.seconds + monotonic() - begun
