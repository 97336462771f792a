"""Encoders at work on streams: batches in, batches out, their history kept so that an encoding can be undone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from ..catalogue import listed
from ..catalogue.encoders import ENCODERS
from ..signal import LemError, Signal, bits_per_element
from ..transforms.history import latest
from .contract import Encoder

PART = 4096  # items encoded or decoded at a time: what comes out may be far larger than what went in


class Coder:
    """An encoder at work on a stream: called with one batch after the other, it yields batches.

    encoder: an encoder, or None to decode by the latest encoding in the history. history: this stage's entry, to which
    the encoder's record is added.
    """

    def __init__(self, encoder: Encoder | None = None, *, decode: bool = False, history: dict | None = None):
        self.encoder, self.decode, self.history, self.count = encoder, decode, history or {}, 0

    def __call__(self, signal: Signal) -> Iterator[Signal]:
        before = None  # the last batch that is made takes over whether the stream ends here
        for start in range(0, max(len(signal), 1), PART):
            part = signal if len(signal) <= PART else signal.take(slice(start, start + PART))
            for out in self._made(part):
                if before is not None:
                    yield before
                before = out
        if before is not None:
            before.last = signal.last
            yield before

    def _made(self, signal: Signal) -> Iterator[Signal]:
        coder = self.encoder
        if self.decode:
            record = latest(signal.history, coder and coder.name)
            coder = coder or _unfitted(record, signal.kind)
            back = ENCODERS.find(coder.name).back
            _check(signal, back, f"{coder.name} decodes" if back else f"{coder.name} cannot be inverted:")
            made, entry = coder.decode(signal, record or {}), {"decoded": coder.name}
        else:
            _check(signal, ENCODERS.find(coder.name).kinds, f"{coder.name} encodes")
            made, entry = coder.encode(signal), {"encoder": coder.name, **coder.record(signal)}
        for out in made:
            history = [*signal.history, {**self.history, **entry, **({} if self.decode else coder.made())}]
            if coder.splits and not self.decode:
                out.index = self.count + np.arange(len(out), dtype=np.int64)
            self.count += len(out)
            yield replace(out, history=history, cost=_cost(signal, out) if self.decode else None, last=None)


def encode(signals: Iterable[Signal], encoder: Encoder, history: dict | None = None) -> Iterator[Signal]:
    """Yield the batches of `signals` encoded; their history says how.

    An encoder that makes several items of one (windows, lines) numbers them anew. Raises LemError for a kind of memory
    that it does not read, and for a fragment: what is lost has to be recalled first.
    """
    coder = Coder(encoder, history=history)
    for signal in signals:
        yield from coder(signal)


def decode(signals: Iterable[Signal], encoder: Encoder | None = None, history: dict | None = None) -> Iterator[Signal]:
    """Yield the batches of `signals` decoded by `encoder`, or by the latest encoding in their history.

    What the codes took is kept as `cost`, in bits per element of what they decode to.
    """
    coder = Coder(encoder, decode=True, history=history)
    for signal in signals:
        yield from coder(signal)


def _unfitted(record: dict | None, kind: str) -> Encoder:
    if record is None and kind == "spectrum":
        made = listed(row.name for row in ENCODERS.rows if row.front)
        raise LemError(f"nothing in its history says what made this spectrum; what lem-encode makes ({made}) says it")
    if record is None:
        raise LemError("nothing in its history says how it was encoded; name what to decode with: --model FILE")
    if record.get("fitted"):
        raise LemError(f"encoded by a fitted {record['encoder']}; name its file: --model FILE")
    row = ENCODERS.find(record["encoder"])
    if not row.back:
        raise LemError(f"{row.name} cannot be inverted")
    if row.made:
        raise LemError(f"encoded by {row.name}, which needs {row.made}")
    return row.load()()


def _check(signal: Signal, kinds: tuple[str, ...], does: str) -> None:
    if signal.kind not in kinds:
        others = [row.name for row in ENCODERS.rows if signal.kind in row.kinds and does.endswith("encodes")]
        way = f"; --encoder {' or '.join(others)} does" if others else ""
        raise LemError(f"{does} {' or '.join(kinds) or 'nothing'}, not {signal.kind}{way}")
    if signal.alphabet is not None:
        raise LemError(f"{does} {' or '.join(kinds)}, not symbols of {signal.alphabet.name} with their times")
    if signal.ops:
        raise LemError(f"{does} whole memories, not fragments; recall them first (lem-reconstruct)")


def _cost(coded: Signal, decoded: Signal) -> np.ndarray | None:
    """Bits per element of what was decoded, where codes or a fragment of them were paid for; None where nothing was."""
    if coded.kind != "tokens" and coded.cost is None:
        return None
    bits = dict(zip(coded.index.tolist(), bits_per_element(coded) * coded.data[0].size))
    return np.array([bits[i] for i in decoded.index.tolist()]) / decoded.data[0].size
