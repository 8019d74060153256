"""Answers of rows with several targets: read from cells, one question after the other; an empty cell has none.

Labels and numbers are read as those of a single target are. A multi-label cell is a list of names, or text with names and
separators between them; a soft label is a mapping from labels to shares, or a column of shares for each label.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from predgen.core import Row, Target, TaskSpec
from predgen.data.cells import CellError, is_missing, label_of, number_of, plain
from predgen.targets import YES_NO, TargetSpec

_ROUNDING = 1e-6
_MOST_OFF = 0.01  # of a sum of shares from 1: published shares are rounded to two or three digits


def answer_reader(spec: TargetSpec, task: TaskSpec, label: str | None = None) -> Callable[[Row], Target | None]:
    """Return a function that reads a row's answer to a question; None where the row has none.

    Args:
        spec: The target.
        task: The question as a task: its kind, and its labels where they are known.
        label: The label that the question is about, of a multi-label target.
    """

    def read(row: Row) -> Target | None:
        if label is not None:
            names = names_in(row.get(spec.name), spec.separator)
            return None if names is None else Target(YES_NO[label in names])
        if all(is_blank(row.get(column)) for column in spec.columns):
            return None
        cell = plain(row.get(spec.name))
        if spec.shares or isinstance(cell, Mapping):
            shares = shares_in({name: row.get(column) for name, column in spec.shares.items()} or cell, task.labels)
            return Target(max(shares, key=lambda pair: pair[1])[0], shares=shares)
        if task.kind == "classification":
            return Target(label_of(cell, task.labels, normalised=task.normalise_labels))
        return Target(number_of(cell))

    return read


def is_blank(cell: Any) -> bool:  # noqa: ANN401
    """Whether a cell holds no answer: it is missing, or text without a character other than blanks."""
    return is_missing(cell) or (isinstance(cell, str) and not cell.strip())


def names_in(cell: Any, separator: str) -> frozenset[str] | None:  # noqa: ANN401
    """Return the names in a multi-label cell; None where it is empty. A list without names, or a separator alone, has none.

    Raises:
        CellError: If it is neither a list of labels nor text.

    Example:
        >>> sorted(names_in("sports; politics", ";")), names_in([], ";"), names_in("", ";")
        (['politics', 'sports'], frozenset(), None)
    """
    values = cell.tolist() if hasattr(cell, "tolist") and getattr(cell, "ndim", 0) == 1 else cell
    if isinstance(values, str):
        if not values.strip():
            return None
        return frozenset(name for part in values.split(separator) if (name := part.strip()))
    if isinstance(values, list | tuple | set | frozenset):
        return frozenset(label_of(value, {}) for value in values)
    if is_missing(values):
        return None
    raise CellError(f"of type {type(values).__name__}, not a list of names or text with {separator!r} between names")


def shares_in(cells: Mapping[Any, Any], labels: Mapping[str, str]) -> tuple[tuple[str, float], ...]:
    """Return label -> share in the order of `labels`, or else of the cell, summing to 1; labels without a share are left out.

    Raises:
        CellError: If a label is unknown, a share is no number from 0 on, or they do not sum to 1 (within 0.01).

    Example:
        >>> shares_in({"good": "0.75", "bad": 0.25}, {})
        (('good', 0.75), ('bad', 0.25))
    """
    found: dict[str, float] = {}
    for label, cell in cells.items():
        share = 0.0 if is_blank(cell) else number_of(cell)
        if share < 0:
            raise CellError(f"a share of {share:g}, below 0")
        found[label_of(label, labels)] = share
    total = math.fsum(found.values())
    if abs(total - 1) > _MOST_OFF + _ROUNDING:
        raise CellError(f"shares that sum to {total:g}, not to 1")
    order = [text for text in dict.fromkeys(labels.values()) if text in found] or list(found)
    return tuple((label, found[label] / total) for label in order if found[label] > 0)


def labels_in(rows: Sequence[Row], spec: TargetSpec) -> set[str]:
    """Return the labels that cells of a multi-label target, or of soft labels, name; cells that cannot be read are passed over."""
    found: set[str] = set(spec.shares)
    for row in rows:
        cell = plain(row.get(spec.name))
        try:
            if spec.is_multilabel:
                found |= names_in(cell, spec.separator) or frozenset()
            elif isinstance(cell, Mapping):
                found |= {label_of(label, {}) for label in cell}
        except CellError:
            continue  # told where the rows are read
    return found
