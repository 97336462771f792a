"""Arrays: npy, npz and idx files, read batch by batch, as images, embeddings or tokens."""

import io
import math
import warnings
from collections.abc import Iterator

import numpy as np

from ..signal import LemError, Signal
from ..stream import Source
from .how import Reading

_IDX_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


class _Unpacked:
    """A file inside a compressed one, so that a Source can be made of it; the rest is for its errors."""

    def __init__(self, file, name: str, form: str, errors: tuple[type[Exception], ...]):
        self.file, self.name, self.form, self.errors = file, name, form, errors

    def read(self, n):
        try:
            return self.file.read(n)
        except (OSError, EOFError, *self.errors) as error:
            raise LemError(f"{self.name}: damaged {self.form} ({str(error)[:80]})") from error

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
    import gzip
    import zlib

    file = _Unpacked(gzip.GzipFile(fileobj=_Readable(source)), source.name, "gzip", (zlib.error,))
    return Source(file, source.name, source.item_bytes)


def read_idx(source: Source, how: Reading) -> Iterator[Signal]:
    """Batches of an idx file (MNIST's format): [N, H, W] or [N, H, W, C] of bytes are images, [N, D] embeddings."""
    shape, dtype = idx_header(source)
    if len(shape) == 1:
        raise LemError(f"{source.name}: an idx file of {shape[0]} labels holds no memories")
    yield from _rows(source, shape, dtype, how)


def idx_header(source: Source) -> tuple[tuple[int, ...], np.dtype]:
    """(shape, type) that an idx file announces; its numbers come next."""
    head = source.read(4).tobytes()
    ndim = head[3] if len(head) == 4 else 0
    sizes = source.read(4 * ndim)
    if len(sizes) < 4 * ndim or head[2] not in _IDX_TYPES or not 1 <= ndim <= 4:
        raise LemError(f"{source.name}: damaged idx header")
    return tuple(int(s) for s in sizes.view(">u4")), np.dtype(_IDX_TYPES[head[2]])


def read_npy(source: Source, how: Reading) -> Iterator[Signal]:
    """Batches of a npy file, see `items_shape` and `as_signal`."""
    shape, fortran, dtype = npy_header(source)
    if dtype.kind not in "fiu":
        way = "its real and imaginary parts as channels, [N, 2C, F, T]" if dtype.kind == "c" else "it as numbers"
        raise LemError(f"{source.name}: an array of {dtype}; save {way}")
    if len(shape) > 1 and fortran and min(shape) > 0:
        size = math.prod(shape) * dtype.itemsize
        if size > source.max_bytes:
            raise LemError(f"{source.name}: {size} bytes in Fortran order; raise --max-bytes, or save it in C order")
        raw = source.read(size)
        if len(raw) < size:
            raise LemError(f"{source.name}: cut short, {len(raw)} of {size} bytes")
        body = np.ascontiguousarray(raw.view(dtype).reshape(shape, order="F")).reshape(-1).view(np.uint8)
        _check_end(source)
        source = Source(io.BytesIO(body), source.name, source.item_bytes)
    yield from _rows(source, shape, dtype, how)


def npy_header(source: Source) -> tuple[tuple[int, ...], bool, np.dtype]:
    """(shape, in Fortran order, type) that a npy file announces; its numbers come next."""
    magic = source.read(8).tobytes()
    try:
        wide = 2 if magic[6] == 1 else 4
        size = int.from_bytes(source.read(wide).tobytes(), "little")
        head = io.BytesIO(magic + size.to_bytes(wide, "little") + source.read(min(size, 1 << 16)).tobytes())
        first, second = np.lib.format.read_array_header_1_0, np.lib.format.read_array_header_2_0
        # (the third differs in the letters that names of fields may have, and such arrays are refused)
        reader = {1: first, 2: second, 3: second}[np.lib.format.read_magic(head)[0]]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shape, fortran, made = reader(head)
        if not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError(shape)
        return shape, fortran, made
    except Exception as error:  # numpy raises ValueError, SyntaxError, TokenError and more on a damaged header
        raise LemError(f"{source.name}: damaged npy header") from error


def _check_end(source: Source) -> None:
    """An array ends its file: what follows would be lost without a word."""
    if source.peek(1):
        raise LemError(f"{source.name}: goes on after its array; save several as npz and name one with --key")


def items_shape(shape: tuple[int, ...], dtype: np.dtype, name: str, how: Reading) -> tuple[int, ...]:
    """[N, ...item] that an array is read as: 1-D is one item, 2-D bytes one grey image, [H, W, 3] of them one in RGB.

    What may have been meant otherwise is noted; LemError for bytes that look like one image with alpha.
    """
    if len(shape) == 1:
        return (1, *shape)
    image = how.kind == "image" or (how.kind is None and dtype == np.uint8)
    if image and len(shape) == 2:
        return (1, *shape)
    if len(shape) == 3:
        return _one_or_many(shape, image, dtype.kind == "f" and how.kind is None, name, how)
    return shape


def _one_or_many(shape: tuple[int, ...], image: bool, floats: bool, name: str, how: Reading) -> tuple[int, ...]:
    """[A, B, C]: many items, or one image with its colours last."""
    a, b, c = shape
    if image and c in (1, 3) and min(a, b) > 3:
        what = "grey" if c == 1 else "RGB"
        other = f"{a} grey ones {c} px wide would be [{a}, 1, {b}, {c}]"
        how.say("one image", f"{name}: one {what} image of {b} x {a} px; {other}")
        return (1, *shape)
    if image and c in (2, 4) and min(a, b) > 8:
        ways = f"save its colours as [1, {a}, {b}, {c - 1}], or grey images {c} px wide as [{a}, 1, {b}, {c}]"
        raise LemError(f"{name}: [{a}, {b}, {c}] looks like one image with alpha, which arrays have not; {ways}")
    if image and a == 3 and min(b, c) > 8:
        how.say("three images", f"{name}: three grey images of {c} x {b} px; one in RGB would be [1, 3, {b}, {c}]")
    if floats and c == 3 and min(a, b) > 8:
        how.say("vectors", f"{name}: {a} embeddings [{b}, 3]; --kind image reads one RGB image of {b} x {a} px")
    return shape


def _empty(shape: tuple[int, ...]) -> str:
    if not shape:
        return "an array of shape [], a single number; memories are the rows of an array, as in [N, D]"
    return f"an array of shape {list(shape)} holds nothing"


def _rows(source: Source, shape: tuple[int, ...], dtype: np.dtype, how: Reading) -> Iterator[Signal]:
    """Read an array as batches."""
    shape = items_shape(shape, dtype, source.name, how)
    if min(shape, default=0) < 1:
        raise LemError(f"{source.name}: {_empty(shape)}")
    row = math.prod(shape[1:]) * dtype.itemsize
    if row > source.item_bytes:
        raise LemError(f"{source.name}: items of {row} bytes; raise --max-bytes to read them")
    done, step = 0, how.items(row)
    while done < shape[0]:
        count = min(step, shape[0] - done)
        raw = source.read(count * row)
        if len(raw) < count * row:
            raise LemError(f"{source.name}: cut short, {done + len(raw) // row} of {shape[0]} items")
        array = raw.view(dtype).reshape(count, *shape[1:])
        done += count
        signal = as_signal(array.astype(dtype.newbyteorder("="), copy=False), source.name, how)
        signal.last = done == shape[0]
        if signal.last:
            _check_end(source)
        yield signal


def read_npz(source: Source, how: Reading) -> Iterator[Signal]:
    """Batches of one array of a npz file; with several usable ones `how.key` picks."""
    import zipfile

    raw, key = source.rest(), how.key
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            if any(n.endswith("data.pkl") for n in archive.namelist()):
                raise pickled(source.name)
            names = [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy") and key in (None, n[:-4])]
            if twice := next((n for n in names if names.count(n) > 1), None):
                raise LemError(f"{source.name}: two arrays called {twice!r}; give each a name of its own")
            shapes = {n: npy_header(_member(archive, n, source))[0] for n in names}
            usable = [n for n, shape in shapes.items() if (len(shape) > 1 and math.prod(shape)) or n == key]
            if len(usable) != 1:
                what = (
                    "several arrays" if usable else f"no array {key!r}" if key else "no array of 2 dimensions or more"
                )
                have = ", ".join((usable or [n.removesuffix(".npy") for n in archive.namelist()])[:8])
                raise LemError(f"{source.name}: {what} ({have}); pick one with --key")
            yield from read_npy(_member(archive, usable[0], source), how)
    except LemError:
        raise
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, ValueError) as error:
        raise LemError(f"{source.name}: not a readable npz ({str(error)[:80]})") from error


def pickled(name: str) -> LemError:
    """The error for what Python's pickle made, as torch.save does."""
    return LemError(
        f"{name}: a pickle (.pt, .pkl), which can run any code when it is read; save its tensors with "
        "safetensors.torch.save_file, or an array with numpy.save"
    )


def _member(archive, name: str, source: Source) -> Source:
    """An array's bytes, unpacked as they are asked for: a small zip may announce an array of any size."""
    import zipfile
    import zlib

    file = _Unpacked(archive.open(name + ".npy"), source.name, "npz", (zlib.error, zipfile.BadZipFile))
    return Source(file, source.name, source.item_bytes)


def as_signal(array: np.ndarray, name: str, how: Reading) -> Signal:
    """An array as what its type and shape, or `how.kind`, say that it is.

    uint8 [N, H, W], [N, H, W, 1|3] or [N, 1|3, H, W] is images; float [N, D] or [N, L, D] embeddings; float
    [N, 1|3, H, W] within [0, 1] images; integers [N, L] tokens. As kind 'image', whole numbers of 16 bits and floats of
    3 dimensions, too; as 'embedding', 'tokens' or 'field' any whole numbers. 'field': [N, C, L] or [N, C, H, W] of any
    range, [N, L] of one channel. 'spectrum': [N, C, F, T] of any range, [N, F, T] of one channel. 'tokens': those of more axes, as frames [N, H, W], one place after another. `how.coordinates`: float images are x = 2 v - 1 of any size.
    """
    kind, shape = how.kind, array.shape
    image = (
        array.dtype == np.uint8 or (array.ndim == 4 and array.dtype.kind == "f") if kind is None else kind == "image"
    )
    if image and array.dtype.kind + str(array.itemsize) in ("u1", "u2", "f2", "f4", "f8"):
        if array.ndim == 3:
            array = array[:, None]
        elif array.ndim == 4 and array.shape[1] not in (1, 3) and array.shape[3] in (1, 3):
            array = array.transpose(0, 3, 1, 2)
        if array.ndim == 4 and array.shape[1] in (1, 3):
            if array.dtype == np.uint16:
                array = array / np.float32(65535)
            if array.dtype.kind == "f":
                if how.coordinates:
                    with np.errstate(over="ignore"):  # what becomes infinite is refused as such
                        values = ((array.astype(np.float64) + 1) / 2).astype(np.float32)
                        return Signal("image", values, index=np.arange(len(values)))  # of any size: not checked
                if not (array.min() >= 0 and array.max() <= 1):
                    way = "divide by their full scale, or read states of a simulation by --kind field"
                    raise LemError(f"{name}: float images must lie in [0, 1]; {way}")
                array = array.astype(np.float32, copy=False)
            return Signal("image", array)
    elif kind in (None, "embedding") and array.ndim in (2, 3) and (array.dtype.kind == "f" or kind):
        return Signal("embedding", array if array.dtype.kind == "f" else array.astype(np.float32))
    elif kind == "field" and array.ndim in (2, 3, 4) and array.dtype.kind in "fiu":
        with np.errstate(over="ignore"):  # what becomes infinite is refused as such
            values = array.astype(np.float32, copy=False)
        return Signal("field", values[:, None] if array.ndim == 2 else values)
    elif kind == "spectrum" and array.ndim in (3, 4) and array.dtype.kind == "f":
        values = array.astype(np.float32, copy=False)
        return Signal("spectrum", values[:, None] if array.ndim == 3 else values)
    elif kind in (None, "tokens") and array.dtype.kind in "iu" and (array.ndim == 2 or (kind and array.ndim > 2)):
        return Signal("tokens", array.reshape(len(array), -1))
    if kind == "audio":
        raise LemError(f"{name}: an array has no sample rate; save the sound as WAV")
    way = (
        "; --kind spectrum reads spectra [N, C, F, T], --kind field states of a simulation"
        if kind is None and array.dtype.kind == "f" and array.ndim == 4
        else ""
    )
    raise LemError(f"{name}: an array of {array.dtype} {list(shape)} is no {kind or 'image, embedding or tokens'}{way}")
