"""Encode memories: signal -> embedding or tokens, and back where the encoding keeps enough.

An encoder is a class (contract.Encoder, or contract.Fitted where it is fitted to data and kept in one file) and a row
of the catalogue. `encode`, `decode` and `fit` apply it to whole streams.
"""

from .coder import Coder, decode, encode
from .fitting import fit, fit_files, load, without_file
from .text import lines

__all__ = ["Coder", "decode", "encode", "fit", "fit_files", "lines", "load", "without_file"]
