"""What a file of tensors holds, described once a format: the values of its record, and its tensors by name, type and
shape. Every reader checks by it where the file is opened, before anything is made of what the file says.

    CODEBOOK = Layout(
        {"codes": Value("whole", 2, 65536), "whiten": Value("flag")},
        {"mean": Tensor("F32", "D"), "basis": Tensor("F32", "R D"), "gains": Tensor("F32", "?", needed=False)},
    )
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..catalogue.errors import LemError
from .types import BF16, NAMES

Found = Mapping[str, tuple[str, tuple[int, ...]]]  # (type on the wire, shape) of tensors by name

FLOATS = ("F16", BF16, "F32", "F64")
WHOLES = ("U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64")
_FAMILIES = {"float": FLOATS, "whole": WHOLES, "any": (*FLOATS, *WHOLES, "BOOL")}
_PLAIN = {"text": str, "flag": bool, "list": list, "object": dict}
_LARGEST = sys.float_info.max


class Value(NamedTuple):
    """A value of a record. type: 'whole', 'number' (finite), 'text', 'flag', 'list', 'object', 'sizes' (a list of whole
    numbers), 'objects' (a list of objects), or the words that it may be. low, high: of a number, or each of the sizes."""

    type: str | tuple[str, ...]
    low: float = -_LARGEST
    high: float = _LARGEST
    needed: bool = True

    def fits(self, value: Any) -> bool:
        """Whether a value, as JSON has it, is one of these."""
        if isinstance(self.type, tuple):
            return isinstance(value, str) and value in self.type
        if self.type in ("sizes", "objects"):
            each = Value("whole", self.low, self.high) if self.type == "sizes" else Value("object")
            return isinstance(value, list) and all(map(each.fits, value)) and (bool(value) or self.type == "objects")
        if self.type in ("whole", "number"):
            return type(value) in ((int,) if self.type == "whole" else (int, float)) and self.low <= value <= self.high
        return isinstance(value, _PLAIN[self.type])


class Tensor(NamedTuple):
    """A tensor. types: safetensors' name of its type, or 'float', 'whole' or 'any'. shape: a size an axis: a number, a
    word (the same size wherever it stands, the record's where it has such a value; 'n+1' is one more), '?' for any,
    '...' at the end for any further axes. low, high: of its values."""

    types: str
    shape: str
    low: float = -_LARGEST
    high: float = _LARGEST
    needed: bool = True


class Layout(NamedTuple):
    """A format. record: values by key; tensors: by name, 'part.*' for any that begin so, and 'part.*key' for part.0,
    part.1, ... as many as the record's `key` says. What is not described is not checked. finite: no NaN or infinity.
    wrong: what a file is called that is not so."""

    record: Mapping[str, Value] = {}
    tensors: Mapping[str, Tensor] = {}
    finite: bool = True
    wrong: str = "damaged"

    def check(self, record: Mapping[str, Any], found: Found) -> None:
        """Raise LemError, in a few words, where a record or the header of the tensors is not as described."""
        for key, value in self.record.items():
            if value.needed and key not in record:
                raise LemError(f"its record has no {key!r}")
            if key in record and not value.fits(record[key]):
                raise LemError(f"its record's {key} is {str(record[key])[:40]!r}")
        sizes = {key: value for key, value in record.items() if type(value) is int}
        for name, tensor in self._named(sizes, found):
            if name in found:
                _fit(name, tensor, *found[name], sizes)
            elif tensor.needed:
                raise LemError(f"no tensor {name}")

    def check_values(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Raise LemError for NaN and infinity, and for values beyond what is described."""
        for name, array in tensors.items():
            if self.finite and array.dtype.kind == "f" and not np.isfinite(array).all():
                raise LemError(f"NaN or infinite values in {name}")
        for name, tensor in self._named({}, tensors):
            if (tensor.low, tensor.high) == (-_LARGEST, _LARGEST) or name not in tensors or not tensors[name].size:
                continue
            least, most = float(tensors[name].min()), float(tensors[name].max())
            if not (tensor.low <= least and most <= tensor.high):
                raise LemError(f"values of {name} from {least} to {most}")

    def _named(self, sizes: Mapping[str, int], found: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
        for pattern, tensor in self.tensors.items():
            begin, star, count = pattern.partition("*")
            if count in sizes:
                yield from ((f"{begin}{i}", tensor) for i in range(min(sizes[count], len(found) + 1)))
            elif star:
                yield from ((name, tensor) for name in found if name.startswith(begin))
            else:
                yield pattern, tensor


def of_arrays(tensors: Mapping[str, np.ndarray]) -> Found:
    """The same of arrays in memory."""
    return {name: (NAMES.get(a.dtype.newbyteorder("="), str(a.dtype)), a.shape) for name, a in tensors.items()}


def _fit(name: str, tensor: Tensor, dtype: str, shape: tuple[int, ...], sizes: dict[str, int]) -> None:
    """Compare a tensor with its description; sizes that are met for the first time are kept."""
    wanted = tensor.shape.split()
    if dtype not in _FAMILIES.get(tensor.types, tensor.types.split("|")):
        raise LemError(f"{name} is {dtype}, not {tensor.types}")
    if wanted[-1:] == ["..."]:
        wanted = wanted[:-1] + ["?"] * (len(shape) - len(wanted) + 1)
    good = len(wanted) == len(shape)
    for word, size in zip(wanted, shape) if good else ():
        word, more = (word[:-2], 1) if word.endswith("+1") else (word, 0)
        if word != "?":
            good = good and size == (int(word) if word.isdigit() else sizes.setdefault(word, size - more)) + more
    if not good:
        known = " ".join(f"{k}={sizes[k]}" for k in dict.fromkeys(w.removesuffix("+1") for w in wanted) if k in sizes)
        raise LemError(f"{name} has the shape {list(shape)}, not [{tensor.shape}]{f' with {known}' if known else ''}")
