"""Tables of any library become rows: equal to the pandas frame of the same values."""

import importlib
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from predgen.data.sources import is_table, rows_of
from predgen.errors import DataError

COLUMNS = {"text": ["a", "b"], "score": np.array([3.8, 1.1], dtype=np.float32), "n": [1, 2]}
ROWS = [{"text": "a", "score": 3.8, "n": 1}, {"text": "b", "score": 1.1, "n": 2}]  # single precision as written


class Stream:
    """A table of a library of one's own, which only has Arrow's stream protocol."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


def polars_frame() -> Any:
    pytest.importorskip("polars")
    return importlib.import_module("polars").DataFrame(COLUMNS)


def data_set() -> Any:
    from datasets import Dataset

    return Dataset(pa.table(COLUMNS))


TABLES = {
    "pandas": lambda: pd.DataFrame(COLUMNS),
    "polars": polars_frame,
    "arrow table": lambda: pa.table(COLUMNS),
    "arrow batch": lambda: pa.table(COLUMNS).to_batches()[0],
    "arrow stream": lambda: Stream(pa.table(COLUMNS)),
    "data set": data_set,
}


@pytest.mark.parametrize("library", TABLES)
def test_rows_are_the_same_from_every_library(library: str) -> None:
    table = TABLES[library]()
    assert is_table(table)
    assert list(rows_of(table)) == ROWS


@pytest.mark.parametrize("value", [pa.chunked_array([["a"]]), pd.Series(["a"]), np.array(["a"]), ["a"], "a", {"a": 1}])
def test_what_has_no_columns_is_no_table(value: object) -> None:
    assert not is_table(value)


@pytest.mark.parametrize("make", [pa.Table.from_arrays, pa.RecordBatch.from_arrays])
def test_two_columns_of_one_name_are_refused(make: Any) -> None:
    with pytest.raises(DataError, match="more than one column named 'a'"):
        list(rows_of(make([pa.array([1]), pa.array([2])], names=["a", "a"])))


def test_splits_are_refused_with_the_remedy() -> None:
    from datasets import Dataset, DatasetDict

    splits = DatasetDict({"train": Dataset.from_dict({"text": ["a"]})})
    with pytest.raises(DataError, match=r"DatasetDict with keys 'train'.*dataset\[\"train\"\]"):
        rows_of(splits)


def test_a_stream_without_columns_is_refused() -> None:
    with pytest.raises(DataError, match="cannot read rows from Stream"):
        list(rows_of(Stream(pa.chunked_array([["a"]]))))
