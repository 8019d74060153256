"""What is worth a look in a user's data before training: nothing here stops a run."""

import statistics
from collections import Counter
from collections.abc import Iterator

from predgen.data.cells import MISSING_MARKS, CellError, number_of, some_labels
from predgen.data.labels import alike, classes_of
from predgen.training.rows import TrainingData

_MANY_CLASSES = 20
_GROUPS_NAMED = 5
_FAR = 10.0  # interquartile ranges beyond the quartiles: in a normal distribution one in 1e42


def remarks(data: TrainingData, truncated: int, transform: str = "none") -> list[str]:
    """Return what should be looked at: each says what there is, what it does, and what can be done.

    Args:
        data: The rows; remarks on targets are about the training rows.
        truncated: Training rows that had a field shortened.
        transform: How numbers are transformed before they are written (`target_transform`).
    """
    found = [*(_on_classes(data) if data.task.kind == "classification" else _on_numbers(data))]
    found += far_targets(data, transform)
    if truncated:
        found.append(
            f"{truncated} of {len(data.train)} training rows are longer than `max_length` and are shortened. Raise"
            " --max-length, or choose what to cut with --truncate and --truncate-field."
        )
    return found


def _on_classes(data: TrainingData) -> Iterator[str]:
    """Labels that may be numbers, spelled in several ways, missing, or too rare."""
    counts = Counter(str(e.target.value) for e in data.train if e.target is not None)
    labels = classes_of(data.task)
    if len(labels) > _MANY_CLASSES and 2 * len(labels) > len(data.train):
        numbers = sum(map(_is_number, labels)) > len(labels) / 2
        hint = "If they are numbers, take --kind regression." if numbers else "Is the target column a text or an id?"
        yield f"{len(labels)} labels in {len(data.train)} training rows: most classes have a single row. {hint}"
    groups = alike(labels)
    for group in groups[:_GROUPS_NAMED]:
        yield f"{some_labels(group)} differ only in case or blanks; --normalise-labels makes them one."
    if len(groups) > _GROUPS_NAMED:
        yield f"{len(groups) - _GROUPS_NAMED} more groups of labels differ only in case or blanks."
    if marks := [label for label in labels if label.casefold() in MISSING_MARKS]:
        yield f"{some_labels(marks)} may stand for a missing value, but count as classes. Empty such cells to have them found as bad rows."
    if single := [label for label in labels if counts[label] == 1]:
        yield f"{some_labels(single)} have a single training row each: little can be learned about them."
    if absent := [label for label in labels if counts[label] == 0]:
        yield f"{some_labels(absent)} have no training row; they can be predicted, but nothing is learned about them."


def _on_numbers(data: TrainingData) -> Iterator[str]:
    """Numbers that may be classes, and numbers that stand far apart from the others."""
    numbers = [float(e.target.value) for e in data.train if e.target is not None]
    different = sorted(set(numbers))
    if data.task.kind == "regression" and len(different) == 2:
        yield f"the targets are {different[0]:g} or {different[1]:g} and nothing else. If these are classes, take --kind classification."


def far_targets(data: TrainingData, transform: str = "none") -> list[str]:
    """Say which numbers stand so far from the others that they stretch the range to be written; a transform unbends it."""
    known = [e for e in data.train if e.target is not None]
    if data.task.kind != "regression" or transform != "none" or len(known) < 4:
        return []
    numbers = [float(e.target.value) for e in known if e.target is not None]
    first, _, third = statistics.quantiles(numbers, n=4)
    far = [(e.row_id + 1, value) for e, value in zip(known, numbers, strict=True) if _is_far(value, first, third)]
    if third == first or not far:
        return []
    named = ", ".join(f"{value:g} (row {row})" for row, value in far[:3])
    return [
        f"{len(far)} targets stand far apart: {named}{', ...' if len(far) > 3 else ''}, while half of all lie in {first:g} to"
        f" {third:g}. They stretch the range of written numbers, so that little of it is left for the others. Correct such"
        " rows if they are mistakes; else take --target-transform quantile (or log, where all are above 0), or leave them"
        " out and declare the range with --minimum and --maximum."
    ]


def _is_far(value: float, first: float, third: float) -> bool:
    """Whether a number lies many interquartile ranges outside the quartiles."""
    return max(first - value, value - third) > _FAR * (third - first)


def _is_number(label: str) -> bool:
    """Whether a label is written as a number."""
    try:
        number_of(label, with_commas=True)
    except CellError:
        return False
    return True
