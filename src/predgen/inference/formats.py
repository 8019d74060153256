"""Formats that predictions are written in. Rows become bytes that are appended to a part file, window by window."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from predgen.data.cells import CellError, field_text, is_missing, plain
from predgen.data.sources import read_rows
from predgen.errors import ConfigError, DataError
from predgen.escaping import for_sheet
from predgen.near_names import near_matches

SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".parquet": "parquet"}
"""Suffix of an output -> its format."""
TEXT_FORMATS = ("csv", "tsv", "jsonl")
"""Formats that are read and written in one go, as a pipe needs it; parquet has its table of contents at the end."""


@runtime_checkable
class RowFormat(Protocol):
    """How rows become a file."""

    def encoded(self, lines: Sequence[Mapping[str, Any]], done: int) -> bytes:
        """Rows as bytes to append; `done` rows stand before them."""
        ...

    def count(self, part: Path) -> int:
        """Rows in a part file, which is read; where one is gone on with, this comes before `encoded`.

        Raises:
            DataError: If it cannot be read.
        """
        ...

    def finished(self, part: Path, draft: Path) -> Path:
        """The file that is to take the output's place: a complete part itself, or `draft`, on the disk, made of it."""
        ...


@dataclass(frozen=True, slots=True)
class JsonLines(RowFormat):
    """One JSON object a row; rows may differ in their columns."""

    def encoded(self, lines: Sequence[Mapping[str, Any]], done: int) -> bytes:
        return b"".join(map(_json_line, lines))

    def count(self, part: Path) -> int:
        return _count(read_rows(part, reader="jsonl"))

    def finished(self, part: Path, draft: Path) -> Path:
        return part


@dataclass(frozen=True, slots=True)
class Delimited(RowFormat):
    """Cells between commas or tabs, quoted where they need it.

    Attributes:
        name: "csv" or "tsv".
        columns: Names of the header line.
        is_safe: Whether cells that a spreadsheet takes for formulas get an apostrophe in front.
    """

    name: str
    columns: tuple[str, ...]
    is_safe: bool = False

    def encoded(self, lines: Sequence[Mapping[str, Any]], done: int) -> bytes:
        delimiter = "\t" if self.name == "tsv" else ","
        header = [] if done else [self.columns]
        rows = [_cells(line, self.columns, i) for i, line in enumerate(lines, start=done + 1)]
        shown = (map(for_sheet, cells) if self.is_safe else cells for cells in (*header, *rows))
        return "".join(_delimited(list(cells), delimiter) for cells in shown).encode()

    def count(self, part: Path) -> int:
        return _count(read_rows(part, reader=self.name))

    def finished(self, part: Path, draft: Path) -> Path:
        return part


def format_of(path: Path, given: str | None, flag: str, allowed: Sequence[str]) -> str:
    """The format of a file: what was given, or what its suffix says.

    Raises:
        ConfigError: If neither names an allowed format.
    """
    if given is not None and given not in allowed:
        raise ConfigError(
            f"{flag} is {given!r}.{near_matches(given, allowed)} Allowed for {str(path)!r}: {', '.join(allowed)}."
        )
    found = given or SUFFIXES.get(path.suffix.lower())
    if found is None or found not in allowed:
        suffixes = ", ".join(suffix for suffix, name in SUFFIXES.items() if name in allowed)
        raise ConfigError(
            f"`out` {str(path)!r} has the suffix {path.suffix!r}; allowed: {suffixes}, or name the format with {flag}."
        )
    return found


def require_known(line: Mapping[str, Any], columns: Sequence[str], number: int) -> None:
    """Refuse row `number` where it has a column that the first row lacks.

    Raises:
        DataError: Naming the column.
    """
    unknown = sorted(line.keys() - set(columns))
    if unknown:
        raise DataError(f"row {number} has the column {unknown[0]!r}, which the first row lacks; write a .jsonl file.")


def _count(rows: Iterator[Any]) -> int:
    """How many there are."""
    return sum(1 for _ in rows)


def _json_line(line: Mapping[str, Any]) -> bytes:
    """One JSON object; what is missing is null, for JSON has no nan."""
    clean = {name: None if is_missing(value) else plain(value) for name, value in line.items()}
    try:
        return f"{json.dumps(clean, ensure_ascii=False, default=str)}\n".encode()
    except UnicodeEncodeError:  # half of a surrogate pair can only be written as an escape
        return f"{json.dumps(clean, default=str)}\n".encode()


def _cells(line: Mapping[str, Any], columns: Sequence[str], number: int) -> list[str]:
    """Cells of row `number`; what is missing is empty, lists and objects are written as JSON."""
    require_known(line, columns, number)
    cells, name = [], ""
    try:
        for name in columns:
            value = plain(line.get(name))
            if isinstance(value, bool | list | dict):
                value = json.dumps(value, ensure_ascii=False, default=str)
            cells.append("" if is_missing(value) else field_text(value))
    except CellError as error:
        raise DataError(f"row {number}: column {name!r} is {error}; write a .jsonl file.") from None
    return cells


def _delimited(cells: Sequence[str], delimiter: str) -> str:
    """One line of a .csv or .tsv file."""
    buffer = io.StringIO(newline="")
    # csv quotes cells with a character of its line terminator; with "\n" alone, a "\r" inside a cell would end the row.
    csv.writer(buffer, delimiter=delimiter, lineterminator="\r\n").writerow(cells)
    return buffer.getvalue().removesuffix("\r\n") + "\n"
