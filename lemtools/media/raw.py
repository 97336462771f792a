"""The bytes of an input as a sequence: those of a file stay on the disk until they are asked for."""

from __future__ import annotations

import os
import stat
import weakref
from collections.abc import Callable, Iterator

from ..signal import LemError
from ..stream import Source

PIECE = 1 << 20  # bytes that are looked through at a time
Take = Callable[[int, int], bytes]


class Raw:
    """Of `take`, (from, to) -> bytes, what lies between `begin` and `end`. `raw[a:b]` are bytes, fewer where it ends."""

    def __init__(self, take: Take, begin: int, end: int):
        self._take, self._begin, self._size = take, begin, end - begin
        self._mended: list[tuple[int, bytes]] = []

    @classmethod
    def of(cls, source: Source) -> Raw:
        """All that is left of a source. LemError beyond its `max_bytes`."""
        if (place := _place(source)) is None:
            view = source.rest().data
            return cls(lambda a, b: bytes(view[a:b]), 0, len(view))
        file, begin, end = place
        if end - begin > source.max_bytes:
            raise LemError(f"{source.name}: larger than {source.max_bytes} bytes; raise --max-bytes to read it")
        return cls(_disk(file, source.name), begin, end)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        begin, end, _ = part.indices(self._size)
        found = self._take(self._begin + begin, self._begin + max(begin, end))
        for at, new in self._mended:
            first, last = max(at, begin), min(at + len(new), begin + len(found))
            if first < last:
                found = found[: first - begin] + new[first - at : last - at] + found[last - begin :]
        return found

    def mend(self, at: int, new: bytes) -> None:
        """Let other bytes stand at a place; the file keeps its own."""
        self._mended.append((at, new))

    def part(self, begin: int, end: int) -> Raw:
        """The bytes between two places, counted from the first of them."""
        return Raw(lambda a, b: self[a:b], begin, end)

    def pieces(self, begin: int, overlap: int) -> Iterator[bytes]:
        """All from a place on, each piece with the last bytes of the one before it."""
        for at in range(begin, self._size, PIECE):
            yield self[max(begin, at - overlap) : at + PIECE]

    def holds(self, what: bytes, begin: int) -> bool:
        """Whether some bytes stand somewhere behind a place."""
        return any(what in piece for piece in self.pieces(begin, len(what) - 1))


class Cursor:
    """A Raw as soundfile reads a file. What the disk refuses ends the file there, and is kept as `error`: nothing can be raised
    through libsndfile."""

    def __init__(self, raw: Raw):
        self._raw, self._at = raw, 0
        self.error: OSError | None = None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: len(self._raw)}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, count: int) -> bytes:
        try:
            found = self._raw[self._at : self._at + count]
        except OSError as error:
            self.error, found = error, b""
        self._at += len(found)
        return found


def _place(source: Source) -> tuple[int, int, int] | None:
    """(descriptor, where it stands, where it ends) of a source that is a regular file."""
    try:
        file = source.file.fileno()
        state = os.fstat(file)
        begin = os.lseek(file, 0, os.SEEK_CUR) - len(source.ahead)
    except (OSError, ValueError, AttributeError):
        return None
    return (file, begin, state.st_size) if stat.S_ISREG(state.st_mode) and begin <= state.st_size else None


def _disk(file: int, name: str) -> Take:
    """The bytes of a file, which stays open for as long as somebody may ask for them."""
    own = os.dup(file)

    def take(begin: int, end: int) -> bytes:
        found = b""
        while begin + len(found) < end:
            try:
                more = os.pread(own, end - begin - len(found), begin + len(found))
            except OSError as error:
                error.filename = name
                raise
            if not more:
                break
            found += more
        return found

    weakref.finalize(take, os.close, own)
    return take
