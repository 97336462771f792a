"""What a fragment says of the whole memory, element by element: exact, inside a bin, noisy, or nothing. numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import codes as _codes
from ..catalogue.operations import OPERATIONS, QUANTISERS
from ..signal import LemError, Signal

LARGEST = 1e12  # full scales that a noisy value may reach


@dataclass
class Evidence:
    """What is known of N items at their full extent, in units of full scale (embeddings: their own units).

    value     float32 [N, ...item]: decoded value; 0 where it is lost.
    observed  bool, shaped like value.
    low, high float32, shaped like value: ends of the interval the value lies in: the bin of a quantised one (infinite
              for the outer bins of a Gaussian quantiser), the value itself for an exact one, -inf and inf for a lost
              one.
    width     float32, shaped like value: width of the bin, twice the distance to its one finite end where it has but
              one; 0 for exact and for lost values.
    sigma     float32 [N]: standard deviation of Gaussian noise on what is observed; 0 for none. With noise, the
              interval holds the noisy value, not the memory's.
    """

    value: np.ndarray
    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray
    width: np.ndarray
    sigma: np.ndarray

    def __len__(self) -> int:
        return len(self.value)

    def hold(self, x: np.ndarray) -> np.ndarray:
        """x, shaped like value, with every element put into its interval; items seen through noise stay as they are."""
        free = (self.sigma > 0).reshape(-1, *[1] * (x.ndim - 1))
        return np.where(free, x, np.clip(x, self.low, self.high)).astype(np.float32)


def evidence(signal: Signal) -> Evidence:
    """What a batch of fragments says about the memories they come from; a whole memory is exact everywhere.

    Raises LemError for tokens, and for fragments whose elements are not the memory's, as of a lower resolution.
    """
    if signal.kind == "tokens":
        raise LemError("tokens are indices: nothing is known of the values between them")
    if (other := foreign(signal.ops)) is not None:
        raise LemError(f"a fragment of --{other} holds no element of the memory itself")
    unit = np.float32(255 if signal.kind == "image" and signal.data.dtype == np.uint8 else 1)
    op, sigma = signal.code_op, np.zeros(len(signal), np.float32)
    for done in signal.ops:
        if leaves(done) == "noisy":
            more = np.asarray(done["std"] if "std" in done else done["sigma"], np.float32)
        elif done["op"] == "bits" and op is None:  # noise came on top: the bins hold nothing, but they were there
            more = bin_std(done, len(signal))
        else:
            continue
        sigma = np.hypot(sigma, np.broadcast_to(more, sigma.shape))
    value: np.ndarray = (signal.data / unit).astype(np.float32, copy=False)
    low, high, width = value, value, np.zeros_like(value)
    if _codes.joint(op):  # no bins: the value decoded, with the quantiser's error for noise
        sigma = np.hypot(sigma, bin_std(op, len(signal)))
    elif op is not None:
        whole = op["domain"] == "uint8"  # whole numbers: a bin of one level is that level, of two two levels wide
        unit = np.float32(255 if whole else 1)
        low, high = (end / unit for end in _codes.bounds(signal.codes, op))
        value = _codes.decode(signal.codes, op).astype(np.float32) / unit
        span = high - low
        one_sided = 2 * np.minimum(high - value, value - low)
        width = np.where(np.isfinite(span), span + whole / unit, one_sided) * (span > 0)
    observed = np.ascontiguousarray(signal.observed())
    parts = [value, low, high, width, observed]
    fills = [0, -np.inf, np.inf, 0, False]
    parts = [np.where(observed, part, np.asarray(fill, part.dtype)) for part, fill in zip(parts, fills)]
    for done in reversed(signal.ops):
        if leaves(done) == "window":
            parts = [place(part, fill, done, signal.spatial_axes) for part, fill in zip(parts, fills)]
    value, low, high, width, observed = parts
    return Evidence(value, observed, low, high, width, sigma)


def leaves(op: dict) -> str:
    """What the values of an operation's fragments are, see the catalogue's OPERATIONS. LemError for one unknown here."""
    if op["op"] not in OPERATIONS:
        raise LemError(
            f"a fragment of an operation {op['op']!r} that this lemtools does not know; a newer one wrote it"
        )
    return str(OPERATIONS[op["op"]].leaves)


def foreign(ops: list[dict]) -> str | None:
    """The first operation after which no value is the memory's own, or None."""
    return next((op["op"] for op in ops if leaves(op) == "other"), None)


def bin_std(op: dict, count: int) -> np.ndarray:
    """float32 [N]: error of a value decoded to the middle of a bin of the quantiser's usual width, width / sqrt 12.

    Where codes are joint, the quantiser's error on Gaussian vectors; where bins differ in width, the error of values that
    are spread evenly over full scale.
    """
    if _codes.joint(op):
        power = np.square(np.asarray(op["scale"], np.float64)).reshape(count, -1).mean(axis=1)
        return np.sqrt(power * _codes.distortion(op)).astype(np.float32)
    bits = np.broadcast_to(np.asarray(op["bits"], np.float32), (count,))
    if QUANTISERS[op["quantizer"]].edges:  # bins of many widths: the error of values that lie evenly in them
        width = np.sqrt(12) * np.array([_spread_error(int(b), op["quantizer"], op["domain"]) for b in bits], np.float32)
    elif op["domain"] == "gaussian":
        width = np.array([_codes.UNIFORM_STEP[int(b)] for b in bits], np.float32)
    else:
        width = {"uint8": 1.0, "unit": 1.0, "signed": 2.0}[op["domain"]] * 2.0**-bits
    scale = np.float32(1) if op.get("scale") is None else np.asarray(op["scale"], np.float32)
    if scale.ndim > 1:  # of channels or blocks
        scale = np.sqrt(np.square(scale.reshape(count, -1), dtype=np.float64).mean(axis=1)).astype(np.float32)
    return (width * scale / np.sqrt(12)).astype(np.float32)


def _spread_error(bits: int, quantizer: str, domain: str) -> float:
    """Root of the mean squared error of values that are spread evenly over all bins of a quantiser."""
    levels, low, high = _codes.fixed_table(bits, quantizer, domain)
    return float(np.sqrt(((high - levels) ** 3 - (low - levels) ** 3).sum() / 3 / (high[-1] - low[0])))


def place(array: np.ndarray, fill, op: dict, spatial_axes: tuple[int, ...]) -> np.ndarray:
    """Put the window that a crop or keep-dims operation left back into its frame, with `fill` all round it."""
    whole = tuple(op.get("shape", array.shape[1:]))
    lead = len(whole) - (1 if op["op"] == "keep-dims" else len(spatial_axes))
    corners, out = op.get("place"), np.full((len(array), *whole), fill, array.dtype)
    for i, item in enumerate(array):
        corner = [0] * (len(whole) - lead) if corners is None else corners[i]
        window = [slice(int(c), int(c) + n) for c, n in zip(corner, item.shape[lead:])]
        out[i][(*[slice(None)] * lead, *window)] = item
    return out


def check_geometry(signal: Signal) -> None:
    """Raise LemError where the record of what was taken away does not fit the data: it may come from anywhere."""
    shape, count = signal.data.shape[1:], len(signal)
    seen = signal.kind in ("image", "audio")
    if signal.data.dtype.kind == "f" and (seen or signal.data.dtype.itemsize > 4):
        size = float(np.abs(signal.data).max(initial=0))
        if seen and size > LARGEST:
            raise LemError(f"damaged fragment: {signal.kind} values of size {size:.3g}, where full scale is 1")
        if size > np.finfo(np.float32).max:
            raise LemError(f"a value of size {size:.3g}: float32, in which memories are recalled, ends at 3.4e38")
    for op in reversed(signal.ops):
        name, left = op["op"], leaves(op)
        before = tuple(op.get("shape", shape))
        good = len(before) == len(shape) and all(isinstance(n, int) and n >= m for n, m in zip(before, shape))
        if good and left == "window" and name != "keep-dims":
            corner = np.asarray(op.get("place", np.full((count, 1), -1)))
            room = np.subtract(before, shape)[list(signal.spatial_axes)]
            good = corner.shape == (count, len(room)) and bool(((corner >= 0) & (corner <= room)).all())
        elif good and name == "downsample":
            factor, axes = op.get("factor"), [len(shape) + axis for axis in signal.spatial_axes]
            good = isinstance(factor, int) and factor > 1 and signal.kind in ("image", "audio")
            sides = enumerate(zip(before, shape))
            good = good and all(-(-n // factor if i in axes else -n) == m for i, (n, m) in sides)
            good = good and (signal.kind == "image" or (isinstance(op.get("rate"), (int, float)) and op["rate"] > 0))
        elif good and left == "noisy":
            sigma = np.asarray(op.get("std", op.get("sigma")))
            good = (
                sigma.dtype.kind in "fiu"
                and sigma.shape in ((), (count,))
                and bool(((sigma >= 0) & (sigma < np.inf)).all())
            )
        elif name not in ("keep-dims",):
            good = good and before == shape
        if not good:
            raise LemError(f"damaged fragment: its record of {name} does not fit data of shape {list(shape)}")
        shape = before
