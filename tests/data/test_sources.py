"""Readers: what is in the file comes out, exactly; what cannot be read says where and how to repair it."""

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from predgen.data.cells import number_of
from predgen.data.delimited import MAX_CELL
from predgen.data.sources import dataset_rows, read_rows, rows_of
from predgen.errors import DataError

# Hypothesis: a folder may be shared by all examples, each writes its file anew.
SHARED_FOLDER = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def read(folder: Path, name: str, content: str | bytes, **options: Any) -> list[dict[str, Any]]:
    return list(read_rows(written(folder, name, content), **options))


# What comes out


@pytest.mark.parametrize(("suffix", "delimiter"), [("csv", ","), ("tsv", "\t"), ("CSV", ",")])
def test_delimited_file_is_read_as_text(tmp_path: Path, suffix: str, delimiter: str) -> None:
    content = "text,label\nNone,01\nnull,\nNA,1.50\n".replace(",", delimiter)
    rows = read(tmp_path, f"a.{suffix}", content)
    assert rows == [{"text": "None", "label": "01"}, {"text": "null", "label": ""}, {"text": "NA", "label": "1.50"}]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_byte_order_mark_and_crlf_are_no_part_of_the_data(tmp_path: Path, name: str) -> None:
    content = "text\r\ngood\r\n" if name == "a.csv" else '{"text": "good"}\r\n'
    assert read(tmp_path, name, b"\xef\xbb\xbf" + content.encode()) == [{"text": "good"}]


def test_quoted_cells_hold_delimiters_quotes_and_line_breaks(tmp_path: Path) -> None:
    rows = read(tmp_path, "a.csv", 'a,b\n"x, ""y""\r\nz",2\n')
    assert rows == [{"a": 'x, "y"\r\nz', "b": "2"}]


def test_quotes_are_ordinary_characters_in_plain_files(tmp_path: Path) -> None:
    rows = read(tmp_path, "a.txt", 'a\tb\n"open\t1\nfine"\t2\n', reader="tsv_plain")
    assert rows == [{"a": '"open', "b": "1"}, {"a": 'fine"', "b": "2"}]


def test_separators_of_other_kinds_stay_inside_cells(tmp_path: Path) -> None:
    text = "a\x0bb\x0cc\x1cd\x85e\u2028f"  # each of these ends a line for `str.splitlines`
    assert read(tmp_path, "a.txt", f"t\n{text}\n", reader="tsv_plain") == [{"t": text}]
    assert read(tmp_path, "a.jsonl", json.dumps({"t": text}, ensure_ascii=False)) == [{"t": text}]


@pytest.mark.parametrize("size", [200_000, 3_000_000])
def test_large_cells_are_read(tmp_path: Path, size: int) -> None:
    assert read(tmp_path, "a.csv", f'a,b\n"{"x" * size}",1\n') == [{"a": "x" * size, "b": "1"}]


def test_header_line_is_optional_where_names_are_given(tmp_path: Path) -> None:
    names = ("tweet", "score")
    bare = read(tmp_path, "a.txt", "good\t1\n", reader="tsv_plain", header=names)
    named = read(tmp_path, "b.txt", "Tweet\tscore\ngood\t1\n", reader="tsv_plain", header=names)
    assert bare == named == [{"tweet": "good", "score": "1"}]


def test_optional_last_columns_may_be_absent(tmp_path: Path) -> None:
    rows = read(tmp_path, "a.txt", "1\t2\n1\t2\t3\n", reader="tsv_plain", header=("a", "b", "c"), optional=1)
    assert rows == [{"a": "1", "b": "2", "c": ""}, {"a": "1", "b": "2", "c": "3"}]


def test_empty_lines_are_no_rows(tmp_path: Path) -> None:
    for name, reader in (("a.csv", None), ("a.txt", "tsv_plain")):
        assert read(tmp_path, name, "a\n\nx\n\n\n", reader=reader) == [{"a": "x"}]
    assert read(tmp_path, "a.jsonl", '{"a": 1}\n\n{"a": 2}\n\n') == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("content", ['[{"a": 1}, {"a": null}]', '{"data": [{"a": 1}, {"a": null}], "version": "1"}'])
def test_json_list_may_stand_alone_or_in_an_object(tmp_path: Path, content: str) -> None:
    assert read(tmp_path, "a.json", content) == [{"a": 1}, {"a": None}]


def test_parquet_keeps_types_over_many_batches(tmp_path: Path) -> None:
    pd.DataFrame({"a": range(3000), "b": [None, "x", "y"] * 1000}).to_parquet(tmp_path / "a.parquet")
    rows = list(read_rows(tmp_path / "a.parquet"))
    assert [row["a"] for row in rows] == list(range(3000))
    assert [row["b"] for row in rows[:3]] == [None, "x", "y"]


def test_rows_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    rows = read_rows(written(tmp_path, "a.jsonl", '{"a": 1}\nnot JSON\n'))
    assert next(rows) == {"a": 1}  # the bad line is not reached yet
    with pytest.raises(DataError, match="line 2"):
        next(rows)


@SHARED_FOLDER
@given(rows=st.lists(st.lists(TEXT, min_size=2, max_size=2), min_size=1, max_size=5), delimiter=st.sampled_from(",\t"))
def test_any_text_survives_a_delimited_file(tmp_path: Path, rows: list[list[str]], delimiter: str) -> None:
    path = tmp_path / ("a.csv" if delimiter == "," else "a.tsv")
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([["a", "b"], *rows])
    assert [list(row.values()) for row in read_rows(path)] == rows


@SHARED_FOLDER
@given(rows=st.lists(st.fixed_dictionaries({"a": TEXT, "b": st.integers() | st.none()}), min_size=1, max_size=5))
def test_any_object_survives_json(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    assert read(tmp_path, "a.jsonl", lines) == read(tmp_path, "a.json", json.dumps(rows)) == rows


@SHARED_FOLDER
@given(content=st.binary(max_size=80), name=st.sampled_from(["a.csv", "a.tsv", "a.jsonl", "a.json", "a.parquet"]))
def test_any_bytes_are_rows_or_a_data_error(tmp_path: Path, content: bytes, name: str) -> None:
    try:
        assert all(isinstance(row, dict) for row in read(tmp_path, name, content))
    except DataError as error:
        assert name in str(error)  # noqa: PT017  (only some drawn bytes raise)


# What cannot be read


def test_missing_file_names_near_matches(tmp_path: Path) -> None:
    written(tmp_path, "train.csv", "a\n1\n")
    with pytest.raises(DataError, match=r"tarin\.csv' does not exist\. Did you mean 'train\.csv'"):
        read_rows(tmp_path / "tarin.csv")


def test_folder_names_its_files(tmp_path: Path) -> None:
    written(tmp_path, "train.csv", "a\n1\n")
    with pytest.raises(DataError, match=r"is a folder; give one file\. Readable files in it: 'train\.csv'"):
        read_rows(tmp_path)


def test_unknown_suffix_names_readers(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"suffix '\.jsnl'.*Did you mean '\.jsonl'.*Rename"):
        read(tmp_path, "a.jsnl", "{}")
    with pytest.raises(DataError, match=r"unknown reader 'cvs'.*Did you mean 'csv'"):
        read(tmp_path, "a.csv", "a\n1\n", reader="cvs")
    with pytest.raises(DataError, match=r"`header` was given .* takes column names from the file"):
        read(tmp_path, "a.jsonl", "{}", header=("a",))


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.parquet"])
def test_empty_file_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"is empty \(0 bytes\)"):
        read(tmp_path, name, "")


@pytest.mark.parametrize(
    ("name", "content"), [("a.csv", "a,b\n"), ("a.csv", "\n\n"), ("a.jsonl", "\n"), ("a.json", "[]")]
)
def test_file_without_rows_is_an_error(tmp_path: Path, name: str, content: str) -> None:
    with pytest.raises(DataError, match=r"has no rows; at least one is needed"):
        read(tmp_path, name, content)


def test_column_named_twice_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 1 .* names column 'a' twice \(columns 1 and 3\)"):
        read(tmp_path, "a.csv", "a,b,a\n1,2,3\n")


@pytest.mark.parametrize(("row", "count"), [("1", 1), ("1,2,3", 3)])
def test_ragged_row_names_its_line(tmp_path: Path, row: str, count: int) -> None:
    content = f'a,b\n"two\nlines",2\n{row}\n'  # the ragged row is the third line of the data but the file's fourth line
    with pytest.raises(DataError, match=rf"line 4 of .*a\.csv' has {count} cells, but 2 are needed \(a, b\)"):
        read(tmp_path, "a.csv", content)


def test_ragged_row_of_a_plain_file_names_the_allowed_range(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 2 .* has 1 cells, but 2 to 3 are needed"):
        read(tmp_path, "a.txt", "1\t2\n1\n", reader="tsv_plain", header=("a", "b", "c"), optional=1)


@pytest.mark.parametrize("content", ['a,b\n1,2\n"never closed,1\n2,2\n', 'a,b\n1,2\n"closed" early,1\n'])
def test_unbalanced_quotes_are_an_error_instead_of_lost_rows(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match=r"starts at line 3 .* cannot be read.*Double the quotes"):
        read(tmp_path, "a.csv", content)


def test_cell_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"starts at line 2 .* field larger than field limit"):
        read(tmp_path, "a.csv", b'a\n"' + (b"x" * 1023 + b"\n") * (MAX_CELL // 1024 + 1) + b'"\n')


@pytest.mark.parametrize(("start", "offset"), [(b"", 11), (b"\xef\xbb\xbf", 14)])
def test_bytes_of_another_encoding_name_line_and_offset(tmp_path: Path, start: bytes, offset: int) -> None:
    content = start + b"text\nok\ncaf\xe9\n"  # text, line break, ok, line break, caf: 5 + 3 + 3 bytes before \xe9
    with pytest.raises(DataError, match=rf"line 3 .* is not UTF-8 \(byte offset {offset}\); .*cp1252"):
        read(tmp_path, "a.csv", content)


def test_bad_json_line_names_its_number(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 3 of .*a\.jsonl' is not JSON"):
        read(tmp_path, "a.jsonl", '{"a": 1}\n\n{"a": \n')
    with pytest.raises(DataError, match=r"line 2 of .*a\.json' is not JSON: Extra data .* suffix \.jsonl"):
        read(tmp_path, "a.json", '{"a": 1}\n{"a": 2}\n')


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a": ' + "9" * 5000 + "}"])
def test_hostile_json_is_a_data_error(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match=r"JSON from line 1 of .* cannot be read"):
        read(tmp_path, "a.jsonl", content)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"a": 1}\n[1, 2]\n', r"line 2 of .* is a JSON list \(\[1, 2\]\); each row must be an object"),
        ("a.json", '[{"a": 1}, 3]', "item 2 of .* is a JSON int"),
        ("a.json", '"text"', "holds a JSON str; give a list of objects"),
        ("a.json", '{"train": [], "test": []}', "with 2 lists \\('train', 'test'\\)"),
    ],
)
def test_json_of_another_shape_is_an_error(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, name, content)


def test_other_file_named_parquet_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.parquet' cannot be read as parquet"):
        read(tmp_path, "a.parquet", "a,b\n1,2\n")


def test_missing_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"needs pyarrow: pip install 'predgen\[data\]'"):
        read(tmp_path, "a.parquet", "x")


# Other sources


def test_all_sources_give_the_same_rows(tmp_path: Path) -> None:
    rows = [{"text": "a", "score": 1.5}, {"text": "b", "score": 2.0}]
    path = written(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    sources: Sequence[Any] = [path, str(path), pd.DataFrame(rows), datasets.Dataset.from_list(rows), rows, iter(rows)]
    for source in sources:
        assert list(rows_of(source)) == rows


def test_frame_gives_python_values_and_keeps_nan() -> None:
    rows = list(rows_of(pd.DataFrame({"a": [1, 2], "b": [np.nan, 0.5], 3: [True, False]})))
    assert [type(value) for value in rows[0].values()] == [int, float, bool]
    assert rows[0]["b"] != rows[0]["b"]
    assert list(rows[0]) == ["a", "b", "3"]


@pytest.mark.parametrize("value", [3.8, 0.1, -2.7, 1.0, 16777217.0])
def test_single_precision_gives_the_decimal_it_was_written_as(value: float, tmp_path: Path) -> None:
    single = np.float32(value)
    assert float(single) == value or repr(float(single)) != repr(value)  # 3.8 has become 3.799999952316284
    frame = pd.DataFrame({"text": ["a", "b"], "score": pd.Series([single, np.nan], dtype="float32")})
    frame.to_parquet(tmp_path / "a.parquet")
    typed = datasets.Features({"text": datasets.Value("string"), "score": datasets.Value("float32")})
    listed = datasets.Dataset.from_list([{"text": "a", "score": value}, {"text": "b", "score": None}], features=typed)
    written_as = float(str(single))
    assert written_as == pytest.approx(value, rel=1e-7)
    for source in (frame, tmp_path / "a.parquet", listed):
        first, last = rows_of(source)
        assert first == {"text": "a", "score": written_as}
        assert last["score"] is None or np.isnan(last["score"])
    assert number_of(single) == written_as


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([], "the list of rows has no rows"),
        (pd.DataFrame({"a": []}), "the data frame has no rows"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "more than one column named 'a'"),
        ([{"a": 1}, "b"], "row 2 is 'b', of type str; each row must be a dictionary"),
        ({"train": [{"a": 1}]}, r'one dict with keys \'train\'; give a list of rows.*dataset\["train"\]'),
        (7, "cannot read rows from int; give a path"),
        (b"a.csv", "cannot read rows from bytes"),
    ],
)
def test_source_of_another_shape_is_an_error(source: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(rows_of(source))


def test_dataset_dictionary_asks_for_a_split() -> None:
    splits = datasets.DatasetDict({"train": datasets.Dataset.from_list([{"a": 1}])})
    with pytest.raises(DataError, match="one DatasetDict with keys 'train'"):
        rows_of(splits)


def test_class_labels_of_datasets_are_their_names() -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    data = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, -1]})
    data = data.cast_column("label", datasets.ClassLabel(names=["negative", "positive"]))
    assert [row["label"] for row in rows_of(data)] == ["positive", "negative", None]  # -1: unknown
    assert [row["label"] for row in dataset_rows(data)] == [1, 0, -1]  # what known tasks declare


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "text;label\nfine;good\n", "';'"),
        ("a.csv", '"text";"label"\n"so, so";"good"\n', "';'"),
        ("a.csv", "text\tlabel\nfine\tgood\n", "Rename it to .tsv"),
        ("a.csv", "text|label\nfine|good\n", "'|'"),
        ("a.tsv", "text,label\nfine,good\n", "commas"),
    ],
)
def test_another_delimiter_is_named(tmp_path: Path, name: str, text: str, words: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        list(read_rows(path))
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["text\na;b\nc\n", "a;b\nfine\n", "text,label\na;b,c;d\n"])
def test_other_delimiters_inside_cells_are_ordinary_characters(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8")
    assert [",".join(row.values()) for row in read_rows(path)] == text.splitlines()[1:]


@pytest.mark.parametrize(
    ("name", "remedy"), [("a.csv.gz", "gunzip"), ("a.xlsx", "CSV UTF-8"), ("a.zip", "unzip"), ("a.jsonl.zst", "unzstd")]
)
def test_packed_files_and_sheets_are_refused_with_what_to_do(tmp_path: Path, name: str, remedy: str) -> None:
    (tmp_path / name).write_bytes(b"\x1f\x8b")
    with pytest.raises(DataError, match=remedy):
        read_rows(tmp_path / name)
