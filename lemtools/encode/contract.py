"""What encoders share: the contract, their history, and images as numbers."""

import numpy as np

from ..signal import LemError, Signal
from ..stream.files import write_fitted


class Encoder:
    """Defaults of an encoder; see the package's docstring."""

    name = ""
    reads: tuple[str, ...] = ()
    back: tuple[str, ...] = ()
    fitted = False
    splits = False  # True: makes several items of one

    def record(self, signal: Signal) -> dict:
        return {}


class Fitted(Encoder):
    """An encoder kept in a file: `tensors()` and `card()` go into it, `restore(record, tensors)` makes it again."""

    fitted = True

    def save(self, path: str) -> None:
        write_fitted(path, {"v": 1, "encoder": self.name, **self.card()}, self.tensors())


def latest(history: list[dict], name: str | None = None) -> dict | None:
    """The entry of the latest encoding (by `name`) that was not undone since; None where there is none."""
    undone: list[str] = []
    for entry in reversed(history):
        if "decoded" in entry:
            undone.append(entry["decoded"])
        elif (made := entry.get("encoder")) is not None:
            if made in undone:
                undone.remove(made)
            elif name in (None, made):
                return entry
    return None


def vectors(signal: Signal) -> np.ndarray:
    """float32 [N, D] or [N, L, D]: embeddings as they are; images flattened, with 1 as full scale."""
    if signal.kind != "image":
        return signal.data.astype(np.float32, copy=False)
    scale = np.float32(255) if signal.data.dtype == np.uint8 else np.float32(1)
    return signal.data.reshape(len(signal), -1).astype(np.float32) / scale


def as_image(values: np.ndarray, dtype: str) -> np.ndarray:
    """Images of `dtype` ('uint8' or 'float32') from numbers with 1 as full scale."""
    values = np.clip(values, 0, 1)
    return np.rint(values * 255).astype(np.uint8) if dtype == "uint8" else values.astype(np.float32)


def extra(module: str, needed_by: str):
    """A module of the optional extra `llm`; a LemError that says how to install it where it is absent."""
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise LemError(f"{needed_by} needs {module}: pip install 'lemtools[llm]'") from error
