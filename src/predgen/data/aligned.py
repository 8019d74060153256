"""Files that hold one column of another file's rows, one value a line: labels published apart from their rows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from predgen.data.lines import decoded_lines
from predgen.errors import DataError


def with_aligned(
    rows: Iterator[dict[str, Any]], path: Path, column: str, values_path: Path
) -> Iterator[dict[str, Any]]:
    """Add a column from a file with one value a line, in the rows' order.

    Args:
        rows: The rows.
        path: Their file, for messages.
        column: Name of the column. Where rows have it already, both must say the same.
        values_path: File of the values.

    Raises:
        DataError: If a line is blank, there are fewer or more lines than rows, or a line contradicts its row.
    """
    values = _values(values_path)
    count = 0
    for count, row in enumerate(rows, start=1):
        value = next(values, None)
        if value is None:
            raise DataError(_unequal(path, values_path, f"{count - 1} lines, fewer than the rows of"))
        if str(row.get(column, value)) != value:
            raise DataError(
                f"row {count} of {str(path)!r} has {column} {row[column]!r}, but line {count} of {str(values_path)!r} says "
                f"{value!r}. The files do not belong together; download both again."
            )
        yield {**row, column: value}
    if next(values, None) is not None:
        raise DataError(_unequal(path, values_path, f"more lines than the {count} rows of"))


def _values(path: Path) -> Iterator[str]:
    """Yield one value per line, without surrounding blanks."""
    for number, line in decoded_lines(path):
        if not line.strip():
            raise DataError(
                f"line {number} of {str(path)!r} is blank, but each line belongs to a row; restore its value."
            )
        yield line.strip()


def _unequal(path: Path, values_path: Path, what: str) -> str:
    """Say that two files differ in length."""
    return f"{str(values_path)!r} has {what} {str(path)!r}. The files do not belong together; download both again."
