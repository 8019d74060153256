"""Recognising rows that a model was trained on."""

from pathlib import Path

import pytest

from predgen.core import Example, Target
from predgen.data.digests import RowDigests, row_digest
from predgen.errors import SavedModelError


def row(*texts: str, value: float = 0.0) -> Example:
    return Example(0, {str(i): text for i, text in enumerate(texts)}, Target(value))


def test_case_blanks_and_target_do_not_count() -> None:
    assert row_digest(row("Two  pens?\n", value=1)) == row_digest(row(" two pens?", value=2))


@pytest.mark.parametrize(
    "other", [row("a b", "c"), row("a", "c b"), row("ab c"), row("a", "b"), row("1 23"), row("12 3")]
)
def test_other_texts_differ(other: Example) -> None:
    assert row_digest(other) != row_digest(row("a", "b c"))
    assert row_digest(row("1 23")) != row_digest(row("12 3"))


def test_shared_rows_after_a_round_trip(tmp_path: Path) -> None:
    rows = [row(f"text {i}") for i in range(200)]
    RowDigests.of(rows).write(tmp_path / "rows.json")
    loaded = RowDigests.read(tmp_path / "rows.json")
    assert loaded == RowDigests.of(reversed(rows))
    assert list(loaded.shared([row("new"), rows[7]])) == [rows[7]]


@pytest.mark.parametrize("content", ["{", '{"a": 1}', "[1]", '["ab"]'])
def test_damaged_file_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "rows.json").write_text(content)
    with pytest.raises(SavedModelError, match=r"rows\.json'"):
        RowDigests.read(tmp_path / "rows.json")
