"""The error browser: which rows come first, what counts as an error, and data that nothing can break out of."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compare.factory import VARIANTS, measurement, records
from predgen.records import Predictions
from predgen.report.errors import ErrorSet, error_browser, script_json
from predgen.report.experiment import load_experiment
from report.conftest import Made, write


def browse(tmp_path: Path, task: str, predictions: Predictions) -> ErrorSet:
    """The rows of a Predictor with these predictions."""
    found = []
    for one in records((task,), VARIANTS[3:5], (0,), n_rows=len(predictions.target)):
        found.append(replace(one, measurements=[measurement(task, predictions)]))
    return error_browser(load_experiment(write(tmp_path / "exp", found))).sets[0]


def test_wrong_and_sure_comes_first_then_right_and_unsure(tmp_path: Path) -> None:
    p = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.4, 0.6]]
    target, value = ["positive", "positive", "positive", "negative"], ["negative", "positive", "negative", "positive"]
    found = browse(tmp_path, "sst2", Predictions([7, 8, 9, 10], target, value, p, ["negative", "positive"]))
    assert [row.row_id for row in found.rows] == [7, 9, 10, 8]
    assert [row.score for row in found.rows] == pytest.approx([1.9, 1.6, 1.6, 0.2])
    assert [row.is_error for row in found.rows] == [True, True, True, False]
    assert found.rows[0].top == [("negative", 0.9), ("positive", 0.1)]
    assert found.n_errors == 3


def test_numbers_are_ordered_by_their_error_in_deviations_of_the_targets(tmp_path: Path) -> None:
    columns = Predictions(
        [0, 1, 2, 3],
        [1.0, 1.0, 5.0, 5.0],  # standard deviation 2
        [1.0, 4.0, 4.0, None],
        interval=[[0.5, 2.0]] * 4,
        top=[[["1.0", 0.7], ["1.5", 0.2]]] * 4,
        flags={"out_of_budget": [3]},
    )
    found = browse(tmp_path, "sick", columns)
    assert [row.row_id for row in found.rows] == [3, 1, 2, 0]
    assert [row.score for row in found.rows[1:]] == [1.5, 0.5, 0.0]
    assert [row.is_error for row in found.rows] == [True, True, False, False]
    unread, far, *_ = found.rows
    assert (unread.value, unread.error, unread.flags) == (None, "", ["out of budget"])
    assert (far.error, far.interval, far.top[0]) == ("3.00", "0.5 to 2", ("1.0", 0.7))


def test_word_problems_are_right_within_the_papers_tolerance(tmp_path: Path) -> None:
    columns = Predictions([0, 1, 2], [12.0, 7.0, 9.0], [12.00005, 7.2, None])
    found = browse(tmp_path, "gsm8k", columns)
    assert {row.row_id: row.is_error for row in found.rows} == {0: False, 1: True, 2: True}


def test_rows_are_few_enough_for_one_page(sample: Made, tmp_path: Path) -> None:
    browser = error_browser(sample.experiment)
    assert sum(len(found.rows) for found in browser.sets) <= 3000
    assert "constant" not in {found.variant for found in browser.sets}
    long = "x" * 2000
    folder = write(tmp_path / "exp", list(sample.experiment.runs))
    for path in (folder / "rows").iterdir():
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        path.write_text("".join(json.dumps({**row, "fields": {"text": long}}) + "\n" for row in rows), encoding="utf-8")
    browser = error_browser(load_experiment(folder))
    [(name, text)] = browser.text_of("sst2", browser.first[0].row_id)
    assert (name, text) == ("text", "x" * 600 + " \u2026 [1,400 more characters]")
    assert browser.text_of("sst2", -1) == browser.text_of("none", 0) == []


def test_page_has_the_first_rows_of_the_first_set(sample: Made) -> None:
    browser = error_browser(sample.experiment)
    data = json.loads(browser.data)
    assert [row.row_id for row in browser.first] == [row[0] for row in data["sets"][0]["rows"][:10]]
    assert all(len(row) == 9 for found in data["sets"] for row in found["rows"])


anything: Any = st.recursive(
    st.text(st.characters(exclude_categories=["Cs"]))
    | st.sampled_from(["</script>", "<!--", "]]>", "\u2028"])
    | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(anything)
def test_json_in_the_page_is_the_same_and_holds_no_markup(data: Any) -> None:
    text = str(script_json(data))
    assert json.loads(text) == data
    assert not set(text) & set("<>&\u2028\u2029")
