"""Lines of text files: decoding, and the errors that name byte, line and column."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from predgen.errors import DataError

_BOM = b"\xef\xbb\xbf"


def decoded_lines(path: Path) -> Iterator[tuple[int, str]]:
    r"""Yield (line number from 1, line with its line break) of a UTF-8 file; a byte order mark is dropped.

    Only "\n" ends a line: Python's `str.splitlines` would also cut at form feeds and U+2028, which occur inside texts.

    Raises:
        DataError: If bytes are not UTF-8, or the file cannot be read.
    """
    offset = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    text = (line.removeprefix(_BOM) if number == 1 else line).decode("utf-8")
                except UnicodeDecodeError as error:
                    skipped = len(_BOM) if number == 1 and line.startswith(_BOM) else 0
                    raise_not_utf8(path, number, offset + skipped + error.start, line)
                offset += len(line)
                yield number, text
    except OSError as error:
        raise DataError(f"cannot read {str(path)!r}: {error.strerror}.") from error


def raise_not_utf8(path: Path, number: int, offset: int, line: bytes) -> NoReturn:
    """Raise for bytes that are not UTF-8, with the likeliest cause."""
    likely = "UTF-16" if line.startswith((b"\xff\xfe", b"\xfe\xff")) else "cp1252 or latin-1"
    raise DataError(
        f"line {number} of {str(path)!r} is not UTF-8 (byte offset {offset}); the file may be {likely}. Convert it, e.g. "
        "`iconv -f CP1252 -t UTF-8 old > new`, or save it as UTF-8."
    )


def raise_unreadable(path: Path, number: int, why: str) -> NoReturn:
    """Raise for a delimited file that breaks the rules of quoting."""
    raise DataError(
        f"the row that starts at line {number} of {str(path)!r} cannot be read: {why}. Double the quotes inside a quoted "
        'cell (""), close it, or use reader "tsv_plain" if quotes are ordinary characters in this file.'
    )


def named_columns(names: Sequence[str], path: Path, number: int) -> tuple[str, ...]:
    """Return the names of a header line.

    Raises:
        DataError: If a name occurs twice: a dictionary would keep the last cell only.
    """
    for index, name in enumerate(names):
        if name in names[:index]:
            first = names.index(name) + 1
            raise DataError(
                f"line {number} of {str(path)!r} names column {name!r} twice (columns {first} and {index + 1}); rename one "
                "of them. A file without header line needs `header`."
            )
    return tuple(names)
