"""Labels of memories, kept in a file beside them: classes in the order of the items, or a table that goes by name."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence

import numpy as np

from ..signal import LemError
from ..stream import Source
from . import arrays
from .find import sniff
from .label_table import MOST_BYTES, LabelTable, numbered, words

FOLDER = "folder"  # in place of a file: every item is of the class that its folder is called
MOST = 1 << 20  # classes
MANY = 1 << 26  # labels
_BLOCK = 1 << 20  # bytes of text that are looked at at a time: as numbers they take fifty times as many


class Classes:
    """The classes in a file, as every tool takes them with --labels FILE[:COLUMN].

    FILE: whole numbers in the order of the items (`labels`), or names in that order, one a line; or a table that goes by name
    (`LabelTable`), with one column or that of this name. Names of classes count from 0 in alphabetical order, over the
    file; `words` has them in that order, and is None where classes are numbers.
    """

    def __init__(self, path: str):
        file, column = parted(path)
        self.path, found = os.fsdecode(file), _read(file)
        self.table = found if isinstance(found, LabelTable) else None
        if self.table is None and column is not None:
            raise LemError(f"{self.path}: classes in the order of the items have no column {column!r}")
        told = found if self.table is None else self.table.column(column)
        if isinstance(told, np.ndarray):
            self.values, self.words = told, None
        else:
            self.values, self.words = numbered(told), words(told)

    def of(self, count: int, names: Sequence[str] | None, called: str = "items", again: bool = False) -> np.ndarray:
        """int64 [count], of all items. again: see LabelTable.places. LemError where there are more or fewer classes, or a name has none."""
        if self.table is None and len(self.values) != count:
            raise LemError(f"{self.path}: {len(self.values)} labels for {count} {called}")
        return self.part(0, count, names, again)

    def part(self, start: int, count: int, names: Sequence[str] | None, again: bool = False) -> np.ndarray:
        """int64 [count], of the items from `start` on; where they go by order, there may be fewer."""
        if self.table is None:
            return self.values[start : start + count]
        return self.values[self.table.places(names, again)]


def classes_of(
    given: Classes | str | np.ndarray, count: int, names: Sequence[str] | None
) -> tuple[np.ndarray, list[str] | None]:
    """(int64 [count], their words or None): classes of items as a user names them: those of a file; FOLDER, of folders in alphabetical order;
    or numbers or words in the order of the items. LemError where they are not those of so many items."""
    if isinstance(given, Classes):
        return given.of(count, names), given.words
    found = folders(names, "--labels FILE") if isinstance(given, str) else [str(label) for label in given]
    if len(found) != count:
        raise LemError(f"{len(found)} labels for {count} items")
    return numbered(found), words(found)


def given_labels(labels: str) -> Classes | str:
    """What --labels names: FOLDER, or the classes in a file, of which one of that name comes first."""
    return labels if labels == FOLDER and not os.path.exists(FOLDER) else Classes(labels)


def folders(names: Sequence[str] | None, ways: str) -> list[str]:
    """What the folder of each item is called. LemError, with what to do instead, for items that lie in none."""
    found = [os.path.basename(os.path.dirname(name)) for name in names or ()]
    if not found or not all(found):
        raise LemError(
            f"items that lie in no folders, as far as their names say: give the folder that holds these, or {ways}"
        )
    return found


def parted(path: str) -> tuple[str, str | None]:
    """(file, column) of FILE[:COLUMN]; a file of the whole name comes first."""
    file, mark, column = path.rpartition(":")
    return (file, column) if mark and file and not os.path.exists(path) else (path, None)


def table(path: str) -> LabelTable:
    """The table of labels in a file. LemError for what is none."""
    file, column = parted(path)
    if column is not None and os.path.isfile(file):
        raise LemError(
            f"{os.fsdecode(path)}: the table alone is named here, {os.fsdecode(file)}, and its column with --by {column}"
        )
    found = _read(path)
    if not isinstance(found, LabelTable):
        raise LemError(f"{os.fsdecode(path)}: no table of labels: a header, a line an item, the item's name in front")
    return found


def labels(path: str) -> np.ndarray:
    """Classes, int64 [N], from an idx, npy or text file, compressed by gzip or not, of whole numbers >= 0, or from a text of
    names, as in `Classes`.

    Raises LemError for anything else, and for more than MANY: a small file, unpacked, may hold any number.
    """
    found = _read(path)
    if isinstance(found, LabelTable):
        raise LemError(f"{os.fsdecode(path)}: no labels in the order of the items, but a table of them")
    return numbered(found) if isinstance(found, list) else found


def _read(path: str) -> np.ndarray | list[str] | LabelTable:
    """Whole numbers, or names of classes, in the order of the items; or a table."""
    with open(path, "rb", buffering=0) as file:
        source = Source(file, path)
        if sniff(source.peek(16))[1] == "gzip":
            source = arrays.unzip(source)
        family = sniff(source.peek(16))[1]
        if family == "text" and _is_header(source.peek(4096)):
            return _table(source)
        if family == "text" and _is_name(source.peek(4096)):
            return _names(source)
        try:
            values = _values(source, family)
            whole = values.astype(np.int64)
            if not len(whole) or (whole != values).any() or whole.min() < 0 or whole.max() >= MOST:
                raise ValueError
        except (ValueError, OverflowError) as error:
            if isinstance(error, LemError):
                raise
            raise LemError(
                f"{path}: no labels: an idx, npy or text file of whole numbers from 0 to {MOST - 1}, names one a line, or a "
                "table with a header"
            ) from error
    return whole


def _is_header(head: bytes) -> bool:
    """Whether the first line names columns: cells between tabs, commas or semicolons, none of them a number."""
    cells = [cell.strip() for cell in _first(head).replace(",", "\t").replace(";", "\t").split("\t")]
    return len(cells) > 1 and not any(cell.lstrip("+-").replace(".", "", 1).isdecimal() for cell in cells)


def _is_name(head: bytes) -> bool:
    """Whether the first line is the name of a class: no number, and no row of several cells."""
    line = _first(head)
    return bool(line) and line[0] != "{" and not _is_number(line.split()[0]) and not re.search("[\t,;\0]", line)


def _first(head: bytes) -> str:
    """The first line that is not empty."""
    return next((line.strip() for line in head.decode("utf-8-sig", "replace").splitlines() if line.strip()), "")


def _is_number(text: str) -> bool:
    """Whether it is a number in digits, however large; "nan" and "infinity" are words."""
    try:
        float(text)
    except ValueError:
        return False
    return any(letter.isdecimal() for letter in text)


def _text(source: Source) -> str:
    raw = source.read(MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        raise LemError(f"{source.name}: labels of more than {MOST_BYTES >> 20} MiB")
    try:
        return raw.tobytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LemError(f"{source.name}: no labels: neither UTF-8 nor a format of numbers") from error


def _names(source: Source) -> list[str]:
    """Names of classes, one a line, empty lines left out. LemError where a number stands among them."""
    names = [name for line in re.split("\r\n|\r|\n", _text(source)) if (name := line.strip())]
    if number := next((name for name in names if _is_number(name)), None):
        raise LemError(f"{source.name}: {number} stands among names of classes, as {names[0]}; numbers alone, or names")
    return names


def _table(source: Source) -> LabelTable:
    return LabelTable(source.name, _text(source))


def _values(source: Source, family: str) -> np.ndarray:
    if family not in ("idx", "npy"):
        return np.concatenate(list(_numbers(source)))
    shape, dtype = arrays.idx_header(source) if family == "idx" else arrays.npy_header(source)[::2]
    count = math.prod(shape)
    if dtype.kind not in "fiub" or max(shape, default=0) < count:
        raise ValueError
    _check_count(count, source.name)
    raw = source.read(count * dtype.itemsize + 1)
    if len(raw) != count * dtype.itemsize:
        raise ValueError
    return raw.view(dtype)


def _numbers(source: Source) -> Iterator[np.ndarray]:
    """The numbers of a text, a million bytes at a time."""
    rest, count = b"", 0
    while len(block := source.read(_BLOCK)):
        text = rest + block.tobytes()
        cut = max(text.rfind(space) for space in (b"\n", b" ", b"\t")) + 1
        rest = text[cut:]
        if len(rest) > _BLOCK:
            raise ValueError
        yield (values := _parsed(text[:cut]))
        count += len(values)
        _check_count(count, source.name)
    yield _parsed(rest)


def _parsed(text: bytes) -> np.ndarray:
    return np.array(text.decode("utf-8-sig").split(), np.int64)


def _check_count(count: int, name: str) -> None:
    if count > MANY:
        raise LemError(f"{name}: {count} labels or more, of which there may be {MANY}")
