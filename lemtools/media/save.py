"""From batches to files: one name, a folder or a pattern; every file appears whole or not at all."""

import codecs
import contextlib
import errno
import functools
import io
import itertools
import os
import re
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from .. import stream
from ..signal import LemError, Signal, path_of, stem
from ..stream import whole_file
from ..stream.files import blamed, status
from . import sounds, weights_back
from .annotations import WRITERS
from .find import every_file, expand, is_model, sniff
from .how import shown
from .images import encode_image
from .spectrogram import picture

# format: (kinds it holds, batch of one item -> bytes); 'safetensors' and 'npy' hold whole batches of every kind
_ITEM = {
    "png": (("image", "spectrum"), lambda item: encode_image(_pixels(item), "PNG")),
    "jpg": (("image", "spectrum"), lambda item: encode_image(_pixels(item), "JPEG")),
    "wav": (("audio",), lambda item: sounds.wav(item.data[0], item.rate)),
    "flac": (("audio",), lambda item: sounds.flac(item.data[0], item.rate)),
    "txt": (("tokens",), lambda item: _text(item)),
    **{form: (("tokens",), lambda item, write=write: _bytes(write(item))) for form, write in WRITERS.items()},
}
_NUMBER = re.compile(r"%(0?\d{0,2})d")
_ENDS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EPIPE}  # no other item can be written then, either
FORMATS = ("safetensors", *_ITEM, "npy")
_ENDINGS = {"textgrid": "TextGrid"}  # that names of files have, where they are not the format
_ALIAS = {"jpeg": "jpg", "wave": "wav", "text": "txt"}
_OWN = {"image": "png", "audio": "wav", "tokens": "txt"}  # the medium of a single recalled item


def _question(error: UnicodeDecodeError) -> tuple[str, int]:
    """What a loss left of a longer character: one '?' a byte, so that places stay."""
    return "?" * (error.end - error.start), error.end


codecs.register_error("lem-question", _question)


def _pixels(item: Signal) -> np.ndarray:
    return picture(item.data[0]) if item.kind == "spectrum" else item.data[0]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(item: Signal) -> bytes:
    """Tokens as text: symbols between spaces, else bytes."""
    if item.alphabet is None:
        return _utf8(item.data[0])
    return _bytes(" ".join(text for text in item.alphabet.texts(item.data[0]) if text) + "\n")


def _utf8(tokens: np.ndarray) -> bytes:
    if tokens.min(initial=0) < 0 or tokens.max(initial=0) > 255:
        raise LemError("tokens beyond 255 are no bytes of text; write safetensors or npy")
    raw = tokens.astype(np.uint8).tobytes().replace(b"\0", b"?")  # a lost byte; text itself holds no NUL
    return raw.decode("utf-8", "lem-question").encode()


_SINGLE = {"image": "image", "sound": "audio"}  # families of files with one item of the file's name: its kind


def _family(path: str) -> str:
    """Of formats, that of a file, by its first bytes; '' where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return sniff(file.read(16))[1]
    except OSError:
        return ""


def _twins(path: str, *inputs: str) -> str:
    which = f" ({' and '.join(map(shown, inputs))})" if inputs else ""
    return f"{path}: two items would go into this file{which}; {_pattern(path.rsplit('.', 1)[-1])}"


def _pattern(form: str) -> str:
    """The way out where an item's name cannot be that of a file."""
    return f"use a pattern, as in -o out-%05d.{form}"


class Target:
    """Where a command's output goes, checked before any work is done.

    out: None or '-' (stdout), a file, 'DIR/' or an existing folder, or a name with %d, which is a pattern ('out-%05d.png')
    unless it is there already.
    to: a format, else known by the extension, else `own`: True puts single items into their own medium (a recalled image
    becomes a PNG), False everything into safetensors.
    Raises LemError for an unknown format, a folder that is missing, or a terminal.
    """

    def __init__(self, out: str | None = None, to: str | None = None, own: bool = False):
        self.out, self.own, self.inputs, self._claimed = out, own, [], set()
        self.stdout = out in (None, "-")
        self.folder = not self.stdout and (out.endswith("/") or os.path.isdir(out))
        if out == "":
            raise LemError("the output has no name; name a file, a folder (DIR/), a pattern, or - for standard output")
        single = self.stdout or self.folder or os.path.isfile(out)
        self.pattern = not single and bool(_NUMBER.search(os.path.basename(out)))
        extension = "" if self.stdout or self.folder else Path(out).suffix[1:].lower()
        self.form = to or _ALIAS.get(extension, extension) or None
        if self.form and self.form not in FORMATS:
            raise LemError(f"{out}: no format {self.form!r}; there are {', '.join(FORMATS)} (say which with --to)")
        if self.stdout:
            if out is None and os.isatty(1):
                raise LemError(
                    "binary output would go to the terminal; pipe it on, name a file with -o, or force it with -o -"
                )
        elif not self.folder:
            parent = os.path.dirname(out) or "."
            if not os.path.isdir(parent):
                raise LemError(f"{out}: no folder {parent}")

    def refuse(self, inputs: Iterable[str], beside: Iterable[str] = ()) -> None:
        """Raise LemError where one of the inputs would be overwritten by the output, where the output is a folder that is
        read or a file in a model that is, or where two files of the inputs would become one; for what else goes into a folder `claim` does.

        beside: what is read and does not come out again, as masks, models and memories; its names may be those of inputs.
        """
        inputs = list(inputs)
        self.inputs = [*inputs, *beside]
        if self.folder:
            for path in self.inputs:
                if path != "-" and os.path.isdir(path) and os.path.isdir(self.out) and os.path.samefile(path, self.out):
                    raise LemError(f"{path}: is input and output at once; write to another folder")
            self._refuse_twins(inputs)
        if not self.stdout:
            self._refuse_inside()
        mine = None if self.folder or self.pattern else status(1 if self.stdout else self.out)
        if mine is None or not stat.S_ISREG(mine.st_mode):
            return
        for path in every_file(self.inputs):
            other = status(0 if path == "-" else path)
            if other is not None and os.path.samestat(mine, other):
                raise LemError(f"{path}: is input and output at once; write to another file")

    def _refuse_inside(self) -> None:
        """LemError for what would lie in a model that is read, of which it would be a part from then on."""
        place = os.path.realpath(self.out if self.folder else os.path.dirname(self.out) or ".")
        for path in self.inputs:
            if path != "-" and os.path.isdir(path) and is_model(path):
                inside = os.path.realpath(path)
                if os.path.commonpath([inside, place]) == inside:
                    raise LemError(f"{self.out}: lies in the model {path}, which is read; write to another folder")

    def _refuse_twins(self, inputs: list[str]) -> None:
        """LemError for two images or sounds whose names differ in the folder or extension alone."""
        alike: dict[str, list[tuple[str, str]]] = {}
        for path, name in expand(inputs, report=lambda error: None):
            if path != "-":
                alike.setdefault(stem(name), []).append((path, name))
        for files in alike.values():
            taken: dict[str, str] = {}
            for path, name in files if len(files) > 1 else ():
                kind = _SINGLE.get(_family(path))
                if kind is None:
                    continue
                out = self.item_path(0, name, kind)
                if (other := taken.setdefault(out, path)) is not path:
                    raise LemError(_twins(out, other, path))

    def item_path(self, index: int, name: str | None, kind: str) -> str:
        """File of one item in a folder or pattern."""
        form = self.form or (_OWN.get(kind, "safetensors") if self.own else "safetensors")
        if self.pattern:
            number = lambda match: format(index, f"{match[1]}d")
            folder, pattern = os.path.split(self.out)
            path = os.path.join(folder, _NUMBER.sub(number, pattern))
            return path if self.form else f"{path}.{form}"
        if name and (name.startswith("/") or "\0" in name or ".." in Path(name).parts or not Path(name).parts):
            raise LemError(f"{name!r}: an item's name that leads out of the folder {self.out}; {_pattern(form)}")
        # the number of a draw stays: photo.png#2 becomes photo#2.png
        return os.path.join(self.out, f"{path_of(stem(name)) if name else f'{index:05d}'}.{_ENDINGS.get(form, form)}")

    def is_there(self, index: int, name: str | None) -> bool:
        """True where an item's file, of whatever format it would get, exists before this run."""
        kinds = [*(_OWN if self.own else ()), ""]  # (of no kind: safetensors)
        return any(
            p not in self._claimed and os.path.exists(p) for p in (self.item_path(index, name, k) for k in kinds)
        )

    def claim(self, path: str) -> None:
        """Raise LemError where an item's file is an input, or was written for another item before."""
        if path in self._claimed:
            raise LemError(_twins(path))
        self._claimed.add(path)
        there = status(path)
        if there is not None and (there.st_dev, there.st_ino) in self._read:
            raise LemError(f"{path}: is input and output at once; write to another folder")

    @functools.cached_property
    def _read(self) -> set[tuple[int, int]]:
        """Device and inode of every input."""
        found = (status(path) for path in every_file(self.inputs) if path != "-")
        return {(each.st_dev, each.st_ino) for each in found if each is not None}


def save(
    signals: Iterable[Signal],
    target: Target,
    note: Callable[[str], None] | None = None,
    report: Callable[[Exception], None] | None = None,
) -> int:
    """Write every batch to `target`; returns the number of items. Nothing at all is written for no batch.

    report: called with the error of an item that cannot be written to a folder or pattern, and the others are; None: it
    is raised, as it always is where there is no room, or one output for all. A safetensors file of items of one shape is one plain document, else a stream of documents, which `note` is called
    with a line about, and so it is of sounds that a FLAC clips.
    """
    signals = iter(signals)
    first = next(signals, None)
    if first is None:
        return 0
    signals = itertools.chain([first], signals)
    if target.form == "flac" and note is not None:
        signals = sounds.clipped(signals, lambda text: note(f"{target.out}: {text}"))
    if first.part is not None and not target.stdout:
        if target.form not in (None, "safetensors") or target.pattern:
            raise LemError(f"{target.out}: parts of a model do not fit there; write a folder (-o DIR/) or safetensors")
        if target.folder or target.own:
            return weights_back.write(signals, target)
    if target.folder or target.pattern:
        return _save_items(signals, target, report)
    if target.stdout:
        with blamed("standard output"), open(1, "wb", buffering=0, closefd=False) as file:
            return _save_stdout(signals, target, file)
    form = target.form or "safetensors"
    with whole_file(target.out) as file:
        seen = _Counter(signals)
        if form == "safetensors":
            special = not stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            folder = None if special else os.path.dirname(os.path.realpath(target.out))
            documents = stream.write_one(seen, file, folder, several=True)
            if documents > 1 and note is not None:
                note(
                    f"{target.out}: a stream of {documents} documents, for items of several shapes or kinds; "
                    "lemtools reads it, other readers of safetensors take one document only"
                )
            for _ in signals:  # after the last document it stops; whoever reads must see the end of the input
                pass
        else:
            stream.write_all(file, [_single(seen, form, target.out)])
        return seen.count


class _Counter:
    def __init__(self, signals):
        self.signals, self.count = signals, 0

    def __iter__(self):
        for signal in self.signals:
            self.count += len(signal)
            yield signal


def _save_items(signals: Iterable[Signal], target: Target, report: Callable[[Exception], None] | None) -> int:
    count = 0
    for signal in signals:
        for i in range(len(signal)):
            try:
                _save_item(signal, i, target)
                count += 1
            except (LemError, OSError) as error:
                if report is None or getattr(error, "errno", None) in _ENDS:
                    raise
                report(error)
    return count


def _save_item(signal: Signal, i: int, target: Target) -> None:
    path = target.item_path(int(signal.index[i]), signal.names and signal.names[i], signal.kind)
    form = target.form or path.rsplit(".", 1)[1].lower()
    target.claim(path)
    _make_folders(os.path.dirname(path))
    item = signal.take([i])
    item.last = True
    body = stream.document(item) if form == "safetensors" else [_encode(item, form, path)]
    with whole_file(path) as file:
        stream.write_all(file, body)


def _make_folders(path: str) -> None:
    """os.makedirs, which calls itself, ends at a thousand folders."""
    missing = []
    while path and not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path.rstrip("/"))
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):  # another shard made it
            os.mkdir(folder)


def _save_stdout(signals: Iterable[Signal], target: Target, file) -> int:
    signals = iter(signals)
    first = next(signals)
    form, rest = target.form, signals
    if form is None and target.own and len(first) == 1 and first.kind in _OWN and first.part is None:
        # one item speaks its own medium; whether it is the only one is known by its mark, else by waiting for the next
        second = None if first.last else next(signals, None)
        if second is None:
            form = _OWN[first.kind]
            first.last = True
        else:
            rest = itertools.chain([second], signals)
    seen = _Counter(itertools.chain([first], rest))
    if form in (None, "safetensors"):
        stream.write(seen, file)
    elif first.part is not None:
        raise LemError(f"parts of a model do not fit a {form}; write safetensors")
    else:
        stream.write_all(file, [_single(seen, form, "standard output")])
    return seen.count


def _single(signals: Iterable[Signal], form: str, where: str) -> bytes:
    """One file's bytes: every item of a npy, or the only item of any other format."""
    batches = []
    for signal in signals:
        batches.append(signal)
        if form != "npy" and sum(map(len, batches)) > 1:
            raise LemError(
                f"{where}: more than one item does not fit a {form}; write to a folder (-o DIR/) or safetensors"
            )
    if form == "npy":
        if len({b.data.shape[1:] for b in batches}) > 1:
            raise LemError(f"{where}: items of different shapes do not fit one npy; write to a folder (-o DIR/)")
        out = io.BytesIO()
        np.save(out, np.concatenate([b.data for b in batches]), allow_pickle=False)
        return out.getvalue()
    return _encode(batches[0], form, where)


def _encode(item: Signal, form: str, where: str) -> bytes:
    if form == "npy":
        out = io.BytesIO()
        np.save(out, item.data[0], allow_pickle=False)
        return out.getvalue()
    kinds, encode = _ITEM[form]
    if item.kind not in kinds:
        way = "safetensors or npy" if item.spans is None else f"{', '.join(WRITERS)} or safetensors"
        raise LemError(f"{where}: {item.kind} does not fit a {form}; write {way}")
    try:
        return encode(item)
    except LemError as error:
        raise LemError(f"{where}: {error}") from error
