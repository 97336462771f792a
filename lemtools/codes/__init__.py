"""Quantisers: codebooks, codes to values, bins, and packing codes of 1-16 bits into bytes.

A quantiser is described by the `bits` operation of a fragment, a dict with

    bits       int, or an array [N] of one depth per item, 1-16 or as many as the quantiser has
    quantizer  a name of the catalogue's QUANTISERS
    domain     what one value can be: 'uint8' (0..255), 'unit' ([0, 1]), 'signed' ([-1, 1] times the scale),
               'gaussian' (unbounded; a fixed codebook for N(0, 1) times the scale)
    scale      None, or an array [N]: the item's peak or rms, of a field [N, C]; where codes are joint, [N] or [N, L]: each vector's rms
    levels     only of quantisers that are fitted in this domain: array [N, 2**bits], the codebook of the item
    block      None, or how many values along the last axis share a scale: [N, blocks] or [N, L, blocks]
    zero       only of quantisers that are `shifted`: uint8, shaped like the scale, the code that 0 has
    slack      None, or an array [N]: how far the values may have been from the originals before they were quantised
               (they were quantised once already, on bins that do not nest in these)
    rotate     None, or the seed of the rotation (hadamard) that vectors went through before they were quantised

The codes of a trellis, and of rotated vectors, are joint: a vector, along the last axis, is decoded as a whole, and of
a single value no bin is known. All others are one value each.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..catalogue.operations import QUANTISERS
from . import hadamard, scalar
from .packing import pack, pack_rows, packed_size, unpack, unpack_rows
from .scalar import (
    ENDS,
    MAX_BITS,
    MAX_FITTED_BITS,
    UNIFORM_STEP,
    code_dtype,
    fit_levels,
    fixed_table,
    lloyd_max_gaussian,
    spread,
)

__all__ = [
    "ENDS",
    "MAX_BITS",
    "MAX_FITTED_BITS",
    "UNIFORM_STEP",
    "bounds",
    "code_dtype",
    "decode",
    "distortion",
    "encode",
    "fit_levels",
    "fixed_table",
    "joint",
    "lloyd_max_gaussian",
    "pack",
    "pack_rows",
    "packed_size",
    "spread",
    "unpack",
    "unpack_rows",
]
_STEP = 1 << 21  # values worked on at a time


def joint(op: dict[str, Any] | None) -> bool:
    """Whether a code by itself tells nothing of the value at its place: of whole vectors, as of rotated ones."""
    return op is not None and (QUANTISERS[op["quantizer"]].joint or op.get("rotate") is not None)


def encode(
    values: np.ndarray, op: dict[str, Any], search: Callable[[np.ndarray, int], np.ndarray] | None = None
) -> np.ndarray:
    """Quantise values [N, ...] by `op`; returns codes of the same shape, uint8 or uint16. NaN is not allowed.

    search: for the codes of whole vectors, in place of the quantiser's own (trellis.viterbi).
    """
    if not joint(op):
        return scalar.encode(values, op)
    codes = np.empty(values.shape, code_dtype(op))
    flat, dims = codes.reshape(-1, values.shape[-1]), values.shape[-1]
    whole = QUANTISERS[op["quantizer"]].load() if QUANTISERS[op["quantizer"]].joint else None
    for rows, bits, scale in _vectors(op, values.shape):
        x = values.reshape(-1, dims)[rows].astype(np.float64)
        x = np.divide(x, scale, out=np.zeros(x.shape), where=scale > 0).astype(np.float32)
        if op.get("rotate") is not None:
            x = hadamard.rotate(x, op["rotate"])
        plain = {"bits": bits, "quantizer": op["quantizer"], "domain": "gaussian"}
        flat[rows] = whole.encode(x, bits, search) if whole else scalar.encode(x, plain)
    return codes


def decode(codes: np.ndarray, op: dict[str, Any]) -> np.ndarray:
    """Values [N, ...] of codes [N, ...]: the middle of the bin (uniform), its level, or the centroid.

    uint8 in the domain of that name, else float32.
    """
    if not joint(op):
        return scalar.decode(codes, op)
    values = np.empty(codes.shape, np.float32)
    flat, dims = values.reshape(-1, codes.shape[-1]), codes.shape[-1]
    whole = QUANTISERS[op["quantizer"]].load() if QUANTISERS[op["quantizer"]].joint else None
    for rows, bits, scale in _vectors(op, codes.shape):
        code = codes.reshape(-1, dims)[rows]
        plain = {"bits": bits, "quantizer": op["quantizer"], "domain": "gaussian"}
        x = whole.decode(code, bits) if whole else scalar.decode(code, plain)
        if op.get("rotate") is not None:
            x = hadamard.rotate(x, op["rotate"], inverse=True)
        np.multiply(x, scale, out=x, casting="same_kind")  # (a scale of float64 multiplies in float64)
        flat[rows] = x
    return values


def _vectors(op: dict[str, Any], shape: tuple[int, ...]) -> Iterator[tuple[slice | np.ndarray, int, np.ndarray]]:
    """Yield (rows of values.reshape(-1, D), bits, scale float32 or float64 [rows, 1]), some rows of one depth at a time."""
    count, each = shape[0], int(np.prod(shape[1:-1], dtype=np.int64))
    depth = np.broadcast_to(np.asarray(op["bits"]).reshape(-1, 1), (count, each)).reshape(-1)
    scale = np.asarray(op["scale"])
    scale = scale.astype(np.promote_types(scale.dtype, np.float32), copy=False)
    scale = np.broadcast_to(scale if scale.ndim == 2 else scale[:, None], (count, each)).reshape(-1, 1)
    step = max(_STEP // shape[-1], 1)
    depths = np.unique(depth)
    for bits in depths.tolist():
        rows = np.flatnonzero(depth == bits)
        for at in range(0, len(rows), step):
            some = rows[at : at + step] if len(depths) > 1 else slice(at, min(at + step, len(rows)))
            yield some, int(bits), scale[some]


def bounds(codes: np.ndarray, op: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Ends (low, high), float32 [N, ...], of the bins that the original values are known to lie in.

    In 'uint8' both ends are whole numbers that the value can take; elsewhere the bin is low <= value <= high, for
    values within the domain (what lies beyond full scale was clipped to it). Bins at the ends of the 'gaussian' domain
    are infinite, and so are those of all values whose codes are joint. Where the scale is 0, bins are [0, 0].
    """
    if not joint(op):
        return scalar.bounds(codes, op)
    scale = np.asarray(op["scale"], np.float32)
    high = np.where(scale > 0, np.float32(np.inf), np.float32(0))
    high = np.broadcast_to(high.reshape(*scale.shape, *[1] * (codes.ndim - scale.ndim)), codes.shape).copy()
    return -high, high


def distortion(op: dict[str, Any]) -> np.ndarray:
    """float64, shaped like op['bits']: squared error of a N(0, 1) value by the quantiser of the 'gaussian' domain."""
    row = QUANTISERS[op["quantizer"]]
    one = row.load().distortion if row.joint else lambda bits: scalar.distortion(bits, row.name)
    return np.asarray(np.vectorize(one, otypes=[np.float64])(np.asarray(op["bits"], np.int64)))
