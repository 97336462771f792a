"""Dense tokens: embeddings as the codes of a residual quantiser (vq.residual), in streams."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from ..device import pick
from ..signal import LemError, Signal
from ..vq.residual import LAYOUT, RVQ
from .contract import Fitted

VALIDATION = 10  # one in so many is kept from a fit, to report on

Source = Callable[[], Iterable[Signal]]


class Dense(Fitted):
    """Embedding [N, D] <-> tokens [N, C], or [N, L, D] <-> [N, L C], position by position.

    C = stages x groups codes, the first stage of all groups first, and one for the gain where there is one; packed at
    as many bits as the largest codebook needs.
    """

    name, layout = "rvq", LAYOUT

    def __init__(self, rvq: RVQ):
        self.rvq = rvq

    @classmethod
    def fit(cls, signals: Source, *, validate: Source | None = None, device: str = "cpu", **settings):
        """settings: of RVQ.fit. validate: what the report is on; None: one in ten is kept for it, the last tenth
        of the positions of sequences, every tenth of single vectors. Returns (Dense, report); the report's `note` says
        where no code of as many bits could be near, and what could.
        """
        if validate:
            learnt, kept = all_vectors(signals), all_vectors(validate)
        else:
            learnt, kept = part(signals, False), part(signals, True)
        rvq = RVQ.fit(learnt, device=pick(device), **settings)
        report = {"fitted-to": rvq.samples, **rvq.report(kept)}
        note = rvq.verdict()
        return cls(rvq), report | ({"note": note} if note else {})

    def tensors(self) -> dict[str, np.ndarray]:
        return self.rvq.tensors()

    def card(self) -> dict:
        return self.rvq.card()

    @classmethod
    def restore(cls, record: dict, tensors: dict[str, np.ndarray]) -> Dense:
        return cls(RVQ.restore(record, tensors))

    def to(self, device: str) -> Dense:
        self.rvq.to(pick(device))
        return self

    @property
    def wide(self) -> int:
        """Codes a vector."""
        return len(self.rvq.levels)

    def record(self, signal: Signal) -> dict:
        positions = signal.data.shape[1] if signal.data.ndim == 3 else None
        return {
            "fitted": True,
            "fit": self.fingerprint,
            "codes": self.wide,
            "vocab": max(self.rvq.levels),
            "bits": round(self.rvq.bits, 6),
            "positions": positions,
        }

    def encode(self, signal: Signal) -> list[Signal]:
        x = signal.data
        codes = self.rvq.encode(x.reshape(-1, x.shape[-1])).reshape(len(x), -1)
        depth = (max(self.rvq.levels) - 1).bit_length()
        return [replace(signal, kind="tokens", data=codes, depth=depth, tokens=None)]

    def decode(self, signal: Signal, record: dict) -> list[Signal]:
        codes, positions = signal.data, record.get("positions")
        if positions is not None and not (type(positions) is int and positions > 0):
            raise LemError(f"damaged record of {self.name}: positions {positions!r}")
        if codes.shape[1] != (positions or 1) * self.wide and codes.shape[1] % self.wide:
            raise LemError(f"{codes.shape[1]} codes an item; this codebook makes {self.wide} a vector")
        if positions is None and codes.shape[1] > self.wide:
            positions = codes.shape[1] // self.wide
        x = self.rvq.decode(codes.reshape(-1, self.wide))
        x = x.reshape(len(codes), -1) if positions is None else x.reshape(len(codes), -1, x.shape[-1])
        return [replace(signal, kind="embedding", data=x, depth=None)]


def all_vectors(signals: Source) -> Callable[[], Iterator[np.ndarray]]:
    """What yields the vectors [n, D] of the batches, afresh at every call."""
    return lambda: (x.reshape(-1, x.shape[-1]) for x in _embeddings(signals))


def part(signals: Source, validation: bool) -> Callable[[], Iterator[np.ndarray]]:
    """As `all_vectors`, of those kept for validation or of the others: the same ones at every call, in any batches.

    Of sequences their ends are kept, since neighbours resemble each other; of single vectors every tenth.
    """

    def read() -> Iterator[np.ndarray]:
        count = 0
        for x in _embeddings(signals):
            if x.ndim == 3 and x.shape[1] >= VALIDATION:
                cut = x.shape[1] - x.shape[1] // VALIDATION
                yield (x[:, cut:] if validation else x[:, :cut]).reshape(-1, x.shape[-1])
                continue
            last = (count + np.arange(len(x))) % VALIDATION == VALIDATION - 1
            count += len(x)
            yield x[last if validation else ~last].reshape(-1, x.shape[-1])

    return read


def _embeddings(signals: Source) -> Iterator[np.ndarray]:
    for signal in signals():
        if signal.kind != "embedding" or signal.ops:
            raise LemError(f"rvq is fitted to whole embeddings, not {signal.kind}{' fragments' if signal.ops else ''}")
        yield signal.data
