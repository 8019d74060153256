"""The labels of a file of the user's: found in the training rows, then declared like those of a known task.

Three things are kept apart: a label as it stands in a row (0, True, "Good "), the text that a model writes for it ("negative",
"true", "Good"), and the class's place in the order of probabilities.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from predgen.core import Example, TaskSpec
from predgen.data.cells import CellError, label_key, label_of, plain


def labels_of(examples: Iterable[Example]) -> tuple[str, ...]:
    """Return the labels that rows have, numbers in numeric order, then texts in alphabetical order."""
    known = [e.target for e in examples if e.target is not None]
    found = {str(one.value) for one in known} | {label for one in known for label, _ in one.shares}
    return tuple(sorted(found, key=label_order))


def with_labels(task: TaskSpec, labels: Sequence[str]) -> TaskSpec:
    """Return the task with these labels, where it has classes but declares none."""
    if task.kind != "classification" or task.labels:
        return task
    return replace(task, labels={label: label for label in labels})


def declare_labels(task: TaskSpec, examples: list[Example], cells: Iterable[Any]) -> tuple[TaskSpec, list[Example]]:
    """Declare the labels of a user's training rows, and read the rows' targets as those.

    Args:
        task: The task; with `normalise_labels`, labels that differ only in case or blanks become one.
        examples: All training rows.
        cells: Their target cells as they stand in the rows, those of bad rows included.

    Returns:
        The task with `labels` and `values`, and the rows. Both as they came where the task has no classes.
    """
    if task.kind != "classification":
        return task, examples
    if not task.labels and task.normalise_labels:
        spellings = _one_spelling(Counter(str(e.target.value) for e in examples if e.target is not None))
        task = replace(task, labels={label: spellings[label] for label in sorted(spellings, key=label_order)})
        examples = [
            replace(e, target=replace(e.target, value=spellings[str(e.target.value)])) if e.target else e
            for e in examples
        ]
    task = with_labels(task, labels_of(examples))
    return replace(task, values=_values(cells, task)), examples


def classes_of(task: TaskSpec) -> tuple[str, ...]:
    """Return the texts of a task's declared classes, in order."""
    return tuple(dict.fromkeys(task.labels.values()))


def alike(labels: Iterable[str]) -> list[list[str]]:
    """Return the groups of labels that differ only in case or blanks.

    Example:
        >>> alike(["Positive", "negative", "positive"])
        [['Positive', 'positive']]
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        groups[label_key(label)].append(label)
    return [group for group in groups.values() if len(group) > 1]


def _one_spelling(counts: Mapping[str, int]) -> dict[str, str]:
    """Label -> how most rows spell it; of several with as many rows, the first in the order of characters."""
    groups: dict[str, list[str]] = defaultdict(list)
    for label in counts:
        groups[label_key(label)].append(label)
    return {
        label: min(group, key=lambda spelling: (-counts[spelling], spelling))
        for group in groups.values()
        for label in group
    }


def _values(cells: Iterable[Any], task: TaskSpec) -> dict[str, str | float]:
    """Text -> the label as it stands in the rows, where that is not the text itself."""
    found: dict[str, dict[tuple[type, Any], None]] = defaultdict(dict)
    for cell in cells:
        value = plain(cell)
        value = value.strip() if isinstance(value, str) else value
        try:
            found[label_of(value, task.labels, normalised=task.normalise_labels)][(type(value), value)] = None
        except CellError:
            continue
    are_numbers = {kind for values in found.values() for kind, _ in values} == {int}
    names = {text: text if text in task.labels else label for label, text in task.labels.items()}
    values: dict[str, str | float] = {}
    for text, name in names.items():
        # A class without a row, or one whose label is written in several ways, has its label's text; a whole number among
        # whole numbers.
        seen = [value for _, value in found[text]]
        value = seen[0] if len(seen) == 1 else int(name) if are_numbers and name.lstrip("-").isdecimal() else name
        if value != text:
            values[text] = value
    return values


def label_order(label: str) -> tuple[float, str]:
    """Sort key of a label: numbers by value, then texts."""
    try:
        return float(label), label
    except ValueError:
        return float("inf"), label
