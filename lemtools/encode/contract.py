"""What encoders share: the contract, their history, and images as numbers."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import cached_property
from importlib import import_module
from typing import ClassVar, Self

import numpy as np

from ..signal import Layout, LemError, Signal
from ..signal.layout import Found
from ..stream.files import write_fitted


class Encoder(ABC):
    """What every encoder can be asked. Encodings and memories are batches.

    name: of its row in the catalogue. splits: whether it makes several items of one (windows), which are numbered anew.
    """

    name = ""
    splits = False

    @abstractmethod
    def encode(self, signal: Signal) -> Iterable[Signal]:
        """Batches of what a batch of whole memories is encoded as (texts of one length may differ in tokens)."""

    def decode(self, signal: Signal, record: dict) -> Iterable[Signal]:
        """Batches of what an encoding was made of. record: what `record` said when it was made, or {}."""
        raise LemError(f"{self.name} cannot be inverted")

    def record(self, signal: Signal) -> dict:
        """What a decoder without a file has to know of this batch; it goes into the history as JSON."""
        return {}

    def made(self) -> dict:
        """What to say beside that of the batch that `encode` yielded last."""
        return {}

    def to(self, device: str) -> Self:
        """Compute on this device from now on; an encoder that knows no devices stays where it is."""
        return self

    def remark(self) -> str | None:
        """What the user should know once all is encoded."""
        return None


class Fitted(Encoder):
    """An encoder that is kept in a file: `tensors` and `card` go into it, `restore` makes it again.

    layout: what the file must hold; it is checked before `restore` is called.
    """

    layout: ClassVar[Layout] = Layout()

    @classmethod
    def described(cls, record: dict, found: Found) -> Layout:
        """The same of one file, by its record and the types and shapes of its tensors."""
        return cls.layout

    @classmethod
    @abstractmethod
    def fit(cls, signals: Callable[[], Iterable[Signal]]) -> tuple[Fitted, dict]:
        """(encoder, report by name) of the batches that `signals()` yields, afresh at every call. Takes settings."""

    @classmethod
    @abstractmethod
    def restore(cls, record: dict, tensors: dict[str, np.ndarray]) -> Fitted:
        """The encoder of a file. KeyError, TypeError or ValueError where record and tensors do not fit together."""

    def asked(self) -> Self:
        """The same, used as the options say that are not settled by the fit; takes these."""
        return self

    @abstractmethod
    def tensors(self) -> dict[str, np.ndarray]:
        """What its file holds."""

    @abstractmethod
    def card(self) -> dict:
        """What its file says beside the tensors, as JSON."""

    @cached_property
    def fingerprint(self) -> str:
        """First digits of the SHA-256 of what its file holds: codes say by it which encoder made them."""
        found = hashlib.sha256(json.dumps(self.card(), sort_keys=True).encode())
        for name, tensor in sorted(self.tensors().items()):
            found.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
            found.update(np.ascontiguousarray(tensor).data)
        return found.hexdigest()[:16]

    def save(self, path: str) -> None:
        """One safetensors file, whole or not at all."""
        write_fitted(path, {"v": 1, "encoder": self.name, **self.card()}, self.tensors())


def as_vectors(signal: Signal) -> np.ndarray:
    """float32 [N, D] or [N, L, D]: embeddings as they are; images flattened, with 1 as full scale."""
    if signal.kind != "image":
        return signal.data.astype(np.float32, copy=False)
    scale = np.float32(255) if signal.data.dtype == np.uint8 else np.float32(1)
    return signal.data.reshape(len(signal), -1).astype(np.float32) / scale


def as_image(values: np.ndarray, dtype: str) -> np.ndarray:
    """Images of `dtype` ('uint8' or 'float32') from numbers with 1 as full scale."""
    values = np.clip(values, 0, 1)
    if dtype != "uint8":
        return values.astype(np.float32, copy=False)
    values *= 255
    return np.rint(values, out=values).astype(np.uint8)


def extra(module: str, needed_by: str):
    """A module of the optional extra `llm`; a LemError that says how to install it where it is absent."""
    try:
        return import_module(module)
    except ImportError as error:
        raise LemError(f"{needed_by} needs {module}: pip install 'lemtools[llm]'") from error
