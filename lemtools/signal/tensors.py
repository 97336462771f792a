"""The form in which a batch travels: named tensors and a JSON object."""

import math
from typing import Any

import numpy as np

from ..catalogue.errors import LemError
from .batch import KINDS, Signal
from .forms import FORMS, Frame, form_of, pack_mask, unpack_mask, value_bits
from .layout import Found, Layout, Tensor, Value, of_arrays
from .names import pack_texts, unpack_texts
from .part import Part
from .spoken import WORDS, Alphabet, pack_words, unpack_words
from .types import DTYPES, fits_half, narrow, type_fits, wire_type

Tensors = dict[str, np.ndarray]
Meta = dict[str, Any]
OFFSETS = ("names.offsets", "words.offsets", "words.items")  # where items begin in what all have in common
TOGETHER = (("names.utf8", "names.offsets"), WORDS)  # all of them, or none
LARGE = ("data", "codes", "values", "packed", "mask")  # tensors that grow with the elements of an item
_TYPES = {np.dtype(code).name for code in DTYPES.values()}
_SIZES = Value("sizes", 1, 2**40, needed=False)
STREAM = Layout(
    {
        "kind": Value(tuple(KINDS)),
        "n": Value("whole", 0, 2**40),
        "first": Value("whole", 0, 2**62, needed=False),
        "step": Value("whole", -(2**62), 2**62, needed=False),
        "last": Value("flag", needed=False),
        "rate": Value("number", 1e-9, 1e12, needed=False),
        "shape": _SIZES,
        "mask": _SIZES,
        "dtype": Value(tuple(DTYPES), needed=False),
        "depth": Value("whole", 1, 64, needed=False),
        "ops": Value("objects", needed=False),
        "history": Value("objects", needed=False),
        "alphabet": Value("object", needed=False),
        "part": Value("object", needed=False),
    },
    {
        "data": Tensor("any", "n ...", needed=False),
        "codes": Tensor("U8", "?", needed=False),
        "values": Tensor("any", "?", needed=False),
        "packed": Tensor("U8", "?", needed=False),
        "mask": Tensor("U8", "n ?", needed=False),
        "label": Tensor("whole", "n", needed=False),
        "index": Tensor("I64", "n", 0, needed=False),
        "cost": Tensor("float", "n", 0, needed=False),
        "tokens": Tensor("whole", "n ...", needed=False),
        "names.utf8": Tensor("U8", "?", needed=False),
        "names.offsets": Tensor("I64", "n+1", needed=False),
        "spans": Tensor("F64", "n ? 2", needed=False),
        "scores": Tensor("F32", "n ?", needed=False),
        "words.utf8": Tensor("U8", "?", needed=False),
        "words.offsets": Tensor("I64", "words+1", needed=False),
        "words.items": Tensor("I64", "n+1", needed=False),
        "words.spans": Tensor("F64", "words 2", needed=False),
        "ops.*": Tensor("any", "n ...", needed=False),
    },
)
_BESIDE = ("label", "cost", "tokens", "spans", "scores")  # fields that travel as they are
_SHARED = 1024  # channels that may share one bit of a mask


def bits_per_element(signal: Signal) -> np.ndarray:
    """float64 [N]: bits each item takes on the wire, over the number of elements of the whole memory.

    Codes or values, mask and every other per-item parameter (norms, codebooks, places of a crop) count; labels, names,
    token ids, times and words and the JSON header, which do not help to decode, do not. Each item is counted as if it travelled alone:
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
    for name in _BESIDE:
        if (value := getattr(signal, name)) is not None:
            tensors[name] = value
    if signal.names is not None:
        tensors |= pack_texts("names", signal.names)
    if signal.words is not None:
        tensors |= pack_words(signal.words)
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
    if signal.alphabet is not None:
        meta["alphabet"] = {"name": signal.alphabet.name, "symbols": list(signal.alphabet.symbols)}
    if signal.part is not None:
        meta["part"] = signal.part.record()
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


def check_document(meta: Meta, found: Found) -> None:
    """Raise LemError where the record of a document, or the header of its tensors, is none of a stream's."""
    if meta.get("v") != 1:
        raise LemError(f"unknown version {str(meta.get('v'))[:20]} of the stream format")
    try:
        STREAM.check(meta, found)
        if meta["n"] and not any(name in found for name in LARGE[:-1]):
            raise LemError("no values")
        for group in TOGETHER:
            if 0 < sum(name in found for name in group) < len(group):
                raise LemError(f"half of its {group[0].partition('.')[0]}")
        if meta["n"] and "data" not in found and not {"shape", "dtype"} <= meta.keys():
            raise LemError("its record does not say the shape and type of its values")
    except LemError as error:
        raise LemError(f"damaged document ({error})") from error


def _from_tensors(tensors: Tensors, meta: Meta, max_bytes: int) -> Signal:
    check_document(meta, of_arrays(tensors))
    STREAM.check_values({name: tensors[name] for name in ("index", "cost") if name in tensors})
    kind, n, depth, rate = meta["kind"], meta["n"], meta.get("depth"), meta.get("rate")
    ops = _read_ops(tensors, meta, n)
    data, codes, mask = _read_values(tensors, meta, ops, max_bytes)
    if n and not type_fits(kind, data.dtype):
        raise LemError(f"{kind} data of type {data.dtype}")
    names = unpack_texts(tensors["names.utf8"], tensors["names.offsets"], n) if "names.offsets" in tensors else None
    words = unpack_words(tensors, n) if "words.items" in tensors else None
    alphabet = Alphabet.read(meta["alphabet"]) if "alphabet" in meta else None
    part = Part.read(meta["part"]) if "part" in meta else None
    index = tensors.get("index")
    if index is None:
        first, step = meta.get("first", 0), meta.get("step", 1)
        _require(0 <= first + step * max(n - 1, 0) < 2**62, "index")
        index = first + step * np.arange(n, dtype=np.int64)
    beside: dict[str, Any] = {name: tensors.get(name) for name in _BESIDE}
    beside |= {"names": names, "words": words, "alphabet": alphabet, "part": part, "history": meta.get("history", [])}
    last = meta.get("last") or None
    return Signal(kind, data, mask, codes, ops=ops, rate=rate, index=index, last=last, depth=depth, **beside)


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise LemError(f"damaged document ({what})")


def _read_ops(tensors: Tensors, meta: Meta, n: int) -> list[dict[str, Any]]:
    """The operations with their per-item parameters, floats as float32."""
    ops = [dict(op) for op in meta.get("ops", [])]
    for name, array in tensors.items():
        if name.startswith("ops."):
            _, i, key = name.split(".", 2)
            _require(i.isdecimal() and int(i) < len(ops), name)
            ops[int(i)][key] = array.astype(np.float32) if array.dtype.kind == "f" else array
    for op in ops:
        _require(isinstance(op.get("op"), str), "an operation without a name")
        _require(
            op.get("dtype", "uint8") in _TYPES and _SIZES.fits(op.get("shape", [1])), f"shape or dtype of {op['op']}"
        )
        if any(isinstance(v, np.ndarray) and (v.ndim == 0 or len(v) != n) for v in op.values()):
            raise LemError(f"damaged document (parameters of {op['op']} do not match {n} items)")
    return ops


def _read_values(
    tensors: Tensors, meta: Meta, ops: list[dict[str, Any]], max_bytes: int
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """(data, codes, mask) by whatever form they arrived in."""
    if "data" in tensors:
        return tensors["data"], None, None
    shape, dtype = (meta["n"], *meta["shape"]), np.dtype(DTYPES[meta["dtype"]])
    if (size := math.prod(shape) * dtype.itemsize) > max_bytes:
        raise LemError(f"a document of {size} bytes once unpacked; raise --max-bytes to read it")
    # Memory is taken only for what arrived: a bit of the mask speaks for some channels, a code or value for itself.
    sent = next(tensors[name] for name in ("mask", "codes", "values", "packed") if name in tensors)
    if math.prod(shape) > 8 * sent.size * (_SHARED if "mask" in meta else 1):
        raise LemError(f"damaged document ({shape[0]} items of {list(shape[1:])} are not all there)")
    mask = None
    if "mask" in meta:
        mask = unpack_mask(tensors["mask"], tuple(meta["mask"]), shape)
    form = next(form for form in FORMS if form.tensor in tensors)
    data, codes = form.decode(tensors[form.tensor], Frame(shape, dtype, mask, ops, meta.get("depth")))
    return data, codes, mask
