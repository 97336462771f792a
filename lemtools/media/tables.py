"""Tables of numbers: every row is an embedding. Parquet is read here, CSV and TSV in delimited.py."""

import io
from collections.abc import Iterator

import numpy as np

from ..signal import LemError, Signal
from ..stream import Source
from .how import Reading


def batches(table: np.ndarray, how: Reading) -> Iterator[Signal]:
    """The rows of a table [N, D]: floats are embeddings, whole numbers tokens."""
    kind = "embedding" if table.dtype.kind == "f" else "tokens"
    step = how.items(table[:1].nbytes)
    for start in range(0, len(table), step):
        yield Signal(kind, table[start : start + step], last=start + step >= len(table))


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
