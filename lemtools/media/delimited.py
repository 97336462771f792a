"""Numbers between commas, tabs or semicolons, CSV and TSV: every row is an embedding."""

import csv
import io
import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..signal import LemError
from .how import Reading

_POINT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf)", re.IGNORECASE)
_COMMA = re.compile(r"[+-]?(\d+,?\d*|,\d+)([eE][+-]?\d+)?")  # as 1,5 is written in most of Europe
# a value in a way of writing that is not read: $1, 1 000, 1_000, 5%, 0x10. It names no column
_VALUE = re.compile(r"[+-]?[$€£]?\s*\d[\d_ '.,]*\s*[%$€£]?|0[xX][0-9a-fA-F]+")
_MISSING = {"", "n/a", "N/A", "NA", "null", "NULL", "-", "?"}
_NAMED = re.compile(r"\.(csv|tsv)(\.gz)?$", re.IGNORECASE)
HEADS = 2  # rows of words above the numbers: names, and units


class _Layout(NamedTuple):
    """How a table is written. delimiter: None where it has one column, or spaces between. comma: the decimal mark is
    one. heads: [(line, cells)] above the numbers. width: cells of a row, without an empty one that ends it."""

    delimiter: str | None
    comma: bool
    heads: list[tuple[int, list[str]]]
    width: int

    @property
    def number(self) -> re.Pattern:
        return _COMMA if self.comma else _POINT

    def cells(self, line: str) -> list[str]:
        """The cells of a line, without the empty one behind a delimiter that ends it."""
        cells = _cells(line, self.delimiter)
        return cells[:-1] if len(cells) == self.width + 1 and not cells[-1] else cells


def from_text(text: str, name: str, how: Reading) -> np.ndarray | None:
    """float32 [N, D] of a table of numbers; None for other text.

    It is a table where one of its first rows is numbers between commas, tabs or semicolons; with semicolons or tabs
    they may have decimal commas. A file called .csv or .tsv may have one column, and a row of units below the names of
    its columns. A first row is names where none of its cells is a number. Lines that begin with # are left out, and so is a
    first column without a name that counts the rows from 0 or 1. With `how.kind` 'embedding' the numbers may stand
    between spaces, too; with 'tokens' they are whole ones, int64. Raises LemError, with the line and the cell, for a
    table with anything else in it.
    """
    forced, named = how.kind in ("embedding", "tokens"), bool(_NAMED.search(name))
    text = text.removeprefix("\ufeff")  # what Windows puts at the head of a file
    text = text if "\n" in text else text.replace("\r", "\n")  # as old Macs end lines
    first = list(itertools.islice(_lines(text), HEADS + 1))
    layout = _layout(first, forced, named)
    if layout is None:
        if forced:
            raise LemError(f"{name}: no table of numbers in rows of one length")
        if why := _why(first, named):
            how.say("text", f"{name}: read as text: {why}; --kind embedding reads numbers")
        return None
    if layout.delimiter is None and layout.width > 1 and not forced:
        how.say("numbers", f"{name}: numbers between spaces are read as text; --kind embedding reads them as numbers")
        return None
    sure = forced or named
    commented = re.search(r"^#", text, re.MULTILINE) is not None
    units = len(layout.heads) > 1 and not any(map(layout.number.fullmatch, layout.heads[-1][1]))
    doubtful = commented or units  # where the name says nothing, then all else must be numbers
    try:
        if layout.heads:
            _check_names(layout)
        table = _parsed(text, layout, commented)
    except ValueError as error:
        if doubtful and not sure:
            return None
        if not isinstance(error, LemError):
            error = _blame(text, layout) or LemError(str(error).split(";")[0])
        raise LemError(f"{name}: a table of numbers, but {error}; --kind text reads it as text") from error
    table, said = _numbered(table, layout)
    if how.kind == "tokens":
        if (np.abs(table) > 2**53).any():  # from there on the numbers of a table, float64, leave some out
            raise LemError(f"{name}: tokens beyond 2^53; save them as NPY")
        whole = table.astype(np.int64)
        if (whole != table).any():
            raise LemError(f"{name}: tokens are whole numbers")
        return whole
    parts = [", ".join(said)] if said else []
    if layout.heads:
        lines = " and ".join(str(number) for number, _ in layout.heads)
        names = ",".join(layout.heads[0][1])
        shown = names if len(names) < 40 else names[:36] + " ..."
        parts.append(f"line{'s' * (len(layout.heads) > 1)} {lines} ({shown}) taken for names of its columns")
    parts += ["decimal commas"] * layout.comma + ["lines that begin with # left out"] * commented
    count = f"{len(table)} embedding{'s' * (len(table) > 1)} of {table.shape[1]} dimension{'s' * (table.shape[1] > 1)}"
    done = "".join(f", {part}" for part in parts)
    how.say("table", f"{name}: a table of numbers, read as {count}{done} (--kind text for its text)")
    with np.errstate(over="ignore"):  # what becomes infinite is refused as such
        return table.astype(np.float32)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """(number from 1, line) of those that are neither blank nor begin with #."""
    at, number = 0, 0
    while at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        number += 1
        line = text[at:end].strip("\r")
        if line.strip() and not line.startswith("#"):
            yield number, line
        at = end + 1


def _cells(line: str, delimiter: str | None) -> list[str]:
    if delimiter is None:
        return line.replace('"', " ").split()
    try:
        cells = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:  # as of a line end inside of a row: the cell that holds it is no number
        cells = line.split(delimiter)
    return [cell.strip() for cell in cells]


def _layout(first: list[tuple[int, str]], forced: bool, named: bool) -> _Layout | None:
    """How the table is written of which these are the first lines; None for what is none."""
    if first and not any(d in line for _, line in first[:1] for d in "\t;,"):
        return _column(first, forced, named)
    for delimiter in "\t;,":
        rows = [(number, _cells(line, delimiter)) for number, line in first if delimiter in line]
        rows = rows if [number for number, _ in rows] == [number for number, _ in first[: len(rows)]] else []
        for skip, (_, row) in enumerate(rows):
            width = len(row)
            if width > 1 and row[-1] == "" and not (skip and len(rows[0][1]) == width and rows[0][1][-1]):
                width -= 1  # each row ends with the delimiter
            for comma in (False, True)[: 1 + (delimiter != ",")]:
                layout = _Layout(delimiter, comma, [], width)
                if all(map(layout.number.fullmatch, row[:width])):
                    heads = [(number, layout.cells(line)) for number, line in first[:skip]]
                    short = width < 2 and not (forced or named)
                    return None if short or any(len(h) != width for _, h in heads) else layout._replace(heads=heads)
    return None


def _column(first: list[tuple[int, str]], forced: bool, named: bool) -> _Layout | None:
    """Of lines without a delimiter: one column, or numbers between spaces."""
    rows = [_cells(line, None) for _, line in first]
    for skip, row in enumerate(rows):
        if row and all(map(_POINT.fullmatch, row)):
            if len(row) == 1 and not (forced or named):
                return None
            heads = [(number, [line.strip(' "')]) for number, line in first[:skip]]
            return _Layout(None, False, heads, len(row))
    return None


def _why(first: list[tuple[int, str]], named: bool) -> str:
    """Why what may be meant as a table is read as text; '' where it is plain text."""
    delimiter = next((d for d in "\t;," if first and all(d in line for _, line in first)), None)
    if delimiter is None:
        return "its rows hold no numbers" if named and first else ""
    below = [(number, _cells(line, delimiter)) for number, line in first][len(first) > 1 :]
    cells = [(number, k + 1, cell) for number, row in below for k, cell in enumerate(row)]
    others = [
        cell for cell in cells if not (_POINT.fullmatch(cell[2]) or (delimiter != "," and _COMMA.fullmatch(cell[2])))
    ]
    if not others:
        return "its rows are not of one length" if named else ""
    number, k, cell = others[0]
    if named or (len({len(row) for _, row in below}) == 1 and 2 * len(others) < len(cells)):
        return f"cell {k} in line {number} is {_quoted(cell)}"
    return ""


def _check_names(layout: _Layout) -> None:
    """Raise LemError for a row above the numbers that is no row of names."""
    for number, cells in layout.heads:
        every = all(cell in _MISSING for cell in cells)
        for k, cell in enumerate(cells, 1):
            if layout.number.fullmatch(cell):
                k, cell = next((i, c) for i, c in enumerate(cells, 1) if not layout.number.fullmatch(c))
                raise _bad(number, k, cell)
            if _VALUE.fullmatch(cell) or (every and cell):
                raise _bad(number, k, cell)


def _parsed(text: str, layout: _Layout, commented: bool) -> np.ndarray:
    """float64 [N, D]. ValueError for what is no number."""
    if layout.heads or commented:
        skipped = layout.heads[-1][0] if layout.heads else 0
        text = "\n".join(line for number, line in _lines(text) if number > skipped)
    delimiter = layout.delimiter
    if delimiter is not None:
        text = re.sub(rf"{delimiter} +(?=\")", delimiter, text)  # numpy knows quotes only right behind the delimiter
        if len(_cells(next(_lines(text), (0, ""))[1], delimiter)) > layout.width:
            text = re.sub(rf"{delimiter}[ \r]*$", "", text, flags=re.MULTILINE)
    if layout.comma:
        if "." in text:
            raise ValueError("points among decimal commas")
        text = text.replace(",", ".")
    return np.loadtxt(io.StringIO(text), delimiter=delimiter, ndmin=2, comments=None, quotechar='"')


def _blame(text: str, layout: _Layout) -> LemError | None:
    """What is wrong with the first bad line of a table."""
    last = layout.heads[-1][0] if layout.heads else 0
    for number, line in _lines(text):
        if number <= last:
            continue
        cells = layout.cells(line)
        if len(cells) != layout.width:
            return LemError(f"{len(cells)} cell{'s' * (len(cells) > 1)}, not {layout.width}, in line {number}")
        for k, cell in enumerate(cells, 1):
            if not layout.number.fullmatch(cell):
                return _bad(number, k, cell)
    return None


def _bad(number: int, k: int, cell: str) -> LemError:
    return LemError(f"cell {k} is {_quoted(cell)}, no number, in line {number}")


def _quoted(cell: str) -> str:
    return "empty" if not cell else repr(cell if len(cell) < 30 else cell[:26] + " ...")


def _numbered(table: np.ndarray, layout: _Layout) -> tuple[np.ndarray, list[str]]:
    """The table without a column that only counts its rows, and what was done."""
    if not layout.heads or layout.heads[0][1][0] != "" or table.shape[1] < 2:
        return table, []
    counted = table[:, 0] - np.arange(len(table))
    if (counted == 0).all() or (counted == 1).all():
        return table[:, 1:], ["the column that numbers them left out"]
    return table, ["its first column, which has no name, kept: it does not count the rows"]
