"""Whatever a user has as signals: files, arrays, pictures, tensors, batches, or any number of these."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ..catalogue import LemError
from ..signal import KINDS, Signal, type_fits

COLOURS = (1, 3, 4)  # sizes of an axis of channels
MORE = 3  # batches that a stream shows in a notebook


class Stream:
    """Signals, batch by batch, made when they are asked for.

    make: called at every iteration; it yields the batches afresh. So a stream may be gone through several times, and
    every time costs what it costs: `signal()` keeps what comes out.
    """

    def __init__(self, make: Callable[[], Iterable[Signal]], what: str = ""):
        self._make, self._what = make, what

    def __iter__(self) -> Iterator[Signal]:
        return iter(self._make())

    def __repr__(self) -> str:
        """One line; nothing is read for it."""
        return f"<Stream: {self._what or 'signals'}>"

    def signal(self) -> Signal:
        """All items as one batch. Raises LemError where they are of several shapes or kinds, or there are none."""
        return Signal.concat(list(self))

    def one(self) -> Signal:
        """The only item. Raises LemError where there is none, or more than one."""
        batches = list(itertools.islice(self, 2))
        if len(batches) != 1 or len(batches[0]) != 1:
            raise LemError(
                f"{self!r} holds {'more than one item' if batches else 'no item'}; go through it, or .signal()"
            )
        return batches[0]

    def numpy(self) -> np.ndarray:
        """The values of all items, which must be of one shape."""
        return self.signal().numpy()

    def torch(self) -> Any:
        """The values of all items as a torch tensor."""
        return self.signal().torch()

    def pil(self) -> Any:
        """The only image, as Pillow has it."""
        return self.one().pil()

    def _repr_html_(self) -> str:
        batches = list(itertools.islice(self, MORE + 1))
        return "".join(batch._repr_html_() for batch in batches[:MORE]) + ("<p>…</p>" if len(batches) > MORE else "")


def signals(x: Any, *, kind: str | None = None, rate: float | None = None, **reading: Any) -> Stream:
    """What a user gave, as a stream.

    x: a path (str or os.PathLike: a file, a folder, a pattern, '-'), a Signal, a numpy array, a torch tensor, a picture
    of Pillow, bytes of text, a Stream, or an iterable of these. kind, rate: of arrays. reading: options of media.load.
    """
    if isinstance(x, Stream):
        return x
    if isinstance(x, str | os.PathLike):
        return _files([x], reading)
    if (batch := _batch(x, kind, rate)) is not None:
        return Stream(lambda: [batch], repr(batch)[1:-1])
    if not isinstance(x, Iterable):
        raise LemError(f"{type(x).__name__} holds no memories; give a path, an array, a picture, a Signal, or several")
    if iter(x) is x:
        return Stream(_once(x, kind, rate, reading), "of an iterator")
    things = list(x)
    if things and all(isinstance(thing, str | os.PathLike) for thing in things):
        return _files(things, reading)
    return Stream(lambda: _several(things, kind, rate, reading), f"of {len(things)} inputs")


def _files(paths: list[Any], reading: dict[str, Any]) -> Stream:
    from ..media import load

    names = [os.fspath(path) for path in paths]
    return Stream(lambda: load(names, **reading), f"of {', '.join(names[:3])}{', …' if len(names) > 3 else ''}")


def _once(things: Iterable[Any], kind: Any, rate: Any, reading: dict[str, Any]) -> Callable[[], Iterable[Signal]]:
    """What goes through an iterator, and says so when it is asked to do it again."""
    gone = False

    def make() -> Iterator[Signal]:
        nonlocal gone
        if gone:
            raise LemError("these signals came from an iterator and are gone; keep them: list(...), or .signal()")
        gone = True
        yield from _several(things, kind, rate, reading)

    return make


def _several(things: Iterable[Any], kind: Any, rate: Any, reading: dict[str, Any]) -> Iterator[Signal]:
    """The batches of things of any sort; what brings no numbers of its own is counted."""
    count = 0
    for thing in things:
        for batch in signals(thing, kind=kind, rate=rate, **reading):
            if not isinstance(thing, Signal):
                batch = replace(batch, index=count + np.arange(len(batch)), last=None)
            count += len(batch)
            yield batch


def _batch(x: Any, kind: str | None, rate: float | None) -> Signal | None:
    """One thing that is a batch by itself; None for any other."""
    if isinstance(x, Signal):
        return x
    if isinstance(x, bytes):
        return Signal("tokens", np.frombuffer(x, np.uint8)[None])
    if hasattr(x, "detach") and hasattr(x, "cpu"):  # of torch, which is not imported for this
        x = x.detach().cpu()
        x = (x.float() if "bfloat16" in str(x.dtype) else x).numpy()
    elif hasattr(x, "mode") and hasattr(x, "getbands"):
        return _picture(x)
    return from_array(x, kind, rate) if isinstance(x, np.ndarray) else None


def _picture(image: Any) -> Signal:
    """An image of Pillow, read as its file would be."""
    import io

    from ..media import Reading
    from ..media.images import one_image

    out = io.BytesIO()
    (image.convert("RGB") if image.mode in ("CMYK", "YCbCr", "LAB", "HSV") else image).save(
        out, "PNG", compress_level=0
    )
    return one_image(out.getvalue(), "PNG", "the picture", Reading(max_bytes=1 << 60))  # it is in memory, however large


def from_array(array: np.ndarray, kind: str | None = None, rate: float | None = None) -> Signal:
    """An array as a batch; without a `kind`, by its type and shape.

    uint8 of 2 to 4 dimensions is images, [H, W], [H, W, C], [N, H, W], [N, C, H, W] or [N, H, W, C] with C = 1, 3 or 4;
    so are floats of 4 dimensions. Other floats are embeddings, [D], [N, D] or [N, L, D]; integers [L], [N, L] tokens.
    kind 'audio': [T], [C, T] or [N, C, T], with its `rate`. Raises LemError where it could be one or the other.
    """
    if kind not in (None, *KINDS):
        raise LemError(f"no kind {kind!r}; there are {', '.join(KINDS)}")
    if kind is None:
        kind = _guessed(array)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise LemError("NaN or infinite values; mend or drop these items")
    data = _images(array) if kind == "image" else array
    most = max(KINDS[kind][0])
    if kind != "image" and array.ndim < min(KINDS[kind][0]):
        data = array[(None,) * (most - array.ndim if kind in ("audio", "spectrum") else 1)]
    if not type_fits(kind, data.dtype):
        raise LemError(f"{kind} of type {data.dtype}: {_TYPES.get(kind, 'give floats')}")
    if kind in ("audio", "spectrum"):
        if rate is None:
            raise LemError(f"{kind} needs its rate in Hz, as in load(x, kind={kind!r}, rate=16000)")
        return Signal(kind, data.astype(np.float32, copy=False), rate=float(rate))
    return Signal(kind, data.astype(np.float32, copy=False) if kind == "image" and data.dtype != np.uint8 else data)


_TYPES = {"image": "give uint8, or floats in [0, 1]", "tokens": "give integers"}


def _guessed(array: np.ndarray) -> str:
    if array.dtype.kind == "f":
        if array.ndim == 3 and {array.shape[0], array.shape[-1]} & {3, 4} and array.min() >= 0 and array.max() <= 1:
            ways = "kind='image' or kind='embedding'"
            raise LemError(f"floats of shape {list(array.shape)} may be a picture or embeddings: say load(x, {ways})")
        return "image" if array.ndim == 4 else "embedding"
    if array.dtype == np.uint8 and 2 <= array.ndim <= 4:
        if array.ndim == 3 and array.shape[0] in (3, 4) and array.shape[-1] not in COLOURS:
            what = f"one picture in {array.shape[0]} channels is x[None], {array.shape[0]} grey ones are x[:, None]"
            raise LemError(f"uint8 of shape {list(array.shape)}: {what}")
        return "image"
    if array.dtype.kind in "iu" and array.ndim in (1, 2):
        return "tokens"
    raise LemError(
        f"an array of {array.dtype} {list(array.shape)} is no image, embedding or tokens; say which: kind=..."
    )


def _images(array: np.ndarray) -> np.ndarray:
    """[N, C, H, W] of images as they usually come."""
    shape = array.shape
    if array.ndim == 2:
        return array[None, None]
    if array.ndim == 3:
        if shape[-1] in COLOURS and shape[0] not in COLOURS:
            return array.transpose(2, 0, 1)[None]
        return array[None] if shape[0] in COLOURS and shape[-1] not in COLOURS else array[:, None]
    if array.ndim == 4 and shape[1] > 4 and shape[3] in COLOURS:
        return array.transpose(0, 3, 1, 2)
    return array
