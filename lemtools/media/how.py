"""How inputs are read: one frozen object, made once a command and passed on."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..catalogue import listed
from ..signal import LemError, Signal, called
from ..stream import MAX_ITEM
from .pixels import in_colour, resize

BATCH_BYTES = 1 << 24  # a batch of the library's own choosing holds about this much
KINDS = ("image", "audio", "spectrum", "field", "embedding", "tokens", "text", "lab")


@dataclass(frozen=True)
class Reading:
    """How inputs are read.

    batch       items a batch; None: about 16 MiB.
    key         which tensor, array or column of a foreign file, or tier of labels.
    kind        one of KINDS: what the inputs are read as, whatever they look like; None: by their bytes.
    max_bytes   of one document or file, and of one item once it is decoded; a larger one is refused. None: 16 GiB, and
                512 MiB of an item.
    tensors     a pattern of names, or several: those tensors of a model may lose something, see weights.py. Empty: '*' of a folder that is a
                model; files of tensors are then no models.
    whole       nothing will be taken from a model that is read: tensors that are tied are no matter.
    size        (width, height) in px that images are resized to.
    crop        an image of another aspect than `size` is cut to it, in its middle; else it is refused.
    colour      'grey' or 'rgb': what images become.
    background  the colour that transparent pixels are laid on.
    lost        what is lost of images: 'alpha', or the path of a mask or a folder of masks (see lost.py); None: nothing.
    skip_bad    bad inputs are left out with a note, of a folder too; else each is an error.
    takes       the kinds that can be used; with skip_bad, inputs of others are bad ones. Empty: all, or not known before.
    coordinates images of floats in a foreign file are in coordinates x = 2 v - 1 and of any size, as noisy ones are;
                their values v are what is read.
    loop        states go round, as of an emulator that is fed its own output: each document is a batch of its own and comes
                at once, also where it came before or has values that are not finite.
    long        a sound of more than 16 MiB may come as signal.Long, which is taken in pieces and never held; max_bytes is of such
                an item only where it was given.
    wanted      wanted(index, name): False leaves an item out (shards, existing outputs).
    report      called with the error of a bad input where there are several, which are then read; None: it is raised.
    note        called with a line about what was done to an input; a topic is noted once.
    noted, cut  the topics that were noted; the inputs whose images were cut to another aspect.
    """

    batch: int | None = None
    key: str | None = None
    kind: str | None = None
    max_bytes: int | None = None
    tensors: str | tuple[str, ...] = ()
    whole: bool = False
    size: tuple[int, int] | None = None
    crop: bool = True
    colour: str | None = None
    background: str = "white"
    lost: str | None = None
    skip_bad: bool = False
    takes: tuple[str, ...] = ()
    coordinates: bool = False
    loop: bool = False
    long: bool = False
    wanted: Callable[[int, str | None], bool] | None = None
    report: Callable[[Exception], None] | None = None
    note: Callable[[str], None] | None = None
    noted: set[str] = field(default_factory=set, repr=False, compare=False)
    cut: list[str] = field(default_factory=list, repr=False, compare=False)

    def __post_init__(self):
        for name, value, known in (("kind", self.kind, KINDS), ("colour", self.colour, ("grey", "rgb"))):
            if value not in (None, *known):
                raise LemError(f"no {name} {value!r}; there are {', '.join(known)}")

    def say(self, topic: str, text: str) -> None:
        """Note `text`, unless the topic was noted before."""
        if topic not in self.noted:
            self.noted.add(topic)
            (self.note or _warn)(text)

    def items(self, item_bytes: int) -> int:
        """How many items of that size go into a batch."""
        return self.batch or max(1, min(1024, BATCH_BYTES // max(item_bytes, 1)))

    @property
    def item_bytes(self) -> int:
        """Of one item once it is decoded."""
        return MAX_ITEM if self.max_bytes is None else self.max_bytes

    @property
    def labels(self) -> bool:
        """Whether of sounds and their labels in a folder the labels are read."""
        return self.kind in ("tokens", "lab")

    @property
    def changes(self) -> bool:
        """Whether images are changed when they are read."""
        return self.size is not None or self.colour is not None or self.lost is not None

    def suited(self, signal: Signal, where: str) -> Signal:
        """The batch as asked for: grey or colour first, then the size. Raises LemError for what is no whole image, and with
        `skip_bad` for a kind that is not taken."""
        if self.skip_bad and self.takes and signal.kind not in self.takes:
            raise LemError(f"{where}: {called(signal.kind)}, where {listed(map(called, self.takes))} are taken")
        if self.size is None and self.colour is None:
            return signal
        if signal.kind != "image" or signal.ops or signal.cost is not None:
            what = signal.kind if signal.kind != "image" else "a fragment" if signal.ops else "recalled"
            sized = "--resize" if self.crop else "--size"
            asked = [sized] * (self.size is not None) + [f"--{self.colour}"] * (self.colour is not None)
            raise LemError(f"{where}: {what}; {listed(asked)} {'are' if len(asked) > 1 else 'is'} for whole images")
        data = signal.data if self.colour is None else in_colour(signal.data, self.colour)
        if self.size is not None:
            height, width = data.shape[2:]
            if (large := data.shape[1] * self.size[0] * self.size[1] * data.itemsize) > self.item_bytes:
                raise LemError(f"{where}: {large} bytes once it is resized; raise --max-bytes to have that")
            if self.crop and width * self.size[1] != height * self.size[0]:
                shape = f"{width} x {height} px cut to the aspect of {self.size[0]} x {self.size[1]}"
                self.say("aspect", f"{where}: {shape}, in the middle, before it was resized")
                self.cut.append(where)
            data = resize(data, self.size, self.crop, where)
        signal.data = data
        return signal


def _warn(text: str) -> None:
    import warnings

    warnings.warn(text, stacklevel=2)


def shown(path: str) -> str:
    """A path as it is called in messages."""
    return "standard input" if path == "-" else os.fsdecode(path)


def check_finite(data: np.ndarray, path: str, first: int) -> None:
    """Raise LemError for values that are NaN or infinite. first: the number of the first item."""
    if data.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            if not np.isfinite(data.sum(dtype=None)) and not np.isfinite(data).all():  # the sum is the quick look
                bad = first + int(np.flatnonzero(~np.isfinite(data.reshape(len(data), -1)).all(axis=1))[0])
                raise LemError(f"{path}: NaN or infinite values (item {bad}); mend or drop that item")
