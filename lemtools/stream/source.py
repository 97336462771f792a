"""Bytes of files and pipes, in and out."""

import contextlib
import fcntl
import os
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..signal import LemError

MAX_BYTES = 1 << 34  # of one document's body, or of one media file
MAX_ITEM = (
    1 << 29
)  # of one item once it is decoded, and of all that is unpacked at once: a small file may hold any size
_STEP = 1 << 26  # how far memory is taken ahead of what has arrived
_LARGE = 1 << 22  # smaller memory the allocator itself hands out again
_F_SETPIPE_SZ = 1031  # Linux; a larger pipe halves the number of switches between two stages


class Source:
    """Bytes of a file or pipe, to be peeked at, read exactly, or skipped; `name` is what errors call it.

    max_bytes: of a document, a file, and an item once it is decoded; None: MAX_BYTES, of an item MAX_ITEM (`item_bytes`).
    """

    def __init__(self, file: Any, name: str, max_bytes: int | None = None):
        self.file, self.name = file, name
        self.max_bytes, self.item_bytes = (MAX_BYTES, MAX_ITEM) if max_bytes is None else (max_bytes, max_bytes)
        self.ahead = b""
        self.place = 0
        self.bodies: list[
            tuple[np.ndarray, weakref.ref[np.ndarray]]
        ] = []  # memory of the last bodies, and who looks at it
        widen_pipe(file)

    def peek(self, n: int) -> bytes:
        """The next n bytes, fewer at the end, without taking them."""
        while len(self.ahead) < n:
            more = self._got(self.file.read, n - len(self.ahead))
            if not more:
                break
            self.ahead += more
        return self.ahead[:n]

    def readinto(self, view: memoryview) -> int:
        """Fill `view` (bytes) as far as the input goes; returns how far."""
        done = min(len(view), len(self.ahead))
        view[:done] = self.ahead[:done]
        self.ahead = self.ahead[done:]
        while done < len(view):
            got = self._got(self.file.readinto, view[done:])
            if not got:
                break
            done += got
        self.place += done
        return done

    def _got(self, reading: Callable[[Any], Any], what: Any) -> Any:
        """What the file gives; an error names it, as that of a disk that fails does not."""
        try:
            return reading(what)
        except OSError as error:
            error.filename = error.filename or self.name
            raise

    def read(self, n: int, into: np.ndarray | None = None) -> np.ndarray:
        """n bytes as uint8 [n], or as many as there are, put `into` memory of at least n bytes where that is given.

        Else memory is taken as the bytes come, not as they are announced.
        """
        out = _room(min(n, _STEP)) if into is None else into[:n]
        have = self.readinto(out.data)
        while have == len(out) < n:
            grown = _room(min(n, 2 * len(out)))
            grown[:have] = out
            out = grown
            have += self.readinto(out.data[have:])
        return out[:have]

    def body(self, n: int) -> np.ndarray:
        """As `read`; large bodies take the place of earlier ones that nobody looks at now: fresh pages cost time."""
        if n < _LARGE:
            return self.read(n)
        free = next((memory for memory, user in self.bodies if user() is None and len(memory) >= n), None)
        out = self.read(n, free)
        memory = out if free is None else free
        if len(out) < n:
            return out
        # an array on a memoryview: every view of it keeps the array itself alive, so a weak reference tells of them all
        user = np.frombuffer(out.data, np.uint8)
        self.bodies = [(m, u) for m, u in self.bodies if m is not memory][-1:] + [(memory, weakref.ref(user))]
        return user

    def rest(self) -> np.ndarray:
        """Everything that is left; a LemError beyond `max_bytes`."""
        out = self.read(self.max_bytes + 1)
        if len(out) > self.max_bytes:
            raise LemError(f"{self.name}: larger than {self.max_bytes} bytes; raise --max-bytes to read it")
        return out

    def skip(self, n: int) -> int:
        """Pass over n bytes, by seeking where that is possible; returns how many there were."""
        here = min(n, len(self.ahead))
        self.ahead, n = self.ahead[here:], n - here
        try:
            at, end = self.file.tell(), os.fstat(self.file.fileno()).st_size
            gone = max(min(n, end - at), 0)
            self.file.seek(at + gone)
        except (OSError, ValueError, AttributeError):
            gone, scratch = 0, memoryview(bytearray(1 << 20))
            while gone < n:
                got = self._got(self.file.readinto, scratch[: n - gone])
                if not got:
                    break
                gone += got
        self.place += here + gone
        return int(here + gone)


def _room(n: int) -> np.ndarray:
    """n bytes that begin at a multiple of 64: the kernel copies from a pipe to any other place 3 times slower."""
    room = np.empty(n + 63, np.uint8)
    return room[-room.ctypes.data % 64 :][:n]


def widen_pipe(file: Any) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        fcntl.fcntl(file.fileno(), _F_SETPIPE_SZ, 1 << 20)


def write_all(file: Any, buffers: Iterable[Any]) -> None:
    """Write every buffer whole: a pipe or terminal may take less than it is given."""
    for buffer in buffers:
        view = memoryview(buffer)
        while len(view):
            view = view[file.write(view) :]
