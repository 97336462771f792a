"""Files and pipes of images, sounds, arrays and text, to and from signals; their kind is known by their first bytes."""

from .find import inputs_named, sample
from .how import Reading
from .load import load
from .save import Target, save
from .store import on_disk, store

__all__ = ["Reading", "Target", "inputs_named", "load", "on_disk", "sample", "save", "store"]
