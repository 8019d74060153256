"""Text files in the encodings that people have them in."""

import codecs
from pathlib import Path

import pytest

from predgen.data.lines import decoded_lines
from predgen.data.sources import read_rows
from predgen.errors import DataError

TEXT = 'text,label\r\n"café, no. 1",gut\r\n"two\nlines",schlecht\r\n'


def bytes_of(encoding: str) -> bytes:
    marks = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE, "utf-32-le": codecs.BOM_UTF32_LE}
    return marks.get(encoding, b"") + TEXT.encode(encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "utf-32-le"])
def test_a_byte_order_mark_says_what_the_file_is(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(bytes_of(encoding))
    rows = [{"text": "café, no. 1", "label": "gut"}, {"text": "two\nlines", "label": "schlecht"}]
    assert list(read_rows(path)) == rows
    assert [number for number, _ in decoded_lines(path)] == [1, 2, 3, 4]


def test_a_file_that_its_mark_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(bytes_of("utf-16-le")[:-1])
    with pytest.raises(DataError, match=r"a.csv' begins with the byte order mark of UTF-16"):
        list(read_rows(path))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_mark_is_named(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("text,label\r\nfine,good\r\n".encode(encoding))
    with pytest.raises(DataError, match=r"NUL.*iconv -f UTF-16LE"):
        list(read_rows(path))


def test_other_encodings_are_named_with_line_and_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("text,label\ncafé,gut\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"line 2 .* \(byte offset 14\).*iconv -f CP1252"):
        list(read_rows(path))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_a_line_without_end_is_refused_before_it_fills_the_memory(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(("text\n" + "x" * 20).encode(encoding))
    assert [line for _, line in decoded_lines(path, most=30)] == ["text\n", "x" * 20]
    with pytest.raises(DataError, match=r"line 2 of .*a\.csv' is longer than 10 bytes"):
        list(decoded_lines(path, most=10))
