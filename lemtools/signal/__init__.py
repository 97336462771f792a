"""The one thing that travels between the tools: a batch of memories or of fragments, and its form as named tensors."""

from ..catalogue.errors import LemError
from .batch import KINDS, Signal
from .forms import form_of
from .layout import Layout, Tensor, Value
from .long import Long
from .names import name_of, path_of, stem, unpack_texts
from .part import Part
from .spoken import Alphabet, Word, written
from .tensors import bits_per_element, check_document, from_tensors, to_tensors
from .types import DTYPES, narrow, type_fits, wire_type
from .words import called, those

__all__ = [
    "DTYPES",
    "KINDS",
    "Alphabet",
    "Layout",
    "LemError",
    "Long",
    "Part",
    "Signal",
    "Tensor",
    "Value",
    "Word",
    "bits_per_element",
    "called",
    "check_document",
    "form_of",
    "from_tensors",
    "name_of",
    "narrow",
    "path_of",
    "stem",
    "those",
    "to_tensors",
    "type_fits",
    "unpack_texts",
    "wire_type",
    "written",
]
