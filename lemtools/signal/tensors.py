"""The form in which a batch travels: named tensors and a JSON object."""

import itertools
import math
from typing import Any

import numpy as np

from ..catalogue.errors import LemError
from .batch import KINDS, Signal
from .forms import FORMS, Frame, form_of, pack_mask, unpack_mask, value_bits
from .types import DTYPES, fits_half, narrow, type_fits, wire_type

Tensors = dict[str, np.ndarray]
Meta = dict[str, Any]
LARGE = ("data", "codes", "values", "packed", "mask")  # tensors that grow with the elements of an item
_TYPES = {np.dtype(code).name for code in DTYPES.values()}
_SHARED = 1024  # channels that may share one bit of a mask


def bits_per_element(signal: Signal) -> np.ndarray:
    """float64 [N]: bits each item takes on the wire, over the number of elements of the whole memory.

    Codes or values, mask and every other per-item parameter (norms, codebooks, places of a crop) count; labels, names,
    token ids and the JSON header, which do not help to decode, do not. Each item is counted as if it travelled alone:
    what it costs does not depend on the items beside it. A recalled signal answers with its fragment's cost.
    """
    if signal.cost is not None:
        return signal.cost
    sizes = value_bits(signal).astype(np.float64)
    if signal.mask is not None:
        sizes += 8 * -(-math.prod(signal.mask.shape[1:]) // 8)
    for op in signal.ops:
        for value in op.values():
            if isinstance(value, np.ndarray):
                number = np.where(fits_half(value), 16, 32) if value.dtype.kind == "f" else 8 * value.dtype.itemsize
                sizes += number * math.prod(value.shape[1:])
    return sizes / math.prod(signal.whole_shape)


def to_tensors(signal: Signal) -> tuple[dict[str, tuple[str, np.ndarray]], Meta]:
    """The wire form of a batch: {name: (safetensors dtype, contiguous array)} and the JSON object of the key `lem`."""
    form = form_of(signal)
    tensors: Tensors = {form.tensor: form.encode(signal)}
    if signal.mask is not None:
        tensors["mask"] = pack_mask(signal.mask)
    ops = []
    for i, op in enumerate(signal.ops):
        ops.append({k: v for k, v in op.items() if not isinstance(v, np.ndarray) and v is not None})
        tensors |= {f"ops.{i}.{k}": narrow(v) for k, v in op.items() if isinstance(v, np.ndarray)}
    for name in ("label", "cost", "tokens"):
        if (value := getattr(signal, name)) is not None:
            tensors[name] = value
    if signal.names is not None:
        tensors |= pack_names(signal.names)
    index, place = pack_index(signal.index)
    tensors |= index
    meta: Meta = {"v": 1, "kind": signal.kind, "n": len(signal), **place}
    if signal.rate is not None:
        meta["rate"] = signal.rate
    if form.tensor != "data":
        meta |= {"shape": list(signal.data.shape[1:]), "dtype": wire_type(signal.data)}
    if signal.mask is not None:
        meta["mask"] = list(signal.mask.shape[1:])
    meta |= {"ops": ops, "history": signal.history}
    if signal.last:
        meta["last"] = True
    if signal.depth is not None and signal.codes is None:
        meta["depth"] = signal.depth
    named = {name: named_tensor(array) for name, array in tensors.items()}
    if form.dtype:
        named[form.tensor] = (form.dtype, named[form.tensor][1])
    return named, meta


def named_tensor(array: np.ndarray) -> tuple[str, np.ndarray]:
    """(type on the wire, the array as it is written)."""
    name = wire_type(array)
    return name, np.asarray(array, DTYPES[name], order="C")


def pack_index(index: np.ndarray) -> tuple[Tensors, Meta]:
    """Places in the stream: as two numbers of the JSON object where they are evenly spaced, else as a tensor."""
    n, steps = len(index), np.diff(index)
    if n and not (steps == steps[:1]).all():
        return {"index": np.asarray(index, np.int64)}, {}
    step = int(steps[0]) if n > 1 else 1
    return {}, ({"first": int(index[0])} if n else {}) | ({"step": step} if step != 1 else {})


def pack_names(names: list[str]) -> Tensors:
    """Names as two tensors, so that the header does not grow with the number of items."""
    encoded = [name.encode("utf-8", "surrogateescape") for name in names]
    text = np.frombuffer(b"".join(encoded), np.uint8)
    return {"names.utf8": text, "names.offsets": np.cumsum([0, *map(len, encoded)], dtype=np.int64)}


def unpack_names(text: np.ndarray, offsets: np.ndarray, n: int) -> list[str]:
    """The names of n items from the tensors names.utf8 and names.offsets."""
    offsets, raw = offsets.astype(np.int64, casting="safe"), text.tobytes()
    if offsets.shape != (n + 1,) or offsets[0] != 0 or offsets[-1] != len(raw) or (np.diff(offsets) < 0).any():
        raise LemError("damaged document (names)")
    return [raw[a:b].decode("utf-8", "surrogateescape") for a, b in itertools.pairwise(offsets)]


def from_tensors(tensors: Tensors, meta: Meta, max_bytes: int = 1 << 34) -> Signal:
    """Inverse of `to_tensors`; `max_bytes`: of the decoded data.

    Raises LemError where tensors and JSON do not agree; trusts nothing that a document says.
    """
    try:
        return _from_tensors(tensors, meta, max_bytes)
    except LemError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, OverflowError, AttributeError, StopIteration) as error:
        detail = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise LemError(f"damaged document ({detail})") from error


def _from_tensors(tensors: Tensors, meta: Meta, max_bytes: int) -> Signal:
    if not isinstance(meta, dict) or meta.get("v") != 1:
        raise LemError(f"unknown version {meta.get('v') if isinstance(meta, dict) else meta!r} of the stream format")
    kind, n, depth = meta["kind"], meta["n"], meta.get("depth")
    _require(_whole(n), "n")
    _require(depth is None or (_whole(depth) and 1 <= depth <= 64), "depth")
    ops = _read_ops(tensors, meta, n)
    data, codes, mask = _read_values(tensors, meta, ops, max_bytes)
    if data.ndim == 0 or len(data) != n:
        raise LemError(f"damaged document (data of shape {list(data.shape)} for {n} items)")
    if n and kind in KINDS and not type_fits(kind, data.dtype):
        raise LemError(f"{kind} data of type {data.dtype}")
    names = unpack_names(tensors["names.utf8"], tensors["names.offsets"], n) if "names.offsets" in tensors else None
    index = tensors.get("index")
    if index is None:
        index = int(meta.get("first", 0)) + int(meta.get("step", 1)) * np.arange(n, dtype=np.int64)
    label, cost, tokens = (tensors.get(name) for name in ("label", "cost", "tokens"))
    _require(tokens is None or tokens.dtype.kind in "iu", "tokens")
    for name, array in (("index", index), ("label", label), ("cost", cost)):
        if array is not None and array.shape != (n,):
            raise LemError(f"damaged document ({name} of shape {list(array.shape)} for {n} items)")
    _require(index.dtype == np.int64 and index.min(initial=0) >= 0, "index")
    rate, history = meta.get("rate"), meta.get("history", [])
    _require(isinstance(history, list) and all(isinstance(entry, dict) for entry in history), "history")
    _require(rate is None or (isinstance(rate, (int, float)) and 0 < rate < math.inf), "rate")
    last = meta.get("last") is True or None
    return Signal(kind, data, mask, codes, label, names, ops, history, rate, index, cost, last, tokens, depth)


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise LemError(f"damaged document ({what})")


def _whole(n: Any) -> bool:
    return type(n) is int and n >= 0


def _sizes(shape: Any) -> bool:
    return isinstance(shape, list) and len(shape) > 0 and all(type(s) is int and 0 < s < 2**40 for s in shape)


def _read_ops(tensors: Tensors, meta: Meta, n: int) -> list[dict[str, Any]]:
    """The operations with their per-item parameters, floats as float32."""
    ops = [dict(op) for op in meta.get("ops", [])]
    for name, array in tensors.items():
        if name.startswith("ops."):
            _, i, key = name.split(".", 2)
            ops[int(i)][key] = array.astype(np.float32) if array.dtype.kind == "f" else array
    for op in ops:
        _require(isinstance(op.get("op"), str), "an operation without a name")
        _require(op.get("dtype", "uint8") in _TYPES and _sizes(op.get("shape", [1])), f"shape or dtype of {op['op']}")
        if any(isinstance(v, np.ndarray) and (v.ndim == 0 or len(v) != n) for v in op.values()):
            raise LemError(f"damaged document (parameters of {op['op']} do not match {n} items)")
    return ops


def _read_values(
    tensors: Tensors, meta: Meta, ops: list[dict[str, Any]], max_bytes: int
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """(data, codes, mask) by whatever form they arrived in."""
    if "data" in tensors:
        return tensors["data"], None, None
    _require(_sizes(meta["shape"]), "shape")
    shape, dtype = (meta["n"], *meta["shape"]), np.dtype(DTYPES[meta["dtype"]])
    if (size := math.prod(shape) * dtype.itemsize) > max_bytes:
        raise LemError(f"a document of {size} bytes once unpacked; raise --max-bytes to read it")
    # Memory is taken only for what arrived: a bit of the mask speaks for some channels, a code or value for itself.
    sent = next(tensors[name] for name in ("mask", "codes", "values", "packed") if name in tensors)
    if math.prod(shape) > 8 * sent.size * (_SHARED if "mask" in meta else 1):
        raise LemError(f"damaged document ({shape[0]} items of {list(shape[1:])} are not all there)")
    mask = None
    if "mask" in meta:
        _require(_sizes(meta["mask"]), "mask")
        mask = unpack_mask(tensors["mask"], tuple(meta["mask"]), shape)
    form = next(form for form in FORMS if form.tensor in tensors)
    data, codes = form.decode(tensors[form.tensor], Frame(shape, dtype, mask, ops, meta.get("depth")))
    return data, codes, mask
