"""Rows that callers hold in memory: what becomes of texts, tables and cells, and what is refused by name and row."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse

from predgen.data.given import given_rows
from predgen.errors import DataError

TEXTS = [{"text": "a"}, {"text": "b"}]
CELLS = [{"x0": "a", "x1": "b"}, {"x0": "c", "x1": "d"}]


@pytest.mark.parametrize(
    ("source", "rows"),
    [
        (["a", "b"], TEXTS),
        (("a", "b"), TEXTS),
        ((text for text in "ab"), TEXTS),
        (np.array(["a", "b"]), TEXTS),
        (np.array([["a"], ["b"]], dtype=object), TEXTS),
        (pd.Series(["a", "b"]), TEXTS),
        (pa.chunked_array([["a"], ["b"]]), TEXTS),
        (np.array([["a", "b"], ["c", "d"]], dtype=object), CELLS),
        ([["a", "b"], ("c", "d")], CELLS),
        (pd.DataFrame([["a", "b"], ["c", "d"]]), CELLS),
        (np.array([[1.5, 2.0]]), [{"x0": 1.5, "x1": 2.0}]),
        (pd.DataFrame({"t": ["a"], "n": [1]}), [{"t": "a", "n": 1}]),
        (pa.table({"t": ["a"], "n": [1]}), [{"t": "a", "n": 1}]),
        ([{"t": "a"}], [{"t": "a"}]),
        ([], []),
        (np.empty((0, 2)), []),
        (pd.DataFrame({"t": []}), []),
    ],
)
def test_rows_of_everything_that_callers_give(source: Any, rows: list[dict[str, Any]]) -> None:
    assert given_rows(source).rows == rows


def test_texts_fill_the_only_field_of_the_prompt() -> None:
    assert given_rows(["a"], ("review",)).rows == [{"review": "a"}]
    assert given_rows([["a"]], ("review",)).rows == [{"review": "a"}]
    with pytest.raises(DataError, match="`X` has one text per row, but the prompt has the fields title, body"):
        given_rows(["a"], ("title", "body"))


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("a text", "`X` is one text"),
        ({"text": ["a", "b"]}, "keys 'text'"),
        (["a", "b", 3.5], r"row 3 of `X` is 3\.5, of type float"),
        ([1, 2], "row 1 of `X` is 1, of type int"),
        ([["a", "b"], ["c"]], "row 2 of `X` is 1 cells, but row 1 has 2 cells"),
        ([["a", "b"], "c"], "row 2 of `X` is 'c', but row 1 has 2 cells"),
        ([{"text": "a"}, "b"], "row 2 is 'b', of type str"),
        (np.zeros((2, 2, 2)), r"shape \(2, 2, 2\)"),
        (np.empty((2, 0)), r"0 feature\(s\)"),
        (np.array([[1.0, 2.0], [3.0, np.nan]]), "row 2, column 2 is nan"),
        (np.array([[1.0, np.inf]]), "row 1, column 2 is inf"),
        (np.array([[1j]]), "Complex data not supported: `X`"),
        (scipy.sparse.eye(2).tocsr(), "`X` is a sparse matrix"),
        (7, "`X` is 7, of type int"),
    ],
)
def test_what_has_no_rows_is_refused_by_name_and_row(source: Any, named: str) -> None:
    with pytest.raises(DataError, match=named):
        given_rows(source)


def test_a_missing_text_keeps_its_row() -> None:
    assert given_rows(["a", None, "b"]).rows[1] == {"text": None}
