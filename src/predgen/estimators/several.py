"""Several columns of `y`: what `fit` learns from them, one target each, by scikit-learn's conventions for multioutput."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from predgen.config import RunConfig
from predgen.data.cells import is_missing
from predgen.data.given import Given, as_list
from predgen.data.sources import is_table, rows_of
from predgen.errors import DataError
from predgen.estimators.targets import CellArray, Labels, read_labels, read_numbers
from predgen.training.target_rows import TargetsData, load_target_rows

_WEIGHT = "sample_weight"


@dataclass(frozen=True)
class TargetColumn:
    """One column of `y`.

    Attributes:
        name: Its name.
        labels: Its labels; None for numbers.
        cells: Text or number of each row; None where the row has no answer.
    """

    name: str
    labels: Labels | None
    cells: list[str | float | None]

    def target(self) -> dict[str, Any]:
        """Return it as an entry of `targets`."""
        if self.labels is None:
            return {"name": self.name, "kind": "regression"}
        labels = (
            list(self.labels.texts) if len(self.labels.texts) > 1 else None
        )  # that it is the only one is told later
        return {"name": self.name, "kind": "classification", "labels": labels}


def width_of(y: Any) -> int:  # noqa: ANN401
    """Return how many columns `y` has; 1 where it is one-dimensional."""
    shape = getattr(y, "shape", None)
    if isinstance(shape, tuple):
        return int(shape[1]) if len(shape) > 1 else 1
    first = next(iter(y), None) if isinstance(y, Sequence) and not isinstance(y, str | bytes) else None
    return len(first) if isinstance(first, list | tuple | np.ndarray) else 1


def read_columns(y: Any, given: Given, *, is_numbers: bool) -> list[TargetColumn]:  # noqa: ANN401
    """Read several columns; a cell that is missing (None, NaN) leaves that target of that row out.

    Args:
        y: A frame, an array of two dimensions, or lists of cells.
        given: The rows of `X`.
        is_numbers: Whether the columns hold numbers.

    Raises:
        DataError: If `y` has another length than `X`, rows of different lengths, a column without any answer, or one of a name
            that `X` has, too.
    """
    names, rows = _cells(y)
    width = width_of(y)
    if len(rows) != len(given.rows):
        raise DataError(f"`X` has {len(given.rows)} rows, but `y` has {len(rows)}; give one row of targets per row.")
    if uneven := next((i for i, row in enumerate(rows, start=1) if len(row) != width), None):
        raise DataError(
            f"row {uneven} of `y` has {len(rows[uneven - 1])} cells, but row 1 has {width}; give each as many."
        )
    named = [name or f"target_{place}" for place, name in enumerate([*names, *[""] * (width - len(names))])]
    for name in named:
        if name in given.columns:
            raise DataError(
                f"`X` has the column {name!r}, which is a column of `y`, too. Drop it from `X`, or rename one of them."
            )
    types = list(getattr(y, "dtypes", [getattr(y, "dtype", None)] * width))
    return [_column(name, [row[place] for row in rows], is_numbers, types[place]) for place, name in enumerate(named)]


def _cells(y: Any) -> tuple[list[str], list[list[Any]]]:  # noqa: ANN401
    """Names of the columns, where they have some, and the rows. Of `y`, unlike of `X`, cells may be missing."""
    if is_table(y) and all(isinstance(name, str) for name in getattr(y, "columns", ())):
        rows = list(rows_of(y))
        return list(rows[0]), [list(row.values()) for row in rows]
    values = y.to_numpy() if hasattr(y, "to_numpy") else y
    return [], [list(row) for row in (values.tolist() if isinstance(values, np.ndarray) else as_list(values, "y"))]


def _column(name: str, cells: list[Any], is_numbers: bool, dtype: Any) -> TargetColumn:  # noqa: ANN401
    """Read one column; its labels keep the type that they have in an array."""
    known = [i for i, cell in enumerate(cells) if not is_missing(cell)]
    if not known:
        raise DataError(
            f"column {name!r} of `y` has no answer in any of {len(cells)} rows. Fill some in, or leave it out."
        )
    values: Any = [cells[i] for i in known]
    if isinstance(dtype, np.dtype) and not dtype.hasobject:
        values = np.array(values, dtype=dtype)
    try:
        labels = None if is_numbers else read_labels(values, len(known))
        told: Sequence[str | float] = read_numbers(values, len(known)) if labels is None else _texts(labels)
    except DataError as error:
        raise DataError(f"column {name!r} of `y`: {error}") from error
    found: list[str | float | None] = [None] * len(cells)
    for place, value in zip(known, told, strict=True):
        found[place] = value
    return TargetColumn(name, labels, found)


def _texts(labels: Labels) -> list[str]:
    """Text of each row's label."""
    return [labels.texts[number] for number in labels.rows]


def rows_to_learn(
    config: RunConfig,
    given: Given,
    columns: Sequence[TargetColumn],
    weights: CellArray | None,
    fraction: float,
) -> TargetsData:
    """Return rows with their answers, as training takes them; rows of weight 0 are left out.

    Args:
        config: The run's settings, with `targets` and `weight_column`.
        given: The rows of `X`.
        columns: What is to be learned.
        weights: Weight per row; None: 1 each.
        fraction: Share of the rows to hold out.
    """
    rows = [
        {
            **row,
            **{c.name: c.cells[i] for c in columns},
            config.weight_column or "": 1.0 if weights is None else weights[i],
        }
        for i, row in enumerate(given.rows)
        if weights is None or weights[i] > 0
    ]
    data = load_target_rows(config, rows=rows, fraction=fraction)
    known: Mapping[str, Labels | None] = {column.name: column.labels for column in columns}
    parts = {}
    for name, part in data.parts.items():
        labels = known[name]
        values = {} if labels is None else labels.values(labels.texts)
        parts[name] = replace(part, task=replace(part.task, values=values, weight=None))
    return replace(data, parts=parts)


def weight_name(columns: Sequence[str]) -> str:
    """Return a name for the column of weights that no other column has."""
    name = _WEIGHT
    while name in columns:
        name = f"_{name}"
    return name
