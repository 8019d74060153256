"""Comma and tab separated files.

Read with the standard library, not with pandas: pandas' defaults take the words None, null and NA for missing values,
guess types (a label "01" becomes 1), and skip or join rows where quotes are not balanced.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from predgen.data.lines import decoded_lines, named_columns, raise_unreadable
from predgen.errors import DataError, some_of

# Longest cell in characters. The limit is what keeps memory constant when a quote is never closed: without it the reader
# would take the rest of the file for one cell. csv's own default, 131,072, is too small for documents.
MAX_CELL = 2**26

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_Record = tuple[int, list[str]]


def read_delimited(path: Path, delimiter: str, header: Sequence[str] | None, optional: int) -> Iterator[dict[str, str]]:
    """Read a file whose cells may be quoted, with line breaks and delimiters inside quotes.

    Raises:
        DataError: If a row is ragged, or a quoted cell does not end as it should.
    """
    return _as_rows(_quoted_records(path, delimiter), path, header, optional)


def read_unquoted(path: Path, header: Sequence[str] | None, optional: int) -> Iterator[dict[str, str]]:
    """Read a tab separated file in which quotes are ordinary characters and every line is a row.

    Raises:
        DataError: If a row is ragged.
    """
    records = ((number, line.rstrip("\r\n").split("\t")) for number, line in decoded_lines(path) if line.rstrip("\r\n"))
    return _as_rows(records, path, header, optional)


def _quoted_records(path: Path, delimiter: str) -> Iterator[_Record]:
    """Yield (line a record starts at, its cells), by the `csv` module."""
    csv.field_size_limit(max(csv.field_size_limit(), MAX_CELL))  # one limit per process; raised, never lowered
    # strict: a quoted cell must end at a delimiter. Otherwise a stray quote silently swallows the rows after it.
    lines = (line for _, line in decoded_lines(path))
    first = list(islice(lines, 2))
    _check_delimiter(first, delimiter, path)
    reader = csv.reader(chain(first, lines), delimiter=delimiter, strict=True)
    while True:
        start = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise_unreadable(path, start, str(error))
        if cells:
            yield start, cells


def _check_delimiter(first: Sequence[str], delimiter: str, path: Path) -> None:
    """Raise where the header has one cell, but with another delimiter several, and as many as the line below it."""
    if len(first) < 2 or _cells(first[0], delimiter) != 1:
        return
    for other, name in _DELIMITERS.items():
        if 1 < _cells(first[0], other) == _cells(first[1], other):
            convert = f"""python -c "import csv, sys; csv.writer(sys.stdout).writerows(csv.reader(sys.stdin, delimiter='{other}'))\""""
            raise DataError(
                f"the cells of {str(path)!r} are separated by {name} ({other!r}), but a {path.suffix} file is read by"
                f" {_DELIMITERS[delimiter]} ({delimiter!r}). "
                + (
                    "Rename it to .tsv."
                    if other == "\t"
                    else f"Save it so, or convert it: `{convert} < old > new.csv`."
                )
            )


def _cells(line: str, delimiter: str) -> int:
    """How many cells a line has; a quote that does not end there counts as closed."""
    return sum(map(len, csv.reader([line], delimiter=delimiter)))


def _as_rows(
    records: Iterator[_Record], path: Path, header: Sequence[str] | None, optional: int
) -> Iterator[dict[str, str]]:
    """Name the cells of each record."""
    if header is None:
        number, cells = next(records, (1, []))
        header = named_columns(cells, path, number)
    else:
        header = named_columns(header, path, 1)
        records = _without_header(records, header)
    for number, cells in records:
        if not len(header) - optional <= len(cells) <= len(header):
            raise DataError(_ragged(path, number, cells, header, optional))
        yield dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=True))


def _without_header(records: Iterator[_Record], header: Sequence[str]) -> Iterator[_Record]:
    """Drop the first record where it is the header line after all."""
    for index, record in enumerate(records):
        if index > 0 or [cell.strip().casefold() for cell in record[1]] != [name.casefold() for name in header]:
            yield record


def _ragged(path: Path, number: int, cells: Sequence[str], header: Sequence[str], optional: int) -> str:
    """Say what is wrong with a row of too few or too many cells."""
    wanted = f"{len(header) - optional} to {len(header)}" if optional else str(len(header))
    start = re.sub(r"(?<=.{60}).+", "...", repr(cells), flags=re.DOTALL)
    return (
        f"line {number} of {str(path)!r} has {len(cells)} cells, but {wanted} are needed ({some_of(header)}): {start}. "
        "Quote cells that contain the delimiter, or check that the file is separated as its reader expects."
    )
