"""Labels of a user's file become those of its task."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from predgen.core import Example, Target, TaskSpec
from predgen.data.examples import custom_task, to_examples
from predgen.data.labels import alike, classes_of, declare_labels, labels_of, with_labels
from predgen.errors import DataError

CLASSES = custom_task(prompt="{text}", target="label", kind="classification")


def labelled(*labels: str) -> list[Example]:
    return [Example(i, {"text": f"row {i}"}, Target(label)) for i, label in enumerate(labels)]


def test_labels_are_numbers_by_value_then_texts() -> None:
    assert labels_of(labelled("x", "10", "9", "x", "-1")) == ("-1", "9", "10", "x")


def test_a_task_takes_labels_where_it_declares_none() -> None:
    declared = with_labels(CLASSES, ("b", "a"))
    assert list(declared.labels.items()) == [("b", "b"), ("a", "a")]
    assert with_labels(declared, ("c",)) is declared


def test_numbers_take_no_labels() -> None:
    numbers = custom_task(prompt="{text}", target="score", kind="regression")
    assert with_labels(numbers, ("1",)) is numbers


# Spellings and values


def read(cells: Sequence[Any], **options: Any) -> tuple[TaskSpec, list[str]]:
    """The task that labels of rows make, and the rows' targets."""
    task = custom_task(prompt="{text}", target="label", kind="classification", **options)
    rows = [{"text": f"row {i}", "label": cell} for i, cell in enumerate(cells)]
    task, examples = declare_labels(task, to_examples(rows, task), cells)
    return task, [str(e.target.value) for e in examples if e.target]


@pytest.mark.parametrize(
    ("cells", "texts", "values"),
    [
        ([1, 0, 1], ["0", "1"], {"0": 0, "1": 1}),
        ([True, False], ["false", "true"], {"false": False, "true": True}),
        ([np.int64(3), np.int64(-1)], ["-1", "3"], {"-1": -1, "3": 3}),
        ([2.0, 1.0], ["1", "2"], {"1": 1.0, "2": 2.0}),
        (["b", "a "], ["a", "b"], {}),
        (["0", "1"], ["0", "1"], {}),
        ([1, "1", 2], ["1", "2"], {"2": 2}),  # one label in two types: its text
    ],
)
def test_labels_come_back_as_they_stand_in_the_rows(cells: list[Any], texts: list[str], values: dict[str, Any]) -> None:
    task, _ = read(cells)
    assert list(classes_of(task)) == texts
    assert dict(task.values) == values
    assert {text: type(value) for text, value in task.values.items()} == {t: type(v) for t, v in values.items()}


@pytest.mark.parametrize("zero", [0, "0", " 0"])
def test_a_text_is_written_for_a_label_and_the_label_comes_back(zero: Any) -> None:
    one = type(zero)(1)
    task, targets = read([zero, one, zero], labels={"0": "negative", "1": "positive", "2": "mixed"})
    assert targets == ["negative", "positive", "negative"]
    assert classes_of(task) == ("negative", "positive", "mixed")
    # A class without a row has the type of the others.
    own = [0, 1, 2] if zero == 0 else ["0", "1", "2"]
    assert [task.values[text] for text in classes_of(task)] == own
    assert [type(task.values[text]) for text in classes_of(task)] == [type(value) for value in own]


def test_labels_without_a_text_are_bad_rows() -> None:
    with pytest.raises(DataError, match=r"row 3: column 'label' is 7 \(not among the labels '0', '1', 'no', 'yes'\)"):
        read([0, 1, 7], labels={"0": "no", "1": "yes"})


def test_labels_that_differ_in_case_or_blanks_become_one_on_request() -> None:
    cells = ["Positive", "positive", "POSITIVE", "positive", "neg", "Neg", "so  so", "so so"]
    task, targets = read(cells, normalise_labels=True)
    # The spelling of most rows; among equals the first in the order of characters: "N" comes before "n", " " before "s".
    assert targets == ["positive"] * 4 + ["Neg"] * 2 + ["so  so"] * 2
    assert classes_of(task) == ("Neg", "positive", "so  so")
    again, _ = read(cells[::-1], normalise_labels=True)
    assert again.labels == task.labels
    new = [{"text": "x", "label": "pOsItIvE"}]
    assert [e.target.value for e in to_examples(new, task) if e.target] == ["positive"]
    assert len(classes_of(read(cells)[0])) == 7


def test_alike_labels_are_found() -> None:
    assert alike(["a", "b", "A", "c c", "C  c", "d"]) == [["a", "A"], ["c c", "C  c"]]
