"""Lines of text files: decoding, and the errors that name byte, line and column."""

import codecs
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import AnyStr, BinaryIO, NoReturn

from predgen.errors import DataError

STDIN = Path("/dev/stdin")
"""Stands for standard input wherever a file is read."""

MOST_LINE_BYTES = 2**27
"""Longest line that is read where each line is a row; it is in memory as a whole, several times over."""

_BOM = codecs.BOM_UTF8
# UTF-32 first: its little-endian mark begins with that of UTF-16.
_WIDE = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def decoded_lines(path: Path, *, most: int | None = MOST_LINE_BYTES) -> Iterator[tuple[int, str]]:
    r"""Yield (line number from 1, line with its line break) of a UTF-8 file, or of one that says by its mark what it is.

    A byte order mark is dropped. One of UTF-16 or UTF-32 (what Excel calls "Unicode text") is no guess, so it is followed.

    Only "\n" ends a line: Python's `str.splitlines` would also cut at form feeds and U+2028, which occur inside texts.

    Args:
        path: The file.
        most: Longest line; None: of any length, for files that are read whole.

    Raises:
        DataError: If bytes are not in that encoding, a line is too long, or the file cannot be read.
    """
    offset = 0
    try:
        with _opened(path) as file:
            start = file.peek(4)
            wide = next((name for mark, name in _WIDE.items() if start.startswith(mark)), None)
            if wide is not None:
                yield from _wide_lines(file, wide, path, most)
                return
            for number, line in _bounded(file.readline, path, most):
                try:
                    text = (line.removeprefix(_BOM) if number == 1 else line).decode("utf-8")
                except UnicodeDecodeError as error:
                    skipped = len(_BOM) if number == 1 and line.startswith(_BOM) else 0
                    raise_not_utf8(path, number, offset + skipped + error.start)
                if number == 1 and "\0" in text:
                    raise DataError(
                        f"line 1 of {str(path)!r} holds NUL characters, as UTF-16 without byte order mark does. Convert it, e.g. "
                        "`iconv -f UTF-16LE -t UTF-8 old > new`, or save it as UTF-8."
                    )
                offset += len(line)
                yield number, text
    except OSError as error:
        raise DataError(f"cannot read {str(path)!r}: {error.strerror}.") from error


def _opened(path: Path) -> BufferedReader:
    """A file's bytes. Standard input by its number: where it is a socket, it cannot be opened by its name."""
    return os.fdopen(os.dup(0), "rb") if path == STDIN else path.open("rb")


def _wide_lines(file: BinaryIO, encoding: str, path: Path, most: int | None) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a file in UTF-16 or UTF-32 with byte order mark."""
    number = 0
    try:
        with TextIOWrapper(file, encoding, newline="\n") as text:
            for number, line in _bounded(text.readline, path, most):
                yield number, line
    except UnicodeError as error:
        raise DataError(
            f"{str(path)!r} begins with the byte order mark of {encoding.upper()}, but after line {number} its bytes are"
            f" not: {error}. Is it cut off? Save it again, as UTF-8."
        ) from error


def _bounded(read: Callable[[int], AnyStr], path: Path, most: int | None) -> Iterator[tuple[int, AnyStr]]:
    """Yield numbered lines, none longer than `most` bytes or characters: a file without line breaks would fill the memory."""
    for number in itertools.count(1):
        line = read(-1 if most is None else most + 1)
        if not line:
            return
        if most is not None and len(line) > most:
            raise DataError(
                f"line {number} of {str(path)!r} is longer than {most} bytes. Give one row a line; where it is one JSON list"
                " of rows, name the file .json."
            )
        yield number, line


def raise_not_utf8(path: Path, number: int, offset: int) -> NoReturn:
    """Raise for bytes that are not UTF-8, with the likeliest cause."""
    raise DataError(
        f"line {number} of {str(path)!r} is not UTF-8 (byte offset {offset}); the file may be cp1252 or latin-1. Convert it, "
        "e.g. `iconv -f CP1252 -t UTF-8 old > new`, or save it as UTF-8."
    )


def raise_unreadable(path: Path, number: int, why: str) -> NoReturn:
    """Raise for a delimited file that breaks the rules of quoting."""
    raise DataError(
        f"the row that starts at line {number} of {str(path)!r} cannot be read: {why}. Double the quotes inside a quoted "
        'cell (""), or close it. Where quotes are ordinary characters, double them all, or save the rows as .jsonl.'
    )


def named_columns(names: Sequence[str], path: Path, number: int) -> tuple[str, ...]:
    """Return the names of a header line.

    Raises:
        DataError: If a name occurs twice: a dictionary would keep the last cell only.
    """
    first: dict[str, int] = {}
    for place, name in enumerate(names, start=1):
        if first.setdefault(name, place) != place:
            raise DataError(
                f"line {number} of {str(path)!r} names column {name!r} twice (columns {first[name]} and {place}); rename one "
                "of them. The first line names the columns: if it is a row, put a line of names above it."
            )
    return tuple(names)
