"""Types of numbers on the wire."""

import numpy as np

from ..catalogue.errors import LemError

# safetensors' names and numpy's
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
NAMES = {np.dtype(code): name for name, code in DTYPES.items()}
BF16 = "BF16"  # the upper half of a float32; numpy lacks it
# other files' types that numpy lacks: bits a value
SMALL = {BF16: 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8}
READ_AS_FLOAT = ("F16", "F32", "F64", *SMALL)
READ_AS = (*(name for name in DTYPES if name != "BOOL"), *SMALL)
UNREAD = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "C64": 64}  # known by name alone


def wire_type(array: np.ndarray) -> str:
    """safetensors' name of an array's type. Raises LemError for a type without one."""
    name = NAMES.get(array.dtype.newbyteorder("="))
    if name is None:
        raise LemError(f"values of type {array.dtype} cannot travel; use float32")
    return name


def bits_of(name: str) -> int | None:
    """Bits that a number of a type on the wire takes; None for no type."""
    if name in DTYPES:
        return 8 * np.dtype(DTYPES[name]).itemsize
    return SMALL.get(name, UNREAD.get(name))


def width(name: str) -> int:
    """Bytes that a number of a type on the wire takes, of a type that is read."""
    return (bits_of(name) or 0) // 8


def widened(raw: np.ndarray, name: str) -> np.ndarray:
    """Bytes uint8 of a type of SMALL as float32, exactly (Micikevicius et al., FP8 formats for deep learning, 2022; OCP
    microscaling formats, 2023)."""
    if name == BF16:
        return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
    if name == "F8_E5M2":  # the upper half of a float16
        return (raw.astype(np.uint16) << 8).view(np.float16).astype(np.float32)
    code = np.arange(256)
    if name == "F8_E8M0":
        table = np.append(np.ldexp(np.float32(1), code[:255] - 127), np.nan)
    else:
        power, part = code >> 3 & 15, code & 7
        table = np.ldexp(np.float32(part + 8 * (power > 0)), np.maximum(power, 1) - 10)
        table[code & 127 == 127] = np.nan
        table[128:] *= -1
    return table.astype(np.float32)[raw]


def bytes_of(values: np.ndarray, name: str) -> np.ndarray:
    """Values as uint8, the bytes of a type of floats on the wire; rounded to the nearest, what is too large to the largest."""
    if name != BF16:
        dtype = np.dtype(DTYPES[name])
        if dtype.itemsize < values.dtype.itemsize:
            most = np.finfo(dtype).max
            values = np.clip(values, -most, most)
        return np.ascontiguousarray(values, dtype).reshape(-1).view(np.uint8)
    most = np.array([0x7F7F0000], np.uint32).view(np.float32)[0]
    words = np.ascontiguousarray(np.clip(values, -most, most), np.float32).reshape(-1).view(np.uint32)
    return ((words + 0x7FFF + (words >> 16 & 1)) >> 16).astype("<u2").view(np.uint8)


def narrow(array: np.ndarray) -> np.ndarray:
    """Per-item parameters travel as float16 where that is exact."""
    if array.dtype.kind != "f":
        return array
    return array.astype(np.float16 if fits_half(array).all() else np.float32)


def fits_half(array: np.ndarray) -> np.ndarray:
    """bool [N]: of which items float16 holds all numbers exactly."""
    with np.errstate(over="ignore"):
        same = array.astype(np.float16).astype(array.dtype) == array
    return np.asarray(same.all(axis=tuple(range(1, array.ndim))))


def type_fits(kind: str, dtype: np.dtype) -> bool:
    """Tokens are integers; all else is real, and images may be uint8."""
    return dtype.kind in "iu" if kind == "tokens" else dtype.kind == "f" or (kind == "image" and dtype == np.uint8)
