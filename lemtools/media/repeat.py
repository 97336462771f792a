"""Inputs that are read several times, and inputs that must not be the same."""

import glob
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence

from .. import stream
from ..signal import LemError, Signal
from .load import expand, load


def repeatable(paths: Sequence[str], **options) -> Callable[[], Iterator[Signal]]:
    """What reads the inputs as often as it is called; of pipes it keeps a copy in an unnamed temporary file.

    options: of media.load. Every input that cannot be read is an error.
    """
    if rereadable(paths):
        return lambda: load(paths, **options)
    file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  it is read again later
    stream.write(load(paths, **options), file)

    def read_again() -> Iterator[Signal]:
        file.seek(0)
        return stream.read(stream.Source(file, "standard input"))

    return read_again


def rereadable(paths: Sequence[str]) -> bool:
    """Whether all inputs can be read again from where they are: none is a pipe."""
    return all(os.path.isfile(path) or os.path.isdir(path) or glob.has_magic(path) for path in paths)


def check_apart(learnt: Sequence[str], validation: Sequence[str], called: str = "--data") -> None:
    """Raise LemError where a file to validate on, by whatever name, is learnt from, too."""
    if validation:
        known = {os.path.realpath(path) for path, _ in expand(learnt)}
        for path, _ in expand(validation):
            if os.path.realpath(path) in known:
                raise LemError(f"--validate: {path} is among {called}, too; nothing may be learnt from it then")
