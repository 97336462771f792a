"""Arrays: npy, npz and idx files, read batch by batch, as images, embeddings or tokens."""

import gzip
import io
import math
import zlib

import numpy as np

from ..signal import LemError, Signal
from ..stream import Source

_IDX_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


class _Unzipped:
    """A gzip source read as a file, so that a Source can be made of it."""

    def __init__(self, source: Source):
        self.file = gzip.GzipFile(fileobj=_Readable(source))
        self.name = source.name

    def read(self, n):
        try:
            return self.file.read(n)
        except (OSError, EOFError, zlib.error) as error:
            raise LemError(f"{self.name}: damaged gzip ({str(error)[:80]})") from error

    def readinto(self, view):
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)


class _Readable(io.RawIOBase):
    def __init__(self, source):
        self.source = source

    def readable(self):
        return True

    def readinto(self, view):
        return self.source.readinto(memoryview(view).cast("B"))


def unzip(source: Source) -> Source:
    """The decompressed bytes of a gzip source."""
    return Source(_Unzipped(source), source.name, source.max_bytes)


def read_idx(source: Source, batch) -> "iter":
    """Batches of an idx file (MNIST's format): [N, H, W] or [N, H, W, C] of bytes are images, [N, D] embeddings."""
    head = source.read(4).tobytes()
    ndim = head[3] if len(head) == 4 else 0
    sizes = source.read(4 * ndim)
    if len(sizes) < 4 * ndim or head[2] not in _IDX_TYPES or not 1 <= ndim <= 4:
        raise LemError(f"{source.name}: damaged idx header")
    shape = tuple(int(s) for s in sizes.view(">u4"))
    if ndim == 1:
        raise LemError(f"{source.name}: an idx file of {shape[0]} labels holds no memories")
    yield from _rows(source, shape, np.dtype(_IDX_TYPES[head[2]]), batch)


def read_npy(source: Source, batch) -> "iter":
    """Batches of a npy file, see `as_signal`."""
    magic = source.read(8).tobytes()
    wide = 2 if magic[6] == 1 else 4
    size = int.from_bytes(source.read(wide).tobytes(), "little")
    text = source.read(min(size, 1 << 16)).tobytes()
    try:
        head = io.BytesIO(magic + size.to_bytes(wide, "little") + text)
        version = np.lib.format.read_magic(head)
        reader = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}[version[0]]
        shape, fortran, dtype = reader(head)
    except Exception as error:  # numpy raises ValueError, SyntaxError, TokenError and more on a damaged header
        raise LemError(f"{source.name}: damaged npy header") from error
    if dtype.kind not in "fiu" or fortran and len(shape) > 1:
        what = "in Fortran order" if fortran else f"of {dtype}"
        raise LemError(f"{source.name}: an array {what}; save it as numbers in C order")
    if len(shape) == 1:
        shape = (1, *shape)
    yield from _rows(source, shape, dtype, batch)


def _rows(source: Source, shape: tuple[int, ...], dtype: np.dtype, batch) -> "iter":
    """Read [N, ...] as batches; 2-D bytes are one grey image."""
    if len(shape) == 2 and dtype == np.uint8:
        shape = (1, *shape)
    if not shape or 0 in shape:
        raise LemError(f"{source.name}: an array of shape {list(shape)} holds nothing")
    row = math.prod(shape[1:]) * dtype.itemsize
    if row > source.max_bytes:
        raise LemError(f"{source.name}: items of {row} bytes; raise --max-bytes to read them")
    done, step = 0, batch(row)
    while done < shape[0]:
        count = min(step, shape[0] - done)
        raw = source.read(count * row)
        if len(raw) < count * row:
            raise LemError(f"{source.name}: cut short, {done + len(raw) // row} of {shape[0]} items")
        array = raw.view(dtype).reshape(count, *shape[1:])
        done += count
        signal = as_signal(array.astype(dtype.newbyteorder("="), copy=False), source.name)
        signal.last = done == shape[0]
        yield signal


def read_npz(source: Source, key: str | None, batch) -> "iter":
    """Batches of one array of a npz file; with several usable ones `key` picks."""
    raw = source.rest()
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as archive:
            names = archive.files
            usable = [n for n in names if key in (None, n)]
            arrays = {n: archive[n] for n in usable} if key or len(names) < 9 else {}
    except Exception as error:
        raise LemError(f"{source.name}: not a readable npz ({str(error)[:80]})") from error
    arrays = {n: a for n, a in arrays.items() if a.ndim > 1 and a.size}
    if len(arrays) != 1:
        listed = ", ".join(list(arrays or names)[:8])
        raise LemError(f"{source.name}: {'several arrays' if arrays else 'no such array'} ({listed}); pick one with --key")
    (array,) = arrays.values()
    body = np.ascontiguousarray(array)
    inner = Source(io.BytesIO(body.reshape(-1).view(np.uint8)), source.name, source.max_bytes)
    yield from _rows(inner, body.shape, body.dtype, batch)


def as_signal(array: np.ndarray, name: str) -> Signal:
    """Tell the kind of an array by its type and shape.

    uint8 [N, H, W], [N, H, W, 1|3] or [N, 1|3, H, W] is images; float [N, D] or [N, L, D] embeddings; float
    [N, 1|3, H, W] within [0, 1] images; integers [N, L] tokens.
    """
    if array.dtype == np.uint8 or (array.ndim == 4 and array.dtype.kind == "f"):
        if array.ndim == 3:
            array = array[:, None]
        elif array.ndim == 4 and array.shape[1] not in (1, 3) and array.shape[3] in (1, 3):
            array = array.transpose(0, 3, 1, 2)
        if array.ndim == 4 and array.shape[1] in (1, 3):
            if array.dtype.kind == "f":
                if not (array.min() >= 0 and array.max() <= 1):
                    raise LemError(f"{name}: float images must lie in [0, 1]; divide by their full scale")
                array = array.astype(np.float32)
            return Signal("image", array)
    elif array.dtype.kind == "f" and array.ndim in (2, 3):
        return Signal("embedding", array)
    elif array.dtype.kind in "iu" and array.ndim == 2:
        return Signal("tokens", array)
    raise LemError(f"{name}: an array of {array.dtype} {list(array.shape)} is no image, embedding or tokens")
