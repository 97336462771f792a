"""How many items files hold, by their first bytes."""

import os
from collections.abc import Iterable

from .. import stream
from ..signal import LemError
from .arrays import idx_header, items_shape, npy_header, unzip
from .find import sniff
from .how import Reading


def count(files: Iterable[tuple[str, str]], how: Reading) -> int | None:
    """The items of all (path, name); None where one of the files does not say it."""
    total = 0
    for path, _ in files:
        try:
            found = _of(path, how)
        except (LemError, OSError):
            found = 0  # what cannot be read holds nothing
        if found is None:
            return None
        total += found
    return total


def _of(path: str, how: Reading) -> int | None:
    if not os.path.isfile(path):
        return None
    with open(path, "rb", buffering=0) as file:
        source = stream.Source(file, path, how.max_bytes)
        if sniff(source.peek(16))[1] == "gzip":
            source = unzip(source)
        family = sniff(source.peek(16))[1]
        if family in ("image", "sound", "textgrid"):
            return 1
        if family in ("npy", "idx"):
            shape, dtype = idx_header(source) if family == "idx" else npy_header(source)[::2]
            return items_shape(shape, dtype, path, how)[0]
        if family == "stream" and (header := stream.read_header(source)) is not None and header.lem is not None:
            alone = source.place + header.size == os.path.getsize(path)
            return header.lem.get("n") if alone else None
    return None
