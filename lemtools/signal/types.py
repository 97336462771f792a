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


def wire_type(array: np.ndarray) -> str:
    """safetensors' name of an array's type. Raises LemError for a type without one."""
    name = NAMES.get(array.dtype.newbyteorder("="))
    if name is None:
        raise LemError(f"values of type {array.dtype} cannot travel; use float32")
    return name


def width(name: str) -> int:
    """Bytes that a number of a type on the wire takes."""
    return 2 if name == BF16 else np.dtype(DTYPES[name]).itemsize


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
