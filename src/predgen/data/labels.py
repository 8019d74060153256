"""The labels of a file of the user's: found in the training rows, then declared like those of a known task."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from predgen.core import Example, TaskSpec


def labels_of(examples: Iterable[Example]) -> tuple[str, ...]:
    """Return the labels that rows have, numbers in numeric order, then texts in alphabetical order."""
    found = {str(e.target.value) for e in examples if e.target is not None}
    return tuple(sorted(found, key=_label_order))


def with_labels(task: TaskSpec, labels: Sequence[str]) -> TaskSpec:
    """Return the task with these labels, where it has classes but declares none."""
    if task.kind != "classification" or task.labels:
        return task
    return replace(task, labels={label: label for label in labels})


def _label_order(label: str) -> tuple[float, str]:
    """Numbers by value, then texts."""
    try:
        return float(label), label
    except ValueError:
        return float("inf"), label
