"""Parquet files: every type as it stands in the file, and no more memory than the file is worth."""

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from predgen.data.sources import read_rows
from predgen.errors import DataError


def write(folder: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), folder / "a.parquet", **options)
    return folder / "a.parquet"


def test_every_type_is_read_as_it_stands_there(tmp_path: Path) -> None:
    columns = {
        "text": ["a", None, "a", "é"],
        "large": pa.array(["x", "y", None, "x"], pa.large_string()),
        "coded": pa.array(["x", None, "y", "x"]).dictionary_encode(),
        "bytes": [b"\xff", None, b"a", b""],
        "whole": [1, None, 3, 4],
        "single": pa.array([3.8, None, 0.1, 1.0], pa.float32()),
        "list": [[1], None, [], [2, None]],
        "object": [{"a": "x"}, None, {"a": None}, {"a": "y"}],
        "day": [date(2020, 1, 1), None, None, None],
        "nothing": pa.nulls(4),
    }
    path = write(tmp_path, columns, row_group_size=3)
    expected = [
        {**row, "single": s} for row, s in zip(pq.read_table(path).to_pylist(), (3.8, None, 0.1, 1.0), strict=True)
    ]
    assert list(read_rows(path)) == expected


def test_a_text_that_stands_in_many_rows_is_in_memory_once(tmp_path: Path) -> None:
    text = pa.DictionaryArray.from_arrays(np.zeros(600, np.int32), pa.array(["z" * 100_000]))
    path = write(tmp_path, {"text": text}, compression="zstd")
    assert path.stat().st_size < 2000
    texts = [row["text"] for row in read_rows(path)]
    assert set(texts) == {"z" * 100_000}
    assert len({id(t) for t in texts}) == 1


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        (
            {"text": ["y" * 400_000]},
            {"compression": "zstd", "use_dictionary": False},
            r"bytes of row group 1 unpack to 4\d{5}",
        ),
        ({"numbers": [[0] * 40_000]}, {"compression": "zstd"}, r"column 'numbers' has 3\d{5} bytes in 1 rows"),
        ({"text": ["ab" * 60_000]}, {"compression": "none"}, r"cell of 120000 characters, but 100000 at most"),
    ],
    ids=["ratio", "list", "cell"],
)
def test_few_bytes_that_unpack_to_many_are_refused(
    columns: dict[str, Any], options: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("predgen.data.parquet._MOST_BYTES", 200_000)
    monkeypatch.setattr("predgen.data.parquet.MAX_CELL", 100_000)
    with pytest.raises(DataError, match=words):
        list(read_rows(write(tmp_path, columns, **options)))
