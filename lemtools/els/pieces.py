"""Large items cut into pieces of one size that overlap, each weighted by a window: a bank of patches from long sounds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..signal import LemError, Signal
from ..transforms.stft import window

AT_ONCE = 1 << 24  # values of the pieces that are made at a time


@dataclass(frozen=True)
class Pieces:
    """size, hop: of rows and columns. name: of the window, the same along both, as the short-time Fourier transform has
    it; 'rect' leaves values as they are. What is left at the ends of an item and fills no piece is left out."""

    size: tuple[int, int]
    hop: tuple[int, int]
    name: str = "rect"

    def weights(self) -> np.ndarray | None:
        """float32 [rows, columns], the product of the two windows; None for 'rect'."""
        if self.name == "rect":
            return None
        rows, columns = (window(self.name, side) for side in self.size)
        return (rows[:, None] * columns).astype(np.float32)

    def cut(self, signals: Iterable[Signal]) -> Iterator[Signal]:
        """The pieces of items [N, C, H, W], one item after the other, each row by row; numbered anew. Each has the item's
        class and its name with the place of its first row and column, as in 'a.wav@8,512'. Items may be of several sizes;
        all pieces have the history of the first, for how long a sound was says nothing of its pieces. Raises LemError for
        items that are smaller than a piece."""
        count, weights, first = 0, self.weights(), None
        for signal in signals:
            first = first or signal
            if any(n < side for n, side in zip(signal.data.shape[2:], self.size)):
                where = f"{signal.names[0]}: " if signal.names else ""
                shapes = " in ".join("{} x {}".format(*shape) for shape in (self.size, signal.data.shape[2:]))
                raise LemError(f"{where}no piece of {shapes} (rows x columns); give a smaller --patch, or leave it out")
            for k in range(len(signal)):
                for piece in self._pieces(signal, k, weights):
                    count += len(piece)
                    index = np.arange(count - len(piece), count, dtype=np.int64)
                    yield replace(piece, index=index, history=first.history)

    def _pieces(self, signal: Signal, item: int, weights: np.ndarray | None) -> Iterator[Signal]:
        """Those of one item, as many at a time as have AT_ONCE values, but a row of pieces at the least."""
        every = np.lib.stride_tricks.sliding_window_view(signal.data[item], self.size, (1, 2))
        every = every[:, :: self.hop[0], :: self.hop[1]].transpose(1, 2, 0, 3, 4)  # [rows, columns, C, size]
        down, across = every.shape[:2]
        together = max(1, AT_ONCE // int(np.prod(every.shape[1:])))
        for top in range(0, down, together):
            part = every[top : top + together]
            data = part.reshape(-1, *every.shape[2:])
            if weights is not None:
                data = data.astype(np.float32) / (255 if data.dtype == np.uint8 else 1) * weights
            places = [(r * self.hop[0], c * self.hop[1]) for r in range(top, top + len(part)) for c in range(across)]
            name = f"#{int(signal.index[item])}" if signal.names is None else signal.names[item]
            label = None if signal.label is None else np.repeat(signal.label[item : item + 1], len(places))
            data = np.ascontiguousarray(data)
            yield replace(signal, data=data, label=label, names=[f"{name}@{r},{c}" for r, c in places], last=None)
