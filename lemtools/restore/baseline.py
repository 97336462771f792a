"""What quantised values stand for, element by element: the baselines every other method is measured against."""

import numpy as np

from .. import codes as _codes
from ..signal import LemError


def middle(codes: np.ndarray, op: dict) -> np.ndarray:
    """Middle of the bin, or the codebook's centroid; in the domain's units (0..255 for 8-bit images)."""
    return _codes.decode(codes, op).astype(np.float32)


def low(codes: np.ndarray, op: dict) -> np.ndarray:
    """Zero padding, v = code << (8 - bits): the low end of the bin."""
    _bounded(op, "zero")
    low = _codes.bounds(codes, op)[0]
    if not np.isfinite(low).all():
        raise LemError("--method zero: an earlier quantiser left bins without a low end; use decode")
    return low


def replicate(codes: np.ndarray, op: dict) -> np.ndarray:
    """Bit replication: the code's bits repeated down to the last, as displays do; code / (2**bits - 1) of the range."""
    _bounded(op, "replicate")
    shape = (-1, *[1] * (codes.ndim - 1))
    bits = np.broadcast_to(np.asarray(op["bits"], np.int64), (len(codes),)).reshape(shape)
    if op["domain"] == "uint8":
        bits = np.minimum(bits, 8)
        value, have = codes.astype(np.int64) << (8 - bits), bits
        while (have < 8).any():
            value, have = np.where(have < 8, value | (value >> np.minimum(have, 8)), value), have * 2
        return value.astype(np.float32)
    unit = codes / (2.0**bits - 1)
    if op["domain"] == "unit":
        return unit.astype(np.float32)
    scale = 1.0 if op.get("scale") is None else _codes.spread(op, codes.shape)
    return ((2 * unit - 1) * scale).astype(np.float32)


def _bounded(op: dict, method: str) -> None:
    if op["quantizer"] != "uniform" or op["domain"] == "gaussian":
        raise LemError(f"--method {method} is for uniform bins of images and sound; use decode")
