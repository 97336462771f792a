"""The forms in which values travel, one entry of FORMS each: when it is taken, how it is written and read.

Compact: codes are packed at their own depth, item by item (each begins on a byte), whole tokens at theirs, without
gaps; of a fragment, lost values are left out.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import codes as _codes
from ..catalogue.errors import LemError
from ..catalogue.operations import QUANTISERS
from ..codes.blockwise import blocks
from .batch import Signal
from .types import BF16

DOMAINS = ("uint8", "unit", "signed", "gaussian")  # what one value of a fragment's codes can be

Shape = tuple[int, ...]


class Frame(NamedTuple):
    """What a document says of its values: `shape` [N, ...item] and type, what is observed of them, how they were made."""

    shape: Shape
    dtype: np.dtype
    mask: np.ndarray | None
    ops: list[dict[str, Any]]
    depth: Any

    def where(self) -> np.ndarray:
        """The mask at full shape."""
        return np.broadcast_to(np.True_ if self.mask is None else self.mask, self.shape)


class Form(NamedTuple):
    """tensor: its name on the wire. suits: whether a batch may travel so; the first form that suits is taken. encode:
    the tensor of a batch. decode: (data, codes or None) from it. dtype: the tensor's type, where numpy lacks it. bits:
    how many a batch fills, where the next one goes on at the next bit and not at the next byte."""

    tensor: str
    suits: Callable[[Signal], bool]
    encode: Callable[[Signal], np.ndarray]
    decode: Callable[[np.ndarray, Frame], tuple[np.ndarray, np.ndarray | None]]
    dtype: str | None = None
    bits: Callable[[Signal], int] | None = None


def form_of(signal: Signal) -> Form:
    """The form that a batch travels in."""
    return next(form for form in FORMS if form.suits(signal))


def value_bits(signal: Signal) -> np.ndarray:
    """int64 [N]: bits that the values of each item take, as if it travelled alone."""
    counts, full = observed_counts(signal.mask, signal.data.shape), 8 * signal.data.dtype.itemsize
    if signal.code_op is not None:
        depths = _depths(signal.code_op, len(signal))
        return np.array([8 * _codes.packed_size(n, b) for n, b in zip(counts, depths)], np.int64)
    if signal.depth is None:
        return counts * full
    return counts * np.where(_at_depth(signal), signal.depth, full)


def observed_counts(mask: np.ndarray | None, shape: Shape) -> np.ndarray:
    """How many elements of each item are observed, int64 [N]."""
    per_item = math.prod(shape[1:])
    if mask is None:
        return np.full(shape[0], per_item, np.int64)
    size = math.prod(mask.shape[1:])
    return np.asarray(np.count_nonzero(mask.reshape(len(mask), size), axis=1) * (per_item // size), np.int64)


def pack_mask(mask: np.ndarray) -> np.ndarray:
    """A bit an element, uint8 [N, bytes]: each item begins on a byte."""
    return np.packbits(mask.reshape(len(mask), math.prod(mask.shape[1:])), axis=1)


def unpack_mask(packed: np.ndarray, item: Shape, shape: Shape) -> np.ndarray:
    """Masks of shape [N, ...item] that fit data of `shape`."""
    size = math.prod(item)
    if packed.shape != (shape[0], (size + 7) // 8):
        raise LemError("damaged document (mask)")
    mask = np.unpackbits(packed, axis=1, count=size).astype(bool).reshape(shape[0], *item)
    if len(item) != len(shape) - 1 or any(m not in (1, s) for m, s in zip(item, shape[1:])):
        raise LemError(f"mask {list(mask.shape)} does not fit data {list(shape)}")
    return mask


# --- codes


def _depths(op: dict[str, Any], count: int) -> np.ndarray:
    return np.broadcast_to(np.asarray(op["bits"], np.int64), (count,))


def _seamless(bits: np.ndarray, mask: np.ndarray | None, shape: Shape) -> bool:
    """Whether items packed one by one are the same bytes as the batch packed at once, which is faster."""
    return bool(mask is None and len(bits) and (bits == bits[0]).all() and math.prod(shape[1:]) * int(bits[0]) % 8 == 0)


def _pack_codes(signal: Signal) -> np.ndarray:
    assert signal.codes is not None and signal.code_op is not None
    mask, bits = signal.mask, _depths(signal.code_op, len(signal))
    if _seamless(bits, mask, signal.data.shape):
        return _codes.pack(signal.codes.reshape(-1), int(bits[0]))
    kept = (c.reshape(-1) if mask is None else c[o] for c, o in zip(signal.codes, signal.observed()))
    parts = [_codes.pack(k, int(b)) for k, b in zip(kept, bits)]
    return np.concatenate(parts) if parts else np.zeros(0, np.uint8)


def _unpack_codes(packed: np.ndarray, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Values and codes, both of the frame's shape; lost elements are 0 in both."""
    op = next(op for op in reversed(frame.ops) if op["op"] == "bits")
    _check_quantiser(op, frame)
    shape, mask, bits = frame.shape, frame.mask, _depths(op, frame.shape[0])
    counts = observed_counts(mask, shape)
    sizes = [_codes.packed_size(c, b) for c, b in zip(counts, bits)]
    if packed.dtype != np.uint8 or packed.shape != (sum(sizes),):
        raise LemError(f"damaged document ({packed.size} bytes of codes, {sum(sizes)} expected)")
    if _seamless(bits, mask, shape):
        codes = _codes.unpack(packed, math.prod(shape), int(bits[0])).reshape(shape)
    else:
        codes, start = np.zeros(shape, _codes.code_dtype(op)), 0
        for i, (count, depth, size, where) in enumerate(zip(counts, bits, sizes, frame.where())):
            codes[i][where] = _codes.unpack(packed[start : start + size], int(count), int(depth))
            start += size
    data = _codes.decode(codes, op)
    if mask is not None:
        data *= mask
    return data, codes


def _check_quantiser(op: dict[str, Any], frame: Frame) -> None:
    """Raise LemError where a document's `bits` operation is none that can have been written."""
    shape, domain, quantiser = frame.shape, op["domain"], QUANTISERS.get(op["quantizer"])
    if domain not in DOMAINS or quantiser is None or domain not in quantiser.domains:
        raise LemError(f"unknown quantiser {op['quantizer']} on {domain}; a newer lemtools wrote this")
    if frame.dtype != (np.uint8 if domain == "uint8" else np.float32):
        raise LemError(f"damaged document ({frame.dtype} in the domain {domain})")
    joint, rotate = _codes.joint(op), op.get("rotate", 0)
    seeded = type(rotate) is int and rotate >= 0
    if joint and not (domain == "gaussian" and len(shape) <= 3 and frame.mask is None and seeded):
        raise LemError("damaged document (codes of whole vectors)")
    bits, most = _depths(op, shape[0]), 8 if domain == "uint8" else quantiser.most
    deepest = int(bits.max(initial=quantiser.least))
    least = int(bits.min(initial=most))
    if np.asarray(op["bits"]).dtype.kind not in "iu" or least < quantiser.least or deepest > most:
        raise LemError("damaged document (bits)")
    levels, fitted = op.get("levels"), domain in quantiser.fitted
    if (levels is not None) != fitted or (fitted and not _are_levels(levels, bits, domain)):
        raise LemError("damaged document (levels)")
    if domain == "gaussian" and op.get("scale") is None:
        raise LemError("damaged document (no scale)")
    if quantiser.block or any(op.get(name) is not None for name in ("block", "zero")):
        _check_blocks(op, shape, quantiser.shifted, joint)
    for name in ("scale", "slack"):
        value = op.get(name, np.zeros(shape[0], np.float32))
        fits = value.dtype == np.float32 and value.shape == shape[:1]
        if name == "scale" and op.get("block"):
            fits = value.dtype == np.float32  # its shape is right
        elif name == "scale" and len(shape) >= 3:  # of vectors, or of the channels of a field
            fits = (value.dtype == np.float32 and value.shape == shape[:2]) or (fits and not joint)
        if not fits or not (value >= 0).all() or (name == "scale" and not np.isfinite(value).all()):
            raise LemError(f"damaged document ({name})")


def _check_blocks(op: dict[str, Any], shape: Shape, shifted: bool, joint: bool) -> None:
    """Raise LemError where the scales of blocks, or the codes of 0, are not as many as the blocks."""
    block, zero = op.get("block"), op.get("zero")
    scale: Any = op.get("scale")
    good = isinstance(scale, np.ndarray) and 2 <= len(shape) <= 3 and not joint and (zero is not None) == shifted
    if good and type(block) is int and block > 0:
        each = (*shape[:-1], blocks(shape[-1], block))
        if scale.shape == each and (zero is None or (zero.dtype == np.uint8 and zero.shape == each)):
            return
    raise LemError("damaged document (blocks)")


def _are_levels(levels: Any, bits: np.ndarray, domain: str) -> bool:
    """Whether each item has as many as its bits [N] need, inside the domain, in ascending order."""
    low, high = _codes.ENDS[domain]  # of 'uint8' the number before the least one
    inside = (levels > low if domain == "uint8" else levels >= low) & (levels <= high)
    if levels.ndim != 2 or levels.shape[1] < 2 ** bits.max(initial=1) or not inside.all():
        return False
    spare = np.arange(levels.shape[1] - 1) >= 2 ** bits[:, None] - 1
    return bool(((np.diff(levels) >= 0) | spare).all())


# --- values that are observed


def _kept_values(signal: Signal) -> np.ndarray:
    return np.asarray(signal.data[signal.observed()])


def _place_values(values: np.ndarray, frame: Frame) -> tuple[np.ndarray, None]:
    count = observed_counts(frame.mask, frame.shape).sum()
    if values.dtype != frame.dtype or values.shape != (count,):
        raise LemError(f"damaged document ({values.size} values where the mask keeps {count})")
    data = np.zeros(frame.shape, frame.dtype)
    data[frame.where()] = values
    return data, None


# --- whole memories, of tokens that are small and floats that are short


def _at_depth(signal: Signal) -> np.ndarray:
    """bool [N]: which items can be sent at their depth and come back the same."""
    depth, data, axes = signal.depth, signal.data, tuple(range(1, signal.data.ndim))
    if depth is None:
        return np.zeros(len(data), bool)
    if signal.kind == "tokens":
        small = depth <= _codes.MAX_BITS
        return np.asarray((data.min(axis=axes) >= 0) & (data.max(axis=axes) < 1 << depth) & small)
    if depth != 16 or data.dtype != np.float32:
        return np.zeros(len(data), bool)
    return np.asarray(~(np.ascontiguousarray(data).view(np.uint32) & np.uint32(0xFFFF)).any(axis=axes))


def _all_at_depth(signal: Signal) -> bool:
    return signal.depth is not None and len(signal) > 0 and bool(_at_depth(signal).all())


def _pack_tokens(signal: Signal) -> np.ndarray:
    return _codes.pack(_kept_values(signal), signal.depth or 0)


def _unpack_tokens(packed: np.ndarray, frame: Frame) -> tuple[np.ndarray, None]:
    count, depth, dtype = int(observed_counts(frame.mask, frame.shape).sum()), frame.depth, frame.dtype
    if not 1 <= depth <= _codes.MAX_BITS or dtype.kind not in "iu" or depth > 8 * dtype.itemsize:
        raise LemError("damaged document (depth)")
    if packed.dtype != np.uint8 or packed.shape != (_codes.packed_size(count, depth),):
        raise LemError(f"damaged document ({packed.size} bytes of packed tokens)")
    return _place_values(_codes.unpack(packed, count, depth).astype(dtype, copy=False), frame)


def _upper_halves(data: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(data, "<f4").view("<u2")[..., 1::2]


def _as_they_are(data: np.ndarray, frame: Frame) -> tuple[np.ndarray, None]:
    return data, None


FORMS = (
    Form("codes", lambda s: s.codes is not None, _pack_codes, _unpack_codes),
    Form(
        "packed",
        lambda s: s.kind == "tokens" and _all_at_depth(s),
        _pack_tokens,
        _unpack_tokens,
        bits=lambda s: int(observed_counts(s.mask, s.data.shape).sum()) * (s.depth or 0),
    ),
    Form(
        "values",
        lambda s: s.mask is not None and _all_at_depth(s),
        lambda s: _upper_halves(_kept_values(s)),
        _place_values,
        dtype=BF16,
    ),
    Form("values", lambda s: s.mask is not None, _kept_values, _place_values),
    Form("data", _all_at_depth, lambda s: _upper_halves(s.data), _as_they_are, dtype=BF16),
    Form("data", lambda s: True, lambda s: s.data, _as_they_are),
)
