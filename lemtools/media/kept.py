"""Memories that are fragments, kept as what they cost: packed codes, of which rows are decoded when they are asked for."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import codes as _codes
from ..catalogue import listed
from ..catalogue.operations import QUANTISERS
from ..signal import LemError, Signal, narrow

TAKEN = ("bits", "keep-dims")  # operations after which every memory of a store still has the same elements
FEW = 4096  # memories that are unpacked at a time


class Rows:
    """An array [N, ...item] of which rows are made when they are asked for: by a number, a slice or an integer array."""

    shape: tuple[int, ...]
    dtype: np.dtype
    costly = True  # a row costs more than its read

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, rows: Any) -> np.ndarray:
        one = isinstance(rows, int | np.integer)
        made = self.made(np.array([rows]) if one else rows if isinstance(rows, slice) else np.asarray(rows))
        return made[0] if one else made

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:] if dtype is None else self[:].astype(dtype, copy=False)

    def made(self, rows: slice | np.ndarray) -> np.ndarray:
        """The rows of a slice or of an array [K] of numbers."""
        raise NotImplementedError


class Kept(Rows):
    """Memories that are decoded when they are asked for.

    one: a batch of a single one of them, which says what they all are. held: [N, bytes] of packed codes, or the values
    themselves [N, ...]. bits: of a code; None: they are values. ops: what was taken away, with the arrays [N, ...] that
    belong to the memories one by one. label: their classes [N], or None. Decoded are the middle of the bin or the
    centroid, and 0 where a dimension is lost; `known` says which are not.
    """

    def __init__(self, one: Signal, held: np.ndarray, bits: int | None, ops: list[dict[str, Any]], label=None):
        self.one, self.held, self.bits, self.ops, self.label = one, held, bits, ops, label
        self.lying = one.data.shape[1:]  # of an item as it is held
        self.shape = (len(held), *one.whole_shape)
        self.dtype, self.kind, self.history = one.data.dtype, one.kind, one.history

    @property
    def nbytes(self) -> int:
        """What is held: codes, and the scales and codebooks that belong to single memories."""
        beside = sum(v.nbytes for op in self.ops for v in op.values() if isinstance(v, np.ndarray))
        return self.held.nbytes + beside

    @property
    def known(self) -> np.ndarray | None:
        """bool, of an item's shape: dimensions that the memories have; None: all."""
        if self.lying == self.shape[1:]:
            return None
        known = np.zeros(self.shape[1:], bool)
        known[..., : self.lying[-1]] = True
        return known

    def made(self, rows: slice | np.ndarray) -> np.ndarray:
        held = self.held[rows]
        values = held if self.bits is None else self._decoded(held, rows)
        if self.lying == self.shape[1:]:
            return values
        whole = np.zeros((len(values), *self.shape[1:]), values.dtype)
        whole[..., : self.lying[-1]] = values
        return whole

    def _decoded(self, held: np.ndarray, rows: slice | np.ndarray) -> np.ndarray:
        codes = _codes.unpack_rows(held, math.prod(self.lying), self.bits or 0).reshape(-1, *self.lying)
        if self.kind == "tokens":
            return codes.astype(self.dtype, copy=False)
        op = next(op for op in reversed(self.ops) if op["op"] == "bits")
        return _codes.decode(
            codes, {key: _wide(value[rows]) if _is_array(value) else value for key, value in op.items()}
        )


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)


def kept(batches: Iterable[Signal], where: str) -> Kept:
    """What fragments of --bits and --keep-dims, or tokens, take, and no more. where: what they are of, in errors.

    Raises LemError for other fragments, and for memories that were not all made alike.
    """
    first: Signal | None = None
    held, ops, label, bits = [], [], [], None
    for signal in batches:
        if (other := next((op["op"] for op in signal.ops if op["op"] not in TAKEN), None)) is not None:
            raise LemError(
                f"{where}: fragments of --{other}; a store takes whole memories, and fragments of "
                f"{listed(f'--{name}' for name in TAKEN)}"
            )
        if first is None:
            first, bits = signal.take([0]), _bits(signal)
        elif (differ := _unlike(first, signal)) is not None:
            raise LemError(f"{where}: memories that differ in {differ}; a store holds such as were made alike")
        held += [_packed(signal.take(slice(i, i + FEW)), bits) for i in range(0, len(signal), FEW)]
        ops.append(signal.ops)
        label.append(signal.label)
    if first is None:
        raise LemError(f"{where}: no memories")
    joined = [{key: _joined([each[i][key] for each in ops]) for key in op} for i, op in enumerate(ops[0])]
    classes = None if any(each is None for each in label) else np.concatenate(label)
    return Kept(first, np.concatenate(held), bits, joined, classes)


def _bits(signal: Signal) -> int | None:
    """Bits of a code, of memories of several depths the most; None where values are held."""
    if signal.kind == "tokens":
        return signal.depth if signal.depth is not None and signal.depth <= _codes.MAX_BITS else None
    if signal.code_op is None:
        return None
    op = signal.code_op
    if np.ndim(op["bits"]) == 0:
        return int(op["bits"])
    return 8 if op["domain"] == "uint8" else int(QUANTISERS[op["quantizer"]].most)


def _packed(signal: Signal, bits: int | None) -> np.ndarray:
    """[N, bytes] of codes, or the values."""
    if bits is None:
        return np.array(signal.data)
    codes = signal.data if signal.codes is None else signal.codes
    return _codes.pack_rows(codes.reshape(len(codes), -1), bits)


def _unlike(first: Signal, other: Signal) -> str | None:
    """What keeps memories from being of one store."""
    made = [
        [(e.get("encoder"), e.get("fit")) for e in s.history if "encoder" in e or "decoded" in e]
        for s in (first, other)
    ]
    told = [
        ("kind", first.kind, other.kind),
        ("shape", first.data.shape[1:], other.data.shape[1:]),
        ("type", first.data.dtype, other.data.dtype),
        ("rate", first.rate, other.rate),
        ("what encoded them", made[0], made[1]),
        ("bits", _bits(first), _bits(other)),
    ]
    if (name := next((name for name, one, two in told if one != two), None)) is not None:
        return name
    plain = [[{k: None if _is_array(v) else v for k, v in op.items()} for op in s.ops] for s in (first, other)]
    return None if plain[0] == plain[1] else "what was taken away"


def _joined(values: list[Any]) -> Any:
    return np.concatenate([narrow(value) for value in values]) if _is_array(values[0]) else values[0]


def _wide(value: np.ndarray) -> np.ndarray:
    """Scales are held as they travel, and computed with in float32."""
    return value.astype(np.float32) if value.dtype == np.float16 else value
