"""Label files with one value a line."""

from pathlib import Path
from typing import Any

import pytest

from predgen.data.aligned import with_aligned
from predgen.errors import DataError

ROWS = Path("valid.jsonl")


def joined(folder: Path, lines: bytes, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    labels = folder / "valid-labels.lst"
    labels.write_bytes(lines)
    return list(with_aligned(iter(rows), ROWS, "label", labels))


@pytest.mark.parametrize("lines", [b"1\n01\n", b"1\r\n01\r\n", b"\xef\xbb\xbf1\n01", b" 1 \n01\t\n"])
def test_lines_become_a_column_as_text(tmp_path: Path, lines: bytes) -> None:
    assert joined(tmp_path, lines, [{"a": "x"}, {"a": "y"}]) == [{"a": "x", "label": "1"}, {"a": "y", "label": "01"}]


def test_column_that_is_there_already_must_agree(tmp_path: Path) -> None:
    assert joined(tmp_path, b"1\n2\n", [{"label": "1"}, {"label": 2}]) == [{"label": "1"}, {"label": "2"}]
    with pytest.raises(
        DataError, match=r"row 2 of 'valid\.jsonl' has label '1', but line 2 of .*labels\.lst' says '2'"
    ):
        joined(tmp_path, b"1\n2\n", [{"label": "1"}, {"label": "1"}])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (b"1\n", r"labels\.lst' has 1 lines, fewer than the rows of 'valid\.jsonl'"),
        (b"1\n2\n1\n", r"labels\.lst' has more lines than the 2 rows of 'valid\.jsonl'"),
        (b"1\n\n2\n", r"line 2 of .*labels\.lst' is blank"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(tmp_path: Path, lines: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        joined(tmp_path, lines, [{"a": "x"}, {"a": "y"}])
