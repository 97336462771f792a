"""The form in which a batch travels: named tensors and a JSON object."""

import itertools
import math
from dataclasses import replace

import numpy as np

from .. import codes as _codes
from ..catalogue.operations import QUANTISERS
from .batch import LemError, Signal, type_fits

# Types of the wire: safetensors' names and numpy's.
DTYPES = {
    "BOOL": "?",
    "U8": "<u1",
    "I8": "<i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
}


_TYPES = {np.dtype(code).name for code in DTYPES.values()}
_SHARED = 1024  # channels that may share one bit of a mask


def bits_per_element(signal: Signal) -> np.ndarray:
    """float64 [N]: bits each item takes on the wire, over the number of elements of the whole memory.

    Codes or values, mask and every other per-item parameter (norms, codebooks, places of a crop) count; labels, names,
    token ids and the JSON header, which do not help to decode, do not. A recalled signal answers with its fragment's
    cost.
    """
    if signal.cost is not None:
        return signal.cost
    tensors, _ = to_tensors(replace(signal, label=None, names=None, index=None, tokens=None))
    sizes = np.zeros(len(signal))
    for name, (_, array) in tensors.items():
        if name not in ("codes", "values", "packed"):
            sizes += array.nbytes * 8 / max(len(signal), 1)
    if "codes" in tensors:
        counts, bits = _counts(signal.mask, signal.data.shape), _bits(signal.code_op, len(signal))
        sizes += [8 * _codes.packed_size(n, b) for n, b in zip(counts, bits)]
    elif "packed" in tensors:
        sizes += signal.data.shape[1] * signal.depth
    elif "values" in tensors:
        sizes += _counts(signal.mask, signal.data.shape) * signal.data.dtype.itemsize * 8
    return sizes / math.prod(signal.whole_shape)


def _bits(op: dict, count: int) -> np.ndarray:
    return np.broadcast_to(np.asarray(op["bits"], np.int64), (count,))


def _seamless(bits: np.ndarray, mask: np.ndarray | None, shape: tuple[int, ...]) -> bool:
    """Whether items packed one by one are the same bytes as the batch packed at once, which is faster."""
    return mask is None and len(bits) > 0 and (bits == bits[0]).all() and math.prod(shape[1:]) * int(bits[0]) % 8 == 0


def _counts(mask: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """How many elements of each item are observed, int64 [N]."""
    per_item = math.prod(shape[1:])
    if mask is None:
        return np.full(shape[0], per_item, np.int64)
    kept = np.count_nonzero(mask, axis=tuple(range(1, mask.ndim))).astype(np.int64)
    return kept * (per_item // math.prod(mask.shape[1:]))


def narrow(array: np.ndarray) -> np.ndarray:
    """Per-item parameters travel as float16 where that is exact."""
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            small = array.astype(np.float16)
        return small if np.array_equal(small.astype(array.dtype), array) else array.astype(np.float32)
    return array


def to_tensors(signal: Signal) -> tuple[dict[str, tuple[str, np.ndarray]], dict]:
    """The wire form of a batch: {name: (safetensors dtype, contiguous array)} and the JSON object of the key `lem`.

    Compact: codes are packed at their own depth, item by item (each begins on a byte), whole tokens at theirs, without
    gaps; values lost are left out.
    """
    n, tensors = len(signal), {}
    mask = signal.mask
    if signal.codes is not None:
        observed, bits = signal.observed(), _bits(signal.code_op, n)
        if _seamless(bits, mask, signal.data.shape):
            parts = [_codes.pack(signal.codes.reshape(-1), int(bits[0]))]
        else:
            kept = (c.reshape(-1) if mask is None else c[o] for c, o in zip(signal.codes, observed))
            parts = [_codes.pack(k, int(b)) for k, b in zip(kept, bits)]
        tensors["codes"] = np.concatenate(parts) if parts else np.zeros(0, np.uint8)
    elif mask is not None:
        tensors["values"] = signal.data[signal.observed()]
    elif (depth := _travels_at(signal)) is not None and signal.kind == "tokens":
        tensors["packed"] = _codes.pack(signal.data.reshape(-1), depth)
    else:
        tensors["data"] = signal.data
    if mask is not None:
        tensors["mask"] = np.packbits(mask.reshape(n, math.prod(mask.shape[1:])), axis=1)
    ops = []
    for i, op in enumerate(signal.ops):
        ops.append({k: v for k, v in op.items() if not isinstance(v, np.ndarray) and v is not None})
        tensors |= {f"ops.{i}.{k}": narrow(v) for k, v in op.items() if isinstance(v, np.ndarray)}
    for name in ("label", "cost", "tokens"):
        if getattr(signal, name) is not None:
            tensors[name] = getattr(signal, name)
    if signal.names is not None:
        encoded = [name.encode("utf-8", "surrogateescape") for name in signal.names]
        tensors["names.utf8"] = np.frombuffer(b"".join(encoded), np.uint8)
        tensors["names.offsets"] = np.cumsum([0] + [len(e) for e in encoded], dtype=np.int64)
    meta = {"v": 1, "kind": signal.kind, "n": n}
    index, steps = signal.index, np.diff(signal.index)
    if n and (steps == (steps[0] if n > 1 else 1)).all():
        meta |= {"first": int(index[0])} | ({"step": int(steps[0])} if n > 1 and steps[0] != 1 else {})
    elif n:
        tensors["index"] = np.asarray(index, np.int64)
    if signal.rate is not None:
        meta["rate"] = signal.rate
    if "data" not in tensors:
        meta |= {"shape": list(signal.data.shape[1:]), "dtype": wire_type(signal.data)}
    if mask is not None:
        meta["mask"] = list(mask.shape[1:])
    meta |= {"ops": ops, "history": signal.history}
    if signal.last:
        meta["last"] = True
    named = {k: (wire_type(v), v) for k, v in tensors.items()}
    named = {k: (name, np.ascontiguousarray(v, DTYPES[name])) for k, (name, v) in named.items()}
    if signal.depth is not None and {"packed", "data"} & set(named) and _travels_at(signal) is not None:
        meta["depth"] = signal.depth
        if signal.kind != "tokens":
            named["data"] = ("BF16", np.ascontiguousarray(named["data"][1].view("<u2")[..., 1::2]))
    return named, meta


def _travels_at(signal: Signal) -> int | None:
    """The depth that whole memories can be sent at and come back the same; None: as they are."""
    depth, data = signal.depth, signal.data
    if depth is None or not len(data):
        return None
    if signal.kind == "tokens":
        fits = depth <= _codes.MAX_BITS and data.min() >= 0 and int(data.max()) < 1 << depth
    else:
        low = np.ascontiguousarray(data).view("<u2")[..., ::2] if data.dtype == np.float32 else None
        fits = depth == 16 and low is not None and not low.any()
    return depth if fits else None


def wire_type(array: np.ndarray) -> str:
    """safetensors' name of an array's type. Raises LemError for a type without one."""
    short = array.dtype.newbyteorder("<").str.replace("|", "<").lstrip("<") if array.dtype != bool else "?"
    for name, code in DTYPES.items():
        if code.lstrip("<") == short:
            return name
    raise LemError(f"values of type {array.dtype} cannot travel; use float32")


def from_tensors(tensors: dict[str, np.ndarray], meta: dict, max_bytes: int = 1 << 34) -> Signal:
    """Inverse of `to_tensors`; `max_bytes`: of the decoded data.

    Raises LemError where tensors and JSON do not agree; trusts nothing it is told.
    """
    try:
        return _from_tensors(dict(tensors), meta, max_bytes)
    except LemError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, OverflowError, AttributeError, StopIteration) as error:
        detail = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise LemError(f"damaged document ({detail})") from error


def _from_tensors(tensors: dict[str, np.ndarray], meta: dict, max_bytes: int) -> Signal:
    if not isinstance(meta, dict) or meta.get("v") != 1:
        raise LemError(f"unknown version {meta.get('v') if isinstance(meta, dict) else meta!r} of the stream format")
    kind, n = meta["kind"], meta["n"]
    if not isinstance(n, int) or isinstance(n, bool) or n < 0:
        raise LemError("damaged document (n)")
    ops = [dict(op) for op in meta.get("ops", [])]
    for name in [name for name in tensors if name.startswith("ops.")]:
        _, i, key = name.split(".", 2)
        array = tensors.pop(name)
        ops[int(i)][key] = array.astype(np.float32) if array.dtype.kind == "f" else array
    for op in ops:
        if not isinstance(op.get("op"), str):
            raise LemError("damaged document (an operation without a name)")
        if op.get("dtype", "uint8") not in _TYPES or not _sizes(op.get("shape", [1])):
            raise LemError(f"damaged document (shape or dtype of {op['op']})")
        if any(isinstance(v, np.ndarray) and (v.ndim == 0 or len(v) != n) for v in op.values()):
            raise LemError(f"damaged document (parameters of {op['op']} do not match {n} items)")
    mask = codes = None
    if "data" in tensors:
        data = tensors.pop("data")
    else:
        shape, dtype = tuple(meta["shape"]), np.dtype(DTYPES[meta["dtype"]])
        if not _sizes(meta["shape"]):
            raise LemError("damaged document (shape)")
        if (size := n * math.prod(shape) * dtype.itemsize) > max_bytes:
            raise LemError(f"a document of {size} bytes once unpacked; raise --max-bytes to read it")
        # Memory is taken only for what arrived: a bit of the mask speaks for some channels, a code or value for itself.
        sent = next(tensors[k] for k in ("mask", "codes", "values", "packed") if k in tensors)
        here = sent.size * (_SHARED if "mask" in meta else 1)
        if n * math.prod(shape) > 8 * here:
            raise LemError(f"damaged document ({n} items of {list(shape)} are not all there)")
        if "mask" in meta:
            mask_shape, packed = tuple(meta["mask"]), tensors.pop("mask")
            size = math.prod(mask_shape)
            if not _sizes(meta["mask"]) or packed.shape != (n, (size + 7) // 8):
                raise LemError("damaged document (mask)")
            mask = np.unpackbits(packed, axis=1, count=size).astype(bool).reshape(n, *mask_shape)
            if len(mask_shape) != len(shape) or any(m not in (1, s) for m, s in zip(mask_shape, shape)):
                raise LemError(f"mask {list(mask.shape)} does not fit data {[n, *shape]}")
        counts = _counts(mask, (n, *shape))
        if "packed" in tensors:
            data = _unpack_tokens(tensors.pop("packed"), meta["depth"], (n, *shape), dtype)
        elif "codes" in tensors:
            codes, data = _unpack(tensors.pop("codes"), ops, counts, mask, (n, *shape), dtype)
        else:
            values = tensors.pop("values")
            if values.dtype != dtype or values.shape != (counts.sum(),):
                raise LemError(f"damaged document ({values.size} values where the mask keeps {counts.sum()})")
            data = np.zeros((n, *shape), dtype)
            data[np.broadcast_to(True if mask is None else mask, data.shape)] = values
    if data.ndim == 0 or len(data) != n:
        raise LemError(f"damaged document (data of shape {list(data.shape)} for {n} items)")
    if n and not type_fits(kind, data.dtype):
        raise LemError(f"{kind} data of type {data.dtype}")
    names = None
    if "names.offsets" in tensors:
        names = unpack_names(tensors.pop("names.utf8"), tensors.pop("names.offsets"), n)
    index = tensors.pop("index", None)
    if index is None:
        index = int(meta.get("first", 0)) + int(meta.get("step", 1)) * np.arange(n, dtype=np.int64)
    label, cost, tokens = (tensors.pop(name, None) for name in ("label", "cost", "tokens"))
    depth = meta.get("depth")
    if depth is not None and not (type(depth) is int and 1 <= depth <= 64):
        raise LemError("damaged document (depth)")
    if tokens is not None and tokens.dtype.kind not in "iu":
        raise LemError("damaged document (tokens)")
    for name, array in (("index", index), ("label", label), ("cost", cost)):
        if array is not None and array.shape != (n,):
            raise LemError(f"damaged document ({name} of shape {list(array.shape)} for {n} items)")
    if index.dtype != np.int64 or index.min(initial=0) < 0:
        raise LemError("damaged document (index)")
    rate, history = meta.get("rate"), meta.get("history", [])
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        raise LemError("damaged document (history)")
    if rate is not None and not (isinstance(rate, (int, float)) and 0 < rate < math.inf):
        raise LemError("damaged document (rate)")
    last = meta.get("last") is True or None
    return Signal(kind, data, mask, codes, label, names, ops, history, rate, index, cost, last, tokens, depth)


def unpack_names(text: np.ndarray, offsets: np.ndarray, n: int) -> list[str]:
    """The names of n items from the tensors names.utf8 and names.offsets."""
    offsets, text = offsets.astype(np.int64, casting="safe"), text.tobytes()
    if offsets.shape != (n + 1,) or offsets[0] != 0 or offsets[-1] != len(text) or (np.diff(offsets) < 0).any():
        raise LemError("damaged document (names)")
    return [text[a:b].decode("utf-8", "surrogateescape") for a, b in itertools.pairwise(offsets)]


def _sizes(shape) -> bool:
    return isinstance(shape, list) and len(shape) > 0 and all(type(s) is int and 0 < s < 2**40 for s in shape)


def _unpack_tokens(packed: np.ndarray, depth: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Tokens [N, L] of `dtype` from their packed form, all of a batch in one row of bits."""
    n, length = shape
    if not 1 <= depth <= _codes.MAX_BITS or dtype.kind not in "iu" or depth > 8 * dtype.itemsize:
        raise LemError("damaged document (depth)")
    if packed.dtype != np.uint8 or packed.shape != (_codes.packed_size(n * length, depth),):
        raise LemError(f"damaged document ({packed.size} bytes of packed tokens)")
    return _codes.unpack(packed, n * length, depth).reshape(shape).astype(dtype, copy=False)


def _unpack(packed: np.ndarray, ops, counts, mask, shape, dtype) -> tuple[np.ndarray, np.ndarray]:
    """Codes and decoded values, both of `shape`, of the packed tensor; lost elements are 0 in both."""
    op = next(op for op in reversed(ops) if op["op"] == "bits")
    quantiser = QUANTISERS.get(op["quantizer"])
    if op["domain"] not in ("uint8", "unit", "signed", "gaussian") or quantiser is None:
        raise LemError(f"unknown quantiser {op['quantizer']} on {op['domain']}; a newer lemtools wrote this")
    if dtype != (np.uint8 if op["domain"] == "uint8" else np.float32):
        raise LemError(f"damaged document ({dtype} in the domain {op['domain']})")
    joint, rotate = _codes.joint(op), op.get("rotate", 0)
    seeded = type(rotate) is int and rotate >= 0
    if joint and not (op["domain"] == "gaussian" and len(shape) <= 3 and mask is None and seeded):
        raise LemError("damaged document (codes of whole vectors)")
    bits, most = _bits(op, shape[0]), 8 if op["domain"] == "uint8" else quantiser.most
    if np.asarray(op["bits"]).dtype.kind not in "iu" or not 1 <= bits.min(initial=1) <= bits.max(initial=1) <= most:
        raise LemError("damaged document (bits)")
    levels, fitted = op.get("levels"), op["domain"] in quantiser.fitted
    if (levels is not None) != fitted or (
        fitted
        and not (
            levels.ndim == 2
            and levels.shape[1] >= 2 ** int(bits.max(initial=1))
            and np.abs(levels).max(initial=0) <= 255
        )
    ):
        raise LemError("damaged document (levels)")
    if op["domain"] == "gaussian" and op.get("scale") is None:
        raise LemError("damaged document (no scale)")
    for name in ("scale", "slack"):
        value = op.get(name, np.zeros(shape[0], np.float32))
        each = joint and name == "scale" and len(shape) == 3
        if value.shape != shape[: 2 if each else 1] or value.dtype != np.float32 or not value.min(initial=0) >= 0:
            raise LemError(f"damaged document ({name})")
    sizes = [_codes.packed_size(c, b) for c, b in zip(counts, bits)]
    if packed.dtype != np.uint8 or packed.shape != (sum(sizes),):
        raise LemError(f"damaged document ({packed.size} bytes of codes, {sum(sizes)} expected)")
    if _seamless(bits, mask, shape):
        codes = _codes.unpack(packed, math.prod(shape), int(bits[0])).reshape(shape)
    else:
        codes, start = np.zeros(shape, _codes.code_dtype(op)), 0
        for i, (count, depth, size) in enumerate(zip(counts, bits, sizes)):
            kept = _codes.unpack(packed[start : start + size], int(count), int(depth))
            where = np.broadcast_to(True if mask is None else mask[i], shape[1:])
            codes[i][where] = kept
            start += size
    data = _codes.decode(codes, op)
    if mask is not None:
        data *= mask
    return codes, data
