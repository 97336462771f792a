"""Sounds as spectra, and back: transforms of numpy arrays, and the front end that says which one made a spectrum."""

from .contract import Front
from .front import of, unlike

__all__ = ["Front", "of", "unlike"]
