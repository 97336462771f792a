"""Signals in."""

from collections.abc import Callable, Iterator

import numpy as np

from ..signal import LemError, Signal, from_tensors
from ..signal.types import READ_AS, READ_AS_FLOAT, UNREAD
from .source import Source
from .wire import Header, read_header, read_tensors, unread

_GLANCE = 1024  # numbers at either end by which a document is known again
Made = Callable[[np.ndarray], Signal]


def read(
    source: Source, key: str | None = None, made: Made | None = None, loop: bool = False, whole: bool = False
) -> Iterator[Signal]:
    """Yield the batches of a stream as they arrive.

    A foreign safetensors file with one float tensor [D], [N, D] or [N, L, D] is an embedding; of several, `key` picks.
    made: makes a signal of a foreign tensor, which may then have 4 dimensions; with `whole` it may be of whole numbers. loop: the documents go round; one of them may
    come again, and others after one that said it was the last.
    Raises LemError on an empty, cut or damaged stream, also one that ends between documents before its last one.
    """
    ours = ended = False
    seen: set[int] = set()
    if not source.peek(1):
        raise LemError(f"{source.name}: empty")
    while source.peek(1):
        if ended and not loop:
            raise LemError(f"{source.name}: goes on after its last document")
        header = read_header(source)
        assert header is not None  # there is at least a byte of it
        if header.lem is not None:
            ours, ended = True, header.lem.get("last") is True
        signal = _signal(source, header, key, made, whole)
        if header.lem is not None and signal is not None and not loop:
            flat = signal.data.reshape(-1)
            parts = (signal.index, flat[:_GLANCE], flat[-_GLANCE:])
            if (place := hash((signal.last, *(part.tobytes() for part in parts)))) in seen:
                first = f"items {signal.index[0]} to {signal.index[-1]}"
                raise LemError(f"{source.name}: damaged stream (a document of {first} comes twice)")
            seen.add(place)
        if signal is not None:
            yield signal
        del signal  # its memory is free for the next
    if ours and not ended:
        raise LemError(f"{source.name}: the stream ends without its last document; an earlier stage was cut off")


def _signal(source: Source, header: Header, key: str | None, made: Made | None, whole: bool) -> Signal | None:
    lem = header.lem
    try:
        if lem is None:
            name = key_of(header, key, 3 if made is None else 4, whole)
            array = read_tensors(source, header, [name])[name]
            return Signal("embedding", np.atleast_2d(array)) if made is None else made(array)
        tensors = read_tensors(source, header)
        return None if lem["n"] == 0 else from_tensors(tensors, lem, source.max_bytes)
    except LemError as error:
        raise LemError(str(error) if str(error).startswith(source.name) else f"{source.name}: {error}") from error


def key_of(header: Header, key: str | None, most: int = 3, whole: bool = False) -> str:
    """The name of a foreign file's one float tensor of 1 to `most` dimensions, or of the one that `key` picks; with `whole`, of
    whole numbers, too. Raises LemError where there is no such tensor, or more than one to choose from."""
    types, what = (READ_AS, "") if whole else (READ_AS_FLOAT, "float ")
    usable = {k: d for k, (d, s, _, _) in header.tensors.items() if d in types and 1 <= len(s) <= most}
    listed = ", ".join([*usable][:8]) + (", …" if len(usable) > 8 else "")
    if key in header.tensors and key not in usable and (dtype := header.tensors[key][0]) in UNREAD:
        raise LemError(f"tensor {key}: {unread(dtype)}")
    if not usable:
        others = ", ".join(f"{k} is {d}" for k, (d, *_) in header.tensors.items() if d in UNREAD)
        more = most < 4 and any(d in types and len(s) == 4 for d, s, _, _ in header.tensors.values())
        way = "; --kind spectrum, field or image reads those of 4" if more else ""
        raise LemError(f"no {what}tensor of 1 to {most} dimensions to read{others and f' ({others[:80]})'}{way}")
    if key is None and len(usable) > 1:
        raise LemError(f"several {what}tensors ({listed}); pick one with --key")
    if key is not None and key not in usable:
        raise LemError(f"no {what}tensor {key!r} of 1 to {most} dimensions; there is {listed}")
    return key or [*usable][0]
