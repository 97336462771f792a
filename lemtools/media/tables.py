"""Tables of numbers, CSV, TSV and parquet: every row is an embedding."""

import io
import re
from collections.abc import Iterator

import numpy as np

from ..signal import LemError, Signal
from ..stream import Source
from .how import Reading

_NUMBER = re.compile(r'\s*"?[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"?\s*|\s*[+-]?(nan|inf)\s*', re.IGNORECASE)


def batches(table: np.ndarray, how: Reading) -> Iterator[Signal]:
    """The rows of a table [N, D]: floats are embeddings, whole numbers tokens."""
    kind = "embedding" if table.dtype.kind == "f" else "tokens"
    step = how.items(table[:1].nbytes)
    for start in range(0, len(table), step):
        yield Signal(kind, table[start : start + step], last=start + step >= len(table))


def from_text(text: str, name: str, how: Reading) -> np.ndarray | None:
    """float32 [N, D] of a text whose first rows are numbers between commas, tabs or semicolons; None for other text.

    A first row of words names the columns; one that begins with nothing, as pandas writes it, says that the first
    column numbers the rows. With `how.kind` 'embedding' it must be numbers, between spaces or alone in their rows, too;
    with 'tokens' whole ones, int64. Raises LemError for a table that is no table further down.
    """
    forced = how.kind in ("embedding", "tokens")
    text = text.removeprefix("\ufeff")  # what Windows puts at the head of a file
    text = text if "\n" in text else text.replace("\r", "\n")  # as old Macs end lines
    layout = _layout(text, forced)
    if layout is None:
        if forced:
            raise LemError(f"{name}: no table of numbers in rows of one length")
        return None
    delimiter, head = layout
    if delimiter is None and not forced:
        how.say("numbers", f"{name}: numbers between spaces are read as text; --kind embedding reads them as numbers")
        return None
    if delimiter is not None:
        text = text.replace(f'{delimiter} "', f'{delimiter}"')  # numpy knows quotes only right behind the delimiter
    try:
        table = np.loadtxt(
            io.StringIO(text), delimiter=delimiter, skiprows=len(head), ndmin=2, comments=None, quotechar='"'
        )
    except ValueError as error:
        problem = str(error).split(";")[0].split(" at row")[0]
        row = re.search(r"row (\d+)", str(error))
        first = 1 if problem.startswith("could not") else 0  # numpy counts rows from 0 in this message alone
        line = f" in line {int(row[1]) + first + len(head)}" if row else ""
        raise LemError(f"{name}: a table of numbers, but {problem}{line}; --kind text reads it as text") from error
    dropped = ""
    if head and head[0].split(delimiter)[0].strip(' "') == "" and table.shape[1] > 1:
        table, dropped = table[:, 1:], ", the column that numbers them left out"
    if how.kind == "tokens":
        whole = table.astype(np.int64)
        if (whole != table).any():
            raise LemError(f"{name}: tokens are whole numbers")
        return whole
    count = f"{len(table)} embedding{'s' * (len(table) > 1)} of {table.shape[1]} dimensions"
    how.say("table", f"{name}: a table of numbers, read as {count}{dropped} (--kind text for its text)")
    with np.errstate(over="ignore"):  # what becomes infinite is refused as such
        return table.astype(np.float32)


def _layout(text: str, forced: bool) -> tuple[str | None, list[str]] | None:
    """(what is between the numbers, None: spaces, the rows above them) or None for what is no table of numbers."""
    rows, at = [], 0
    while len(rows) < 2 and at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        if row := text[at:end].strip("\r"):
            rows.append(row)
        elif rows:
            break
        at = end + 1
    for skip in range(len(rows)):
        row = rows[skip]
        delimiter = next((d for d in "\t,;" if d in row), None)
        fields = row.split(delimiter)
        if len(fields) >= (1 if forced else 2) and all(map(_NUMBER.fullmatch, fields)):
            same = skip == 0 or delimiter is None or len(rows[0].split(delimiter)) == len(fields)
            return (delimiter, rows[:skip]) if same else None
    return None


def from_parquet(source: Source, how: Reading) -> Iterator[Signal]:
    """Batches of a parquet file: its one column of lists of numbers, or that named `how.key`, else all of numbers."""
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise LemError(
            f"{source.name}: parquet needs pyarrow, which is not installed: pip install 'lemtools[parquet]'"
        ) from error
    try:
        file = parquet.ParquetFile(io.BytesIO(source.rest()))
        names = _columns(file.schema_arrow, pyarrow.types, source.name, how.key)
        width, done, total = 8 * len(names), 0, file.metadata.num_rows
        for batch in file.iter_batches(how.batch or how.items(4096 if len(names) == 1 else width), columns=names):
            columns = [_numbers(batch.column(name), name, source.name) for name in names]
            data = columns[0] if columns[0].ndim == 2 else np.stack(columns, axis=1)
            done += len(data)
            yield Signal("embedding", data.astype(np.float32, copy=False), last=done == total)
    except pyarrow.ArrowException as error:
        raise LemError(f"{source.name}: not a readable parquet ({str(error).splitlines()[0][:80]})") from error


def _columns(schema, types, where: str, key: str | None) -> list[str]:
    number = lambda kind: types.is_floating(kind) or types.is_integer(kind)
    lists = [f.name for f in schema if hasattr(f.type, "value_type") and number(f.type.value_type)]
    plain = [f.name for f in schema if number(f.type)]
    listed = ", ".join([*lists, *plain][:8])
    if key is not None:
        if key not in [*lists, *plain]:
            raise LemError(f"{where}: no column of numbers {key!r}; there is {listed}")
        return [key]
    if len(lists) > 1:
        raise LemError(f"{where}: several columns of lists ({', '.join(lists[:8])}); pick one with --key")
    if not (lists or plain):
        raise LemError(f"{where}: no column of numbers or of lists of numbers")
    return lists or plain


def _numbers(column, name: str, where: str) -> np.ndarray:
    """[N] of a column of numbers, [N, D] of one of lists."""
    if column.null_count:
        raise LemError(f"{where}: {column.null_count} empty values in the column {name}")
    if not hasattr(column.type, "value_type"):
        return column.to_numpy(zero_copy_only=False)
    values = column.flatten()
    if values.null_count or len(values) % len(column) or len({len(row) for row in column}) > 1:
        raise LemError(f"{where}: lists of several lengths, or with empty values, in the column {name}")
    return values.to_numpy(zero_copy_only=False).reshape(len(column), -1)
