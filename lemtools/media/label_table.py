"""Labels of items by name: a table with a header, in which a name may be a path or a stem."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Sequence

import numpy as np

from ..signal import LemError, stem

MOST_BYTES = 1 << 26  # of a table
MOST_CLASSES = 1 << 20


class LabelTable:
    """What a table says of items: its first column names them, every other one has a label for each.

    path: of the file, for errors. text: lines of cells between tabs or, where the header has none, commas or
    semicolons; the first line names the columns. A name is a path, with or without its extension, or the last part of
    one; so are those of the items. `columns`: names of the columns behind the first. Raises LemError for a table
    without a header or rows, for a row that is too short or too long, and for two rows or columns of one name.
    """

    def __init__(self, path: str, text: str):
        self.path = os.fsdecode(path)
        try:
            lines = io.StringIO(text, newline=None)
            rows = [row for row in csv.reader(lines, delimiter=_delimiter(text)) if any(row)]
        except csv.Error as error:
            raise LemError(f"{self.path}: no table of labels ({error})") from error
        heads, self.rows = [cell.strip() for cell in rows[0]] if rows else [], rows[1:]
        if len(heads) < 2 or not self.rows:
            raise LemError(f"{self.path}: no table of labels: a header, a line an item, the item's name in front")
        self.columns = heads[1:]
        if len(set(self.columns)) < len(self.columns) or not all(self.columns):
            raise LemError(f"{self.path}: two columns of one name, or one without, among {', '.join(heads)}")
        self._places: dict[str, int] = {}
        for number, row in enumerate(self.rows):
            if len(row) != len(heads):
                raise LemError(f"{self.path}: {len(row)} cells, not {len(heads)}, in the row of {row[0]}")
            if self._places.setdefault(_plain(row[0]), number) != number:
                raise LemError(f"{self.path}: {row[0]} stands there twice; an item has one row")
        self._ends = _by_end(self._places)

    def places(self, names: Sequence[str] | None, again: bool = False) -> np.ndarray:
        """int64 [N]: the row of each item. again: one item may come several times, under one name. LemError for items without names,
        without a row, or two of one row."""
        if names is None:
            raise LemError(
                f"{self.path} goes by name, and these items have none; keep the labels in their order instead"
            )
        found, first = [self._place(name) for name in names], {}
        for i, row in enumerate(found):
            if first.setdefault(row, i) != i and not (again and names[first[row]] == names[i]):
                both = f"{names[first[row]]} and {names[i]}"
                raise LemError(f"{self.path}: {self.rows[row][0]} is the row of both {both}; write their paths in it")
        return np.array(found, np.int64)

    def column(self, name: str | None, places: np.ndarray | None = None) -> list[str]:
        """The labels of a column, of all rows or those at `places`. name None: the only one. LemError where it is not there."""
        if name is None and len(self.columns) > 1:
            which = ", ".join(self.columns)
            raise LemError(f"{self.path} has several columns, {which}: name one, as in --labels FILE:{self.columns[0]}")
        if name is not None and name not in self.columns:
            raise LemError(f"{self.path}: no column {name!r}; there are {', '.join(self.columns)}")
        at = 1 + (self.columns.index(name) if name else 0)
        chosen = self.rows if places is None else [self.rows[row] for row in places.tolist()]
        empty = next((row[0] for row in chosen if not row[at].strip()), None)
        if empty is not None:
            raise LemError(f"{self.path}: {empty} has no {self.columns[at - 1]}")
        return [row[at].strip() for row in chosen]

    def _place(self, name: str) -> int:
        """The row of an item: that of its path or, where there is none, that of its last part, if only one row has it."""
        rows = self._ends.get(_plain(name).rpartition("/")[2], ())
        exact = self._places.get(_plain(name))
        if exact is not None or len(rows) == 1:
            return exact if exact is not None else rows[0]
        if rows:
            raise LemError(f"{self.path}: {len(rows)} rows end in the name of {name}, none is its path")
        raise LemError(f"{self.path}: no row of {name}; every item needs one, by its name or path")


def words(labels: Sequence[str]) -> list[str] | None:
    """What the classes of labels are called, each once, in alphabetical order; None where they are whole numbers."""
    found = sorted(set(labels))
    return None if all(re.fullmatch("[0-9]{1,7}", word) and int(word) < MOST_CLASSES for word in found) else found


def numbered(labels: Sequence[str]) -> np.ndarray:
    """Classes, int64 [N], of labels: whole numbers are themselves; of others those in alphabetical order count from 0."""
    found = words(labels)
    if found is None:
        return np.array([int(word) for word in labels], np.int64)
    number = {word: i for i, word in enumerate(found)}
    return np.array([number[word] for word in labels], np.int64)


def _delimiter(text: str) -> str:
    head = next((line for line in text.splitlines() if line.strip()), "")
    return next((mark for mark in "\t,;" if mark in head), "\t")


def _plain(name: str) -> str:
    """A name as it is looked up: a path from here, without its extension."""
    return stem(name.strip().replace("\\", "/").removeprefix("./"))


def _by_end(places: dict[str, int]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for name, row in places.items():
        found.setdefault(name.rpartition("/")[2], []).append(row)
    return found
