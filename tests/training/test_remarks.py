"""What `validate` remarks on in a user's data."""

import random
from collections.abc import Sequence

import pytest

from predgen.core import Example, Target
from predgen.data.examples import custom_task
from predgen.data.labels import labels_of, with_labels
from predgen.training.remarks import remarks
from predgen.training.rows import TrainingData


def data_of(kind: str, values: Sequence[str | float], labels: tuple[str, ...] = ()) -> TrainingData:
    rows = [Example(i, {"text": f"row {i}"}, Target(value)) for i, value in enumerate(values)]
    task = custom_task(prompt="{text}", target="y", kind=kind)
    return TrainingData(with_labels(task, labels or labels_of(rows)), rows, [])


def test_ordinary_data_have_no_remarks() -> None:
    rng = random.Random(0)
    assert remarks(data_of("classification", ["good", "bad"] * 20), 0) == []
    assert remarks(data_of("regression", [rng.gauss(0, 1) for _ in range(2000)]), 0) == []
    assert remarks(data_of("regression", [1.0, 2.0, 3.0, 4.0, 5.0] * 9), 0) == []  # ratings


@pytest.mark.parametrize(("shape", "hint"), [("{}.5", "--kind regression"), ("row-{}", "text or an id")])
def test_classes_that_are_numbers_or_ids_are_noticed(shape: str, hint: str) -> None:
    (found,) = [r for r in remarks(data_of("classification", [shape.format(i) for i in range(270)]), 0) if "most" in r]
    assert "270 labels in 270 training rows" in found
    assert hint in found


def test_numbers_that_are_classes_are_noticed() -> None:
    (found,) = remarks(data_of("regression", [0.0, 1.0] * 20), 0)
    assert "0 or 1" in found
    assert "--kind classification" in found


def test_an_outlier_is_named_with_its_row() -> None:
    values = [i % 50 / 10 for i in range(79)]
    (found,) = remarks(data_of("regression", [*values, 1e7]), 0)
    assert "1e+07 (row 80)" in found


def test_spellings_marks_and_rare_classes_are_named() -> None:
    labels = ["Yes"] * 5 + ["yes"] * 5 + ["no"] * 5 + ["N/A"] * 2 + ["rare"]
    found = remarks(data_of("classification", labels, (*sorted(set(labels)), "absent")), 0)
    assert ["'Yes', 'yes'" in found[0], "'N/A'" in found[1], "'rare'" in found[2], "'absent'" in found[3]] == [True] * 4
    assert len(found) == 4


def test_shortened_rows_are_counted() -> None:
    (found,) = remarks(data_of("classification", ["good", "bad"] * 20), 3)
    assert "3 of 40" in found
