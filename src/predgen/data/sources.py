"""Rows of any source, one after the other, in constant memory: files, data frames, `datasets`, lists.

A file is checked as it is read: what cannot be read exactly is an error that names the file and the line.
"""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from predgen.data.cells import shown
from predgen.data.delimited import read_delimited, read_unquoted
from predgen.data.frames import as_written, frame_rows, is_frame, is_instance
from predgen.data.lines import STDIN, decoded_lines
from predgen.data.parquet import read_parquet
from predgen.errors import DataError, NoRowsError
from predgen.near_names import near_matches

READERS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".json": "json", ".parquet": "parquet"}
"""File suffix -> reader. "tsv_plain" has no suffix of its own: it is asked for by name."""

_UNPACKED = "Unpack it first, e.g. with `{} FILE`."
_SHEET = "Save the sheet as 'CSV UTF-8 (comma delimited)' and give that file."
_CONVERTED = {
    ".gz": _UNPACKED.format("gunzip -k"),
    ".bz2": _UNPACKED.format("bunzip2 -k"),
    ".xz": _UNPACKED.format("unxz -k"),
    ".zst": _UNPACKED.format("unzstd"),
    ".zip": _UNPACKED.format("unzip"),
    **dict.fromkeys((".xlsx", ".xls", ".ods", ".numbers"), _SHEET),
}
"""Suffixes that ordinary files have and no reader reads, with what to do."""


def read_rows(
    path: str | Path, *, reader: str | None = None, header: Sequence[str] | None = None, optional: int = 0
) -> Iterator[dict[str, Any]]:
    """Read a file's rows one by one, as dictionaries from column name to cell.

    Memory does not grow with the file, except for "json", which can only be read whole. Cells of text files stay text:
    nothing is guessed to be a number, a date or a missing value. Lines without any character are not rows.

    Args:
        path: The file, UTF-8 (with or without byte order mark) or parquet.
        reader: "csv", "tsv" (quotes honoured), "tsv_plain" (quotes are ordinary characters), "jsonl", "json" or
            "parquet"; None: from the suffix.
        header: Column names of a delimited file without header line. Where its first line is these names after all, that
            line is skipped: copies of one dataset differ in this.
        optional: How many of `header`'s last columns a row may lack; they are read as "".

    Returns:
        An iterator over rows. Errors inside the file are raised when the iterator reaches them.

    Raises:
        DataError: If the file is missing, a folder, empty, without rows (`NoRowsError`), or of unknown kind; if its bytes are not UTF-8,
            a header names a column twice, a row has too few or too many cells, or a JSON line is not an object.

    Example:
        >>> next(read_rows("reviews.csv"))  # doctest: +SKIP
        {'text': 'A splendid play.', 'score': '9.1'}
    """
    path = Path(path)
    _check_file(path)
    reader = _reader_of(path) if reader is None else reader
    if reader not in _READ:
        raise DataError(
            f"unknown reader {reader!r} for {str(path)!r}.{near_matches(reader, _READ)} Allowed: {_allowed()}."
        )
    if header is not None and reader not in ("csv", "tsv", "tsv_plain"):
        raise DataError(
            f"`header` was given for {str(path)!r}, but reader {reader!r} takes column names from the file."
        )
    return _not_empty(_READ[reader](path, header, optional), f"file {str(path)!r}")


def is_table(source: object) -> bool:
    """Whether a value in memory is a table with named columns: a data frame or a `datasets.Dataset`."""
    return is_frame(source) or is_instance(source, "datasets", "Dataset")


def rows_of(source: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401  (the libraries of tables are optional)
    """Return the rows of a path, a data frame of any library, a `datasets.Dataset`, or an iterable of mappings.

    Values keep their types; pandas' missing values stay NaN. A `ClassLabel` of `datasets` becomes its name.

    Raises:
        DataError: If the source holds no rows, is of another kind, or names a column twice.

    Example:
        >>> list(rows_of([{"text": "Splendid.", "score": 9.1}]))
        [{'text': 'Splendid.', 'score': 9.1}]
    """
    if isinstance(source, str | Path):
        return read_rows(source)
    if is_frame(source):
        return _not_empty(frame_rows(source), "the data frame")
    if is_instance(source, "datasets", "Dataset"):
        return _not_empty(_named_rows(source), "the data set")
    if isinstance(source, Mapping):
        raise DataError(
            f"rows were given as one {type(source).__name__} with keys {_some(source)}; give a list of rows, a data frame, "
            'or one split of it, such as dataset["train"].'
        )
    if isinstance(source, bytes) or not isinstance(source, Iterable):
        raise DataError(
            f"cannot read rows from {type(source).__name__}; give a path, a data frame, a `datasets.Dataset` or a list of "
            "dictionaries."
        )
    return _not_empty(_mapping_rows(source), "the list of rows")


def dataset_rows(data: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401  (datasets is optional)
    """Yield the rows of a `datasets.Dataset`; class labels are their numbers, as `TaskSpec.labels` declares them."""
    singles = {name for name, feature in data.features.items() if getattr(feature, "dtype", None) == "float32"}
    return as_written(_mapping_rows(data), singles)


def _named_rows(data: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    """Yield the rows of a `datasets.Dataset` with the names of class labels: they say what a number only stands for."""
    names = {column: tuple(f.names) for column, f in data.features.items() if type(f).__name__ == "ClassLabel"}
    for row in dataset_rows(data):
        # -1 stands for an unknown class, in test sets without labels.
        known = {
            column: None if row[column] is None or row[column] < 0 else names[column][row[column]] for column in names
        }
        yield {**row, **known} if names else row


def _reader_of(path: Path) -> str:
    """Return the reader for a path's suffix."""
    suffix = path.suffix.lower()
    if suffix in _CONVERTED:
        raise DataError(
            f"file {str(path)!r} has suffix {suffix!r}, which is not read; readable: {', '.join(READERS)}. {_CONVERTED[suffix]}"
        )
    if suffix not in READERS:
        raise DataError(
            f"file {str(path)!r} has suffix {suffix!r}, which is not known.{near_matches(suffix, READERS)} Known: "
            f"{', '.join(READERS)}. Rename the file to what it holds, or convert it."
        )
    return READERS[suffix]


def _allowed() -> str:
    """Return the readers' names for an error message."""
    return ", ".join(_READ)


def _check_file(path: Path) -> None:
    """Refuse what is not a file with bytes in it, before anything else is done."""
    if path.is_dir():
        files = sorted(p.name for p in path.iterdir() if p.suffix.lower() in READERS)
        raise DataError(f"{str(path)!r} is a folder; give one file. Readable files in it: {_some(files)}.")
    if path == STDIN:
        return
    if not path.exists():
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"file {str(path)!r} does not exist.{near_matches(path.name, beside)} Check the path.")
    if path.is_file() and path.stat().st_size == 0:  # the size of a pipe says nothing
        raise DataError(f"file {str(path)!r} is empty (0 bytes); it must hold at least one row.")


def _not_empty(rows: Iterator[dict[str, Any]], what: str) -> Iterator[dict[str, Any]]:
    """Pass rows on; raise `NoRowsError` if there are none."""
    first = next(rows, None)
    if first is None:
        raise NoRowsError(f"{what} has no rows; at least one is needed below the column names.")
    yield from itertools.chain((first,), rows)


def _read_jsonl(path: Path, _header: Sequence[str] | None, _optional: int) -> Iterator[dict[str, Any]]:
    """Read one JSON object per line."""
    for number, line in decoded_lines(path):
        if line.strip():
            yield _object(_parsed(line.rstrip("\r\n"), path, number), path, f"line {number}")


def _read_json(path: Path, _header: Sequence[str] | None, _optional: int) -> Iterator[dict[str, Any]]:
    """Read a JSON list of objects, or an object one of whose values is such a list. Reads the whole file."""
    data = _parsed("".join(line for _, line in decoded_lines(path, most=None)), path, 1)
    if isinstance(data, dict):
        lists = [key for key, value in data.items() if isinstance(value, list)]
        if len(lists) != 1:
            raise DataError(
                f"file {str(path)!r} holds a JSON object with {len(lists)} lists ({_some(lists)}); give a list of objects, "
                "or an object with exactly one list of objects."
            )
        data = data[lists[0]]
    if not isinstance(data, list):
        raise DataError(f"file {str(path)!r} holds a JSON {type(data).__name__}; give a list of objects, one per row.")
    for number, item in enumerate(data, start=1):
        yield _object(item, path, f"item {number}")


def _parsed(text: str, path: Path, first_line: int) -> Any:  # noqa: ANN401
    """Parse JSON, or raise naming the line."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        hint = " One JSON object per line is suffix .jsonl." if error.msg == "Extra data" and error.lineno > 1 else ""
        raise DataError(
            f"line {line} of {str(path)!r} is not JSON: {error.msg} at character {error.colno}.{hint}"
        ) from error
    except (ValueError, RecursionError) as error:  # numbers of more than 4,300 digits; thousands of nested brackets
        raise DataError(f"JSON from line {first_line} of {str(path)!r} on cannot be read: {error}.") from error


def _object(value: Any, path: Path, where: str) -> dict[str, Any]:  # noqa: ANN401
    """Return `value` if it is a JSON object."""
    if not isinstance(value, dict):
        raise DataError(
            f"{where} of {str(path)!r} is a JSON {type(value).__name__} ({shown(value)}); each row must be an object such "
            'as {"text": "...", "score": 1.5}.'
        )
    return value


def _read_parquet(path: Path, _header: Sequence[str] | None, _optional: int) -> Iterator[dict[str, Any]]:
    return read_parquet(path)


def _read_csv(path: Path, header: Sequence[str] | None, optional: int) -> Iterator[dict[str, Any]]:
    return read_delimited(path, ",", header, optional)


def _read_tsv(path: Path, header: Sequence[str] | None, optional: int) -> Iterator[dict[str, Any]]:
    return read_delimited(path, "\t", header, optional)


_READ: dict[str, Callable[[Path, Sequence[str] | None, int], Iterator[dict[str, Any]]]] = {
    "csv": _read_csv,
    "tsv": _read_tsv,
    "tsv_plain": read_unquoted,
    "jsonl": _read_jsonl,
    "json": _read_json,
    "parquet": _read_parquet,
}


def _mapping_rows(source: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Yield mappings as dictionaries."""
    for number, row in enumerate(source, start=1):
        if not isinstance(row, Mapping):
            _raise_not_a_row(number, row)
        yield {str(key): value for key, value in row.items()}


def _raise_not_a_row(number: int, row: object) -> NoReturn:
    raise DataError(f"row {number} is {shown(row)}, of type {type(row).__name__}; each row must be a dictionary.")


def _some(names: Iterable[object]) -> str:
    """Return up to ten names for a message."""
    texts = [repr(name) for name in names]
    return ", ".join(texts[:10]) + (", ..." if len(texts) > 10 else "") if texts else "none"
