"""Rows of parquet files, whose few bytes may stand for many: what they unpack to is bounded before it is in memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from predgen.data.delimited import MAX_CELL
from predgen.data.frames import as_written
from predgen.data.lines import named_columns
from predgen.errors import DataError

_BATCH_ROWS = 1024  # bounds memory: a row group may hold a million rows
_MOST_BYTES = 1 << 30  # of a batch's cells that are not text, and of a row group that is packed as no table is
_MOST_TIMES = 1000  # how much larger a row group may become than it is in the file; text packs 3 to 30 times


def read_parquet(path: Path) -> Iterator[dict[str, Any]]:
    """Read a parquet file batch by batch.

    Columns of text are read as what differs in them and where it stands: that is how files keep a text that comes back a
    million times, and so it is one text in memory, too.

    Raises:
        DataError: If it is no parquet file, a column has two names, it unpacks to far more than it holds, or pyarrow is missing.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise DataError(
            f"reading {str(path)!r} needs pyarrow: pip install 'predgen[data]'; or give a .csv or .jsonl file."
        ) from error
    try:
        schema = pq.read_schema(path)
        names = named_columns(schema.names, path, 1)
        texts = [
            field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
        ]
        singles = {field.name for field in schema if pa.types.is_float32(field.type)}
        with pq.ParquetFile(path, read_dictionary=texts) as file:
            _check_groups(file.metadata, path)
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                cells = [_cells(column, name, path) for name, column in zip(names, batch.columns, strict=True)]
                yield from as_written((dict(zip(names, row, strict=True)) for row in zip(*cells, strict=True)), singles)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"file {str(path)!r} cannot be read as parquet: {error}. Check that it is one, and whole."
        ) from error


def _check_groups(metadata: Any, path: Path) -> None:  # noqa: ANN401  (pyarrow is untyped)
    """Refuse a row group that says of itself that it unpacks to far more than it holds."""
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        columns = [group.column(i) for i in range(group.num_columns)]
        packed = sum(column.total_compressed_size for column in columns)
        if group.total_byte_size > max(_MOST_BYTES, _MOST_TIMES * packed):
            _raise_too_large(path, f"{packed} bytes of row group {number + 1} unpack to {group.total_byte_size}")


def _cells(column: Any, name: str, path: Path) -> list[Any]:  # noqa: ANN401
    """A column's cells as Python values; texts that are equal are one object."""
    if not hasattr(column, "dictionary"):
        if column.nbytes > _MOST_BYTES:
            _raise_too_large(path, f"column {name!r} has {column.nbytes} bytes in {len(column)} rows")
        cells: list[Any] = column.to_pylist()
        return cells
    used = column.indices.unique()
    values = dict(zip(used.to_pylist(), column.dictionary.take(used).to_pylist(), strict=True))
    longest = max((len(value) for value in values.values() if isinstance(value, str)), default=0)
    if longest > MAX_CELL:
        _raise_too_large(path, f"column {name!r} has a cell of {longest} characters, but {MAX_CELL} at most are read")
    return [values[index] for index in column.indices.to_pylist()]


def _raise_too_large(path: Path, why: str) -> None:
    """Refuse a file that would fill the memory."""
    raise DataError(f"file {str(path)!r} is too large once unpacked: {why}. Write the rows you need to a .jsonl file.")
