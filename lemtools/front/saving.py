"""Memories and fragments into files."""

from __future__ import annotations

import itertools
import os
from pathlib import PurePath
from typing import Any

from ..catalogue import LemError
from ..media import Target
from ..media import save as write
from .inputs import signals
from .words import note, public


@public
def save(x: Any, path: str | os.PathLike[str], *, to: str | None = None) -> int:
    """Write memories or fragments; returns how many.

    path : a file, its format by the extension, none that x is read from; a folder ("out/", or a Path without extension)
        with a file an item; or a pattern ("out-%05d.png"). to : a format, in place of the extension's.
    """
    stream = signals(x)
    name = os.fsdecode(os.fspath(path)) if isinstance(path, str | bytes | os.PathLike) else None
    if name is None:
        raise LemError(f"path={path!r}: it takes a str or a Path")
    if isinstance(path, PurePath) and not path.suffix and to is None and not name.endswith("/"):
        name += "/"
    Target(name, to).refuse(stream.sources)  # before anything is read
    batches = iter(stream)
    first = next(batches, None)
    if first is None:
        return 0
    target = Target(name, to, own=not first.ops and first.part is None)
    target.refuse(stream.sources)
    return int(write(itertools.chain([first], batches), target, note))
