"""Whatever a user has as signals: files, arrays, pictures, tensors, batches, or any number of these."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..catalogue import LemError, Option
from ..cli.common import LOOKS, looked
from ..media import Reading, load
from ..signal import KINDS, Signal
from ..signal.batch import distinct
from .arrays import from_array, picture
from .words import note, plain, unknown, value

MORE = 3  # batches that a stream shows in a notebook
_LOOKS: dict[str, Option] = {option.name: option for option in LOOKS}  # type: ignore[has-type]
_RATE = Option("--rate", "Sample rate in Hz.", "number", low=0, open=("low",))
_OWN = {field.name for field in fields(Reading)} - {*_LOOKS, "noted"}  # fields of Reading by their own names
_OF_MEMORY = {"resize", "grey", "rgb", "size", "crop", "colour", "kind", "note"}  # what suits more than files
_OF_ARRAYS = {*_OF_MEMORY, "rate", "background"}


class Stream:
    """Signals, batch by batch, made when they are asked for.

    make: called at every iteration; it yields the batches afresh. So a stream may be gone through several times, and
    every time costs what it costs: `signal()` keeps what comes out. sources: the paths that it is read from. encoder:
    what made it of memories, where that was fitted to them.
    """

    def __init__(
        self, make: Callable[[], Iterable[Signal]], what: str = "", sources: Iterable[str] = (), encoder: Any = None
    ):
        self._make, self._what, self.sources, self.encoder = make, what, tuple(sources), encoder

    def __iter__(self) -> Iterator[Signal]:
        with plain():
            yield from self._make()

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


@dataclass(frozen=True)
class Words:
    """The keywords of `load` that were given, checked."""

    given: dict[str, Any]

    @classmethod
    def checked(cls, words: dict[str, Any]) -> Words:
        """Raises LemError for those that there are not, and for values that they do not take."""
        found = {}
        for word, given in words.items():
            if word not in _LOOKS and word not in _OWN and word != "rate":
                raise unknown("keyword of load", word, ["rate", *_LOOKS])
            if given is None or (given is False and word in ("grey", "rgb", "skip_bad")):
                continue
            if word == "kind" and given not in (*KINDS, "text", "lab"):
                raise LemError(f"no kind {given!r}; there are {', '.join((*KINDS, 'text', 'lab'))}")
            option = _RATE if word == "rate" else _LOOKS.get(word)
            found[word] = given if option is None or word == "kind" else value(option, given, word)
        return cls(found)

    @property
    def kind(self) -> str | None:
        return "tokens" if (kind := self.given.get("kind")) in ("text", "lab") else kind

    @cached_property
    def how(self) -> Reading:
        """How files are read; what is done to them is warned of."""
        given = {
            k: v for k, v in self.given.items() if k not in ("rate", *(("kind",) if self.kind == "spectrum" else ()))
        }
        return Reading(**{"note": note} | looked(**given))

    def refuse(self, suited: set[str], what: str) -> None:
        """Raise LemError for keywords that have no meaning for a thing of this sort."""
        for word in self.given:
            if word not in suited:
                owners = {"lost": "files and Pillow images", **dict.fromkeys(_OF_ARRAYS, "arrays and pictures")}
                whom = owners.get(word, "files")
                raise LemError(f"{word} is for {whom}, not for {what}")

    def suited(self, batch: Signal, what: str) -> Signal:
        """A batch as asked for, by its size and colours. Raises LemError for one of another kind."""
        if self.kind not in (None, batch.kind):
            raise LemError(f"{what} holds {batch.kind}, not {self.kind}; leave out kind")
        return self.how.suited(replace(batch), what) if self.how.changes else batch


NONE = Words({})


def signals(x: Any, words: Words = NONE) -> Stream:
    """What a user gave, as a stream.

    x: a path (str or os.PathLike: a file, a folder, a pattern, '-'), a Signal, a numpy array, a torch tensor, a picture
    of Pillow, bytes of text, a Stream, or an iterable of these.
    """
    if isinstance(x, Stream):
        if not words.given:
            return x
        words.refuse(_OF_MEMORY, "a Stream, which is read already")
        return Stream(lambda: (words.suited(batch, repr(x)) for batch in x), repr(x)[9:-1], x.sources)
    if isinstance(x, str | os.PathLike):
        return _files([x], words)
    if (batch := _batch(x, words)) is not None:
        return Stream(lambda: [batch], repr(batch)[1:-1])
    if not isinstance(x, Iterable):
        raise LemError(f"{type(x).__name__} holds no memories; give a path, an array, a picture, a Signal, or several")
    if iter(x) is x:
        return Stream(_once(x, words), "of an iterator")
    things = list(x)
    if things and all(isinstance(thing, str | os.PathLike) for thing in things):
        return _files(things, words)
    return Stream(lambda: _several(things, words), f"of {len(things)} inputs", _sources(things))


def _sources(things: list[Any]) -> Iterator[str]:
    for thing in things:
        if isinstance(thing, str | os.PathLike):
            yield os.fspath(thing)
        elif isinstance(thing, Stream):
            yield from thing.sources


def _files(paths: list[Any], words: Words) -> Stream:
    names = [os.fsdecode(os.fspath(path)) for path in paths]
    what = f"of {', '.join(names[:3])}{', …' if len(names) > 3 else ''}"
    if "rate" in words.given:
        if not all(name.endswith(".npy") for name in names) or words.kind not in ("audio", "spectrum"):
            raise LemError("rate is for arrays with kind='audio' or 'spectrum'; a sound's file says its own")
        return Stream(lambda: _several((_saved(name) for name in names), words), what, names)
    how = words.how  # (made here, so that what does not suit is refused at once)
    return Stream(lambda: load(names, how), what, names)


def _saved(path: str) -> np.ndarray:
    """The array of an .npy file."""
    try:
        return np.load(path, allow_pickle=False)
    except ValueError as error:
        raise LemError(f"{path}: not a readable npy ({error})") from error


def _once(things: Iterable[Any], words: Words) -> Callable[[], Iterable[Signal]]:
    """What goes through an iterator, and says so when it is asked to do it again."""
    gone = False

    def make() -> Iterator[Signal]:
        nonlocal gone
        if gone:
            raise LemError("these signals came from an iterator and are gone; keep them: list(...), or .signal()")
        gone = True
        yield from _several(things, words)

    return make


def _several(things: Iterable[Any], words: Words) -> Iterator[Signal]:
    """The batches of things of any sort. Items whose place another one has taken before are numbered anew, so that each
    draws by itself; none says that it is the last."""
    one, other = itertools.tee(batch for thing in things for batch in signals(thing, words))
    for batch, index in zip(one, distinct(batch.index for batch in other)):
        yield replace(batch, index=index, last=None)


def _batch(x: Any, words: Words) -> Signal | None:
    """One thing that is a batch by itself; None for any other."""
    if isinstance(x, Signal):
        words.refuse(_OF_MEMORY, "a Signal")
        return words.suited(x, repr(x))
    if isinstance(x, bytes):
        words.refuse({"kind"}, "bytes of text")
        return words.suited(Signal("tokens", np.frombuffer(x, np.uint8)[None]), "text")
    if hasattr(x, "detach") and hasattr(x, "cpu"):  # of torch, which is not imported for this
        x = x.detach().cpu()
        x = (x.float() if "bfloat16" in str(x.dtype) else x).numpy()
    elif hasattr(x, "mode") and hasattr(x, "getbands"):
        words.refuse({*_OF_ARRAYS, "lost"} - {"rate"}, "a picture")
        return words.suited(picture(x, words.how), "the picture")
    if not isinstance(x, np.ndarray):
        return None
    words.refuse(_OF_ARRAYS, "arrays")
    batch = from_array(x, words.kind, words.given.get("rate"), words.how)
    return words.suited(batch, "the array")
