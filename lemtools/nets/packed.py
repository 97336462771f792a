"""Tables of vectors kept as codes: what their file holds is the codes, packed, and what these decode by.

Shapes: V vocabulary, W width of the vectors; S stages of K codes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from .. import codes


class Packed(nn.Module):
    """A table [V, W] of codes. What it decodes to is made where it is first asked for, and again where a part changed; it is
    of the parts' type, on their device, and no part of the state.

    A subclass registers its parts as buffers, and decodes them. Networks side by side (train.beside) put their own parts in,
    one network after another, and each has its own table.
    """

    apart = True  # from other runs: codes are unpacked outside torch
    codes: torch.Tensor

    def __init__(self, vocabulary: int, width: int):
        super().__init__()
        self.shape = (vocabulary, width)
        self._made: dict[tuple, tuple] = {}  # {addresses of the parts: (their versions, the parts, the table)}

    def decoded(self) -> torch.Tensor:
        """The table [V, W] that the parts stand for."""
        raise NotImplementedError

    def unpacked(self, bits: int, columns: int) -> np.ndarray:
        """Codes [V, columns]."""
        count = self.shape[0] * columns
        return codes.unpack(self.codes.cpu().numpy(), count, bits).reshape(self.shape[0], columns)

    def room(self, bits: int, columns: int) -> None:
        """Register codes of V x columns, all 0."""
        size = codes.packed_size(self.shape[0] * columns, bits)
        self.register_buffer("codes", torch.zeros(size, dtype=torch.uint8))

    def _apply(self, fn, recurse=True):
        self._made = {}
        return super()._apply(fn, recurse)

    def forward(self) -> torch.Tensor:
        parts = list(self.buffers())  # which are held, so that no other has their address
        where, state = tuple(part.data_ptr() for part in parts), tuple(part._version for part in parts)
        if where not in self._made or self._made[where][0] != state:
            with torch.no_grad():
                self._made[where] = state, parts, self.decoded()
        return self._made[where][2]


class Scaled(Packed):
    """Codes of `bits` a number by a quantiser for N(0, 1), and a scale [V] for each row. quantizer: see codes."""

    def __init__(self, vocabulary: int, width: int, quantizer: str, bits: int):
        super().__init__(vocabulary, width)
        self.quantizer, self.bits = quantizer, bits
        self.room(bits, width)
        self.register_buffer("scale", torch.zeros(vocabulary))

    def operation(self, scale: np.ndarray) -> dict[str, Any]:
        """The quantiser, as codes.encode has it. scale: float [V]."""
        return {"bits": self.bits, "quantizer": self.quantizer, "domain": "gaussian", "scale": scale}

    def decoded(self) -> torch.Tensor:
        op = self.operation(self.scale.double().cpu().numpy())
        return torch.from_numpy(codes.decode(self.unpacked(self.bits, self.shape[1]), op)).to(self.scale)

    def fill(self, found: np.ndarray, scale: np.ndarray) -> None:
        """Take codes [V, W] and scales [V]."""
        self.codes.copy_(torch.from_numpy(codes.pack(found.reshape(-1), self.bits)))
        self.scale.copy_(torch.from_numpy(scale))


class Summed(Packed):
    """S codes a row, of K each: a row is the sum of one row of every codebook; books [S, K, W]."""

    def __init__(self, vocabulary: int, width: int, stages: int, size: int):
        super().__init__(vocabulary, width)
        self.stages, self.bits = stages, max(1, (size - 1).bit_length())
        self.room(self.bits, stages)
        self.register_buffer("books", torch.zeros(stages, size, width))

    def decoded(self) -> torch.Tensor:
        found = torch.from_numpy(self.unpacked(self.bits, self.stages).astype(np.int64)).to(self.books.device)
        chosen = found.clamp(max=self.books.shape[1] - 1)  # (a damaged file may have others)
        return sum(book[code] for book, code in zip(self.books, chosen.T, strict=True))

    def fill(self, found: np.ndarray, books: torch.Tensor) -> None:
        """Take codes [V, S] and codebooks."""
        self.codes.copy_(torch.from_numpy(codes.pack(found.reshape(-1), self.bits)))
        self.books.copy_(books)
