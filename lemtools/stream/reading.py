"""Signals in."""

from collections.abc import Callable, Iterator

import numpy as np

from ..signal import LemError, Signal, from_tensors
from .source import Source
from .wire import Header, read_header, read_tensors

Images = Callable[[np.ndarray], Signal]


def read(source: Source, key: str | None = None, images: Images | None = None) -> Iterator[Signal]:
    """Yield the batches of a stream as they arrive.

    A foreign safetensors file with one float tensor [D], [N, D] or [N, L, D] is an embedding; of several, `key` picks.
    images: makes a signal of a foreign tensor of 4 dimensions, which is else not read.
    Raises LemError on an empty, cut or damaged stream, also one that ends between documents before its last one.
    """
    ours = ended = False
    if not source.peek(1):
        raise LemError(f"{source.name}: empty")
    while source.peek(1):
        if ended:
            raise LemError(f"{source.name}: goes on after its last document")
        header = read_header(source)
        assert header is not None  # there is at least a byte of it
        if header.lem is not None:
            ours, ended = True, header.lem.get("last") is True
        signal = _signal(source, header, key, images)
        if signal is not None:
            yield signal
        del signal  # its memory is free for the next
    if ours and not ended:
        raise LemError(f"{source.name}: the stream ends without its last document; an earlier stage was cut off")


def _signal(source: Source, header: Header, key: str | None, images: Images | None) -> Signal | None:
    tensors, lem = read_tensors(source, header), header.lem
    if lem is not None and lem.get("n") == 0:
        return None
    try:
        return _foreign(tensors, key, images) if lem is None else from_tensors(tensors, lem, source.max_bytes)
    except LemError as error:
        raise LemError(str(error) if str(error).startswith(source.name) else f"{source.name}: {error}") from error


def _foreign(tensors: dict[str, np.ndarray], key: str | None, images: Images | None) -> Signal:
    most = 3 if images is None else 4
    floats = [k for k, v in tensors.items() if v.dtype.kind == "f" and 1 <= v.ndim <= most]
    listed = ", ".join(floats[:8]) + (", …" if len(floats) > 8 else "")
    if not floats:
        raise LemError(f"no float tensor of 1 to {most} dimensions to read")
    if key is None and len(floats) > 1:
        raise LemError(f"several float tensors ({listed}); pick one with --key")
    if key is not None and key not in floats:
        raise LemError(f"no float tensor {key!r} of 1 to {most} dimensions; there is {listed}")
    array = tensors[key or floats[0]]
    return images(array) if images is not None and array.ndim == 4 else Signal("embedding", np.atleast_2d(array))
