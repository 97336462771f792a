"""Files and pipes of images, sounds, arrays and text, to and from signals; their kind is told by magic bytes."""

from .load import inputs_named, load, mapped, sample, store
from .save import Target, save

__all__ = ["Target", "inputs_named", "load", "mapped", "sample", "save", "store"]
