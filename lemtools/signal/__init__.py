"""The one thing that travels between the tools: a batch of memories or of fragments, and its form as named tensors."""

from .batch import KINDS, LemError, Signal, type_fits
from .tensors import DTYPES, bits_per_element, from_tensors, narrow, to_tensors, unpack_names, wire_type

__all__ = [
    "DTYPES",
    "KINDS",
    "LemError",
    "Signal",
    "bits_per_element",
    "from_tensors",
    "narrow",
    "to_tensors",
    "type_fits",
    "unpack_names",
    "wire_type",
]
