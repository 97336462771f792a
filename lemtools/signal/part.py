"""What of a model a batch holds: a tensor by its name, or what lies beside the tensors."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..catalogue.errors import LemError
from .layout import FLOATS, Layout, Value
from .types import bits_of

_MOST = 2**48  # elements that a record may speak of
RECORD = Layout(
    {
        "file": Value("text"),
        "what": Value(("tensor", "head", "file")),
        "name": Value("text"),
        "type": Value("text"),
        "shape": Value("list"),
    }
)


class Part(NamedTuple):
    """A part of a model: one document of a stream.

    file: its path in the model's folder, '/' between. what: 'tensor', one of the file; 'head', the bytes in front of a
    file's tensors, which say which ones follow, in which order; 'file', a whole file that holds no tensors. name, type,
    shape: of a tensor, the type by safetensors' name; of all else '', 'U8' and [bytes].

    A tensor that may lose something is an embedding [rows, D], D the product of all axes but the first. What is carried
    along travels as its bytes: tokens uint8 [1, bytes], a single 0 where there are none.
    """

    file: str
    what: str
    name: str = ""
    type: str = "U8"
    shape: tuple[int, ...] = (0,)

    @property
    def elements(self) -> int:
        """Numbers in it."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """What it takes in its file."""
        return self.elements * (bits_of(self.type) or 0) // 8

    def check(self, kind: str, data: np.ndarray) -> None:
        """Raise LemError where a batch cannot be this part."""
        if kind == "tokens":
            fits = data.dtype == np.uint8 and data.shape == (1, max(self.bytes, 1))
        else:
            fits = kind == "embedding" and data.ndim == 2 and self.what == "tensor" and self.type in FLOATS
        if not fits:
            raise LemError(
                f"{kind} {list(data.shape)} of {data.dtype} is not {self.what} {self.name or self.file} of a model"
            )

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**self._asdict(), "shape": list(self.shape)}

    @classmethod
    def read(cls, record: dict[str, Any]) -> Part:
        """Inverse of `record`. Raises LemError where it is none."""
        try:
            RECORD.check(record, {})
            part = cls(record["file"], record["what"], record["name"], record["type"], tuple(record["shape"]))
            sizes = all(type(n) is int and 0 <= n <= _MOST for n in part.shape)
            if not (part.file and bits_of(part.type) is not None and sizes and part.elements <= _MOST):
                raise LemError(f"of {str(record)[:60]}")
        except LemError as error:
            raise LemError(f"damaged document (part: {error})") from error
        return part
