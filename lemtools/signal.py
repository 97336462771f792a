"""The one thing that travels between the tools: a batch of memories or of fragments, and its form as named tensors."""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from . import codes as _codes

KINDS = {
    # kind: (dimensions of `data`, spatial axes as negative numbers: where masks, crops and spans act)
    "image": ((4,), (-2, -1)),
    "audio": ((3,), (-1,)),
    "spectrum": ((4,), (-2, -1)),
    "embedding": ((2, 3), None),  # [N, D]: the dimensions; [N, L, D]: positions and dimensions
    "tokens": ((2,), (-1,)),
}

# Types of the wire: safetensors' names and numpy's.
DTYPES = {
    "BOOL": "?", "U8": "<u1", "I8": "<i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8",
    "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
}


_TYPES = {np.dtype(code).name for code in DTYPES.values()}
_SHARED = 1024  # channels that may share one bit of a mask


class LemError(ValueError):
    """What a user can mend: the message is one line that says what is wrong, where, and the way out."""


@dataclass
class Signal:
    """One batch of N items of one shape.

    kind   'image', 'audio', 'spectrum', 'embedding' or 'tokens'.
    data   image [N, C, H, W] uint8, or float32 with 1 as full scale; audio [N, C, T] float32, full scale 1;
           spectrum [N, C, F, T] float32; embedding [N, D] or [N, L, D] float; tokens [N, L] integer.
           In a fragment: the decoded value (middle of the bin or centroid), 0 where it is lost.
    mask   None, or bool [N, ...] that broadcasts to `data`: True observed, False lost.
    codes  None, or integers shaped like `data`: its quantised form, described by the last `bits` operation.
    ops    what was taken away, in order: dicts with `op` and all its parameters; empty for a whole memory. A value that
           is an array [N, ...] belongs to the items one by one.
    index  int64 [N]: place of each item in its whole stream; the random generators depend on it.
    cost   None, or float64 [N]: bits per element of the whole memory that the fragment this was recalled from took.
    tokens None, or the integers [N] or [N, L] that the positions of an embedding stand for.
    depth  None, or the bits that a value of `data` truly has: tokens below 2**depth travel packed, float32 of depth 16
           whose lower half is 0 as bfloat16. Where the values have more after all, they travel as they are.
    last   True: the stream ends here; None: not known.
    """

    kind: str
    data: np.ndarray
    mask: np.ndarray | None = None
    codes: np.ndarray | None = None
    label: np.ndarray | None = None
    names: list[str] | None = None
    ops: list[dict] = field(default_factory=list)
    history: list[dict] = field(default_factory=list)
    rate: float | None = None
    index: np.ndarray | None = None
    cost: np.ndarray | None = None
    last: bool | None = None
    tokens: np.ndarray | None = None
    depth: int | None = None

    def __post_init__(self):
        dims, _ = KINDS.get(self.kind) or _fail(f"unknown kind {self.kind!r}; known are {', '.join(KINDS)}")
        if self.data.ndim not in dims:
            raise LemError(f"{self.kind} data has {' or '.join(map(str, dims))} dimensions, not {self.data.ndim}")
        if 0 in self.data.shape[1:]:
            raise LemError(f"{self.kind} items of shape {list(self.data.shape[1:])} hold nothing")
        if self.index is None:
            self.index = np.arange(len(self.data), dtype=np.int64)
        if self.mask is not None:
            fits = self.mask.ndim == self.data.ndim and all(
                m == d or (i > 0 and m == 1) for i, (m, d) in enumerate(zip(self.mask.shape, self.data.shape))
            )
            if not fits:
                raise LemError(f"mask {list(self.mask.shape)} does not fit data {list(self.data.shape)}")
        if self.tokens is not None and not (self.kind == "embedding" and self.tokens.shape == self.data.shape[:-1]):
            raise LemError(f"token ids {list(self.tokens.shape)} do not fit {self.kind} {list(self.data.shape)}")

    def __len__(self) -> int:
        return len(self.data)

    @property
    def spatial_axes(self) -> tuple[int, ...]:
        """Negative axes of `data` along which an item extends in space, time or dimension."""
        return KINDS[self.kind][1] or tuple(range(1 - self.data.ndim, 0))

    @property
    def whole_shape(self) -> tuple[int, ...]:
        """Shape of one item before anything was taken away."""
        return next((tuple(op["shape"]) for op in self.ops if "shape" in op), self.data.shape[1:])

    @property
    def whole_dtype(self) -> np.dtype:
        """Type of the values before anything was taken away."""
        return np.dtype(next((op["dtype"] for op in self.ops if "dtype" in op), self.data.dtype))

    @property
    def code_op(self) -> dict | None:
        """The operation that `codes` belong to."""
        if self.codes is None:
            return None
        return next(op for op in reversed(self.ops) if op["op"] == "bits")

    def observed(self) -> np.ndarray:
        """The mask at full shape, bool like `data`."""
        mask = np.True_ if self.mask is None else self.mask
        return np.broadcast_to(mask, self.data.shape)

    def take(self, items) -> "Signal":
        """The items selected by a slice or an integer array, with all that belongs to them."""
        items = np.atleast_1d(np.arange(len(self))[items])

        def pick(value):
            return value[items] if isinstance(value, np.ndarray) else value

        return replace(
            self,
            **{k: pick(getattr(self, k)) for k in ("data", "mask", "codes", "label", "index", "cost", "tokens")},
            names=None if self.names is None else [self.names[i] for i in items],
            ops=[{k: pick(v) for k, v in op.items()} for op in self.ops],
            last=None,
        )


def _fail(message: str):
    raise LemError(message)


def type_fits(kind: str, dtype: np.dtype) -> bool:
    """Tokens are integers; all else is real, and images may be uint8."""
    return dtype.kind in "iu" if kind == "tokens" else dtype.kind == "f" or (kind == "image" and dtype == np.uint8)


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
        meta |= {"shape": list(signal.data.shape[1:]), "dtype": _wire_dtype(signal.data)}
    if mask is not None:
        meta["mask"] = list(mask.shape[1:])
    meta |= {"ops": ops, "history": signal.history}
    if signal.last:
        meta["last"] = True
    named = {k: (_wire_dtype(v), v) for k, v in tensors.items()}
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


def _wire_dtype(array: np.ndarray) -> str:
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
    return [text[a:b].decode("utf-8", "surrogateescape") for a, b in zip(offsets[:-1], offsets[1:])]


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
    if op["domain"] not in ("uint8", "unit", "signed", "gaussian") or op["quantizer"] not in (
        "uniform", "lloyd-max", "trellis"
    ):
        raise LemError(f"unknown quantiser {op['quantizer']} on {op['domain']}; a newer lemtools wrote this")
    if dtype != (np.uint8 if op["domain"] == "uint8" else np.float32):
        raise LemError(f"damaged document ({dtype} in the domain {op['domain']})")
    joint, rotate = _codes.joint(op), op.get("rotate", 0)
    seeded = type(rotate) is int and rotate >= 0
    if joint and not (op["domain"] == "gaussian" and len(shape) <= 3 and mask is None and seeded):
        raise LemError("damaged document (codes of whole vectors)")
    bits, most = _bits(op, shape[0]), 8 if op["domain"] == "uint8" else _codes.most_bits(op["quantizer"])
    if np.asarray(op["bits"]).dtype.kind not in "iu" or not 1 <= bits.min(initial=1) <= bits.max(initial=1) <= most:
        raise LemError("damaged document (bits)")
    levels, fitted = op.get("levels"), op["quantizer"] == "lloyd-max" and op["domain"] != "gaussian"
    if (levels is not None) != fitted or fitted and not (
        levels.ndim == 2 and levels.shape[1] >= 2 ** int(bits.max(initial=1)) and np.abs(levels).max(initial=0) <= 255
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
