"""Labels of a user's file become those of its task."""

from predgen.core import Example, Target
from predgen.data.examples import custom_task
from predgen.data.labels import labels_of, with_labels

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
