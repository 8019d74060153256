"""Predictions as parquet. The part file is an Arrow stream, which can be appended to; the end makes parquet of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from predgen.data.cells import is_missing, plain
from predgen.errors import DataError
from predgen.files import sync
from predgen.inference.formats import RowFormat, require_known

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as missing:
    raise DataError(
        "reading and writing parquet needs pyarrow: pip install 'predgen[data]'; or give a .csv or .jsonl file."
    ) from missing


class Parquet(RowFormat):
    """One column type for all rows: the input's where it is parquet, else what the first window of rows holds.

    Args:
        source: The input, whose column types are kept if it is parquet.
        columns: Names, in order.
        numbers: Columns of numbers, also where the first window holds none.
    """

    def __init__(self, source: Path, columns: Sequence[str], numbers: Sequence[str]) -> None:
        known = pq.read_schema(source) if source.suffix.lower() == ".parquet" else ()
        self._columns = tuple(columns)
        self._types = {field.name: field.type for field in known} | dict.fromkeys(numbers, pa.float64())
        self._schema: Any = None

    def encoded(self, lines: Sequence[Mapping[str, Any]], done: int) -> bytes:
        for number, line in enumerate(lines, start=done + 1):
            require_known(line, self._columns, number)
        if done == 0:
            self._schema = pa.schema([self._field(name, lines) for name in self._columns])
        arrays = [self._array(field, lines, done) for field in self._schema]
        batch: bytes = pa.record_batch(arrays, schema=self._schema).serialize().to_pybytes()
        head: bytes = b"" if done else self._schema.serialize().to_pybytes()
        return head + batch

    def count(self, part: Path) -> int:
        try:
            with pa.ipc.open_stream(pa.OSFile(str(part))) as stream:
                self._schema = stream.schema  # a call that goes on keeps the types of the one before
                return sum(batch.num_rows for batch in stream)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{error}.") from error

    def finished(self, part: Path, draft: Path) -> Path:
        with pa.ipc.open_stream(pa.OSFile(str(part))) as stream, pq.ParquetWriter(draft, stream.schema) as writer:
            for batch in stream:
                writer.write_batch(batch)
        sync(draft)
        return draft

    def _field(self, name: str, lines: Sequence[Mapping[str, Any]]) -> Any:  # noqa: ANN401
        """Name and type of a column."""
        if name not in self._types:
            found = self._converted(pa.array, name, [_cell(line.get(name)) for line in lines], 0).type
            self._types[name] = pa.string() if pa.types.is_null(found) else found
        return pa.field(name, self._types[name])

    def _array(self, field: Any, lines: Sequence[Mapping[str, Any]], done: int) -> Any:  # noqa: ANN401
        """The cells of a column."""
        cells = [_cell(line.get(field.name)) for line in lines]
        return self._converted(lambda values: pa.array(values, field.type), field.name, cells, done)

    @staticmethod
    def _converted(make: Any, name: str, cells: list[Any], done: int) -> Any:  # noqa: ANN401
        """An array, or an error that names the column."""
        try:
            return make(cells)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise DataError(
                f"column {name!r} of rows {done + 1} to {done + len(cells)} has cells that do not fit one parquet type"
                f" ({error}); write a .jsonl file."
            ) from error


def _cell(value: Any) -> Any:  # noqa: ANN401
    """A cell as Arrow takes it."""
    return None if is_missing(value) else plain(value)
