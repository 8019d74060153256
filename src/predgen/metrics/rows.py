"""Columns that metrics compare: targets beside predictions, checked once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from predgen.core import Kind
from predgen.errors import DataError

Values = npt.NDArray[Any]
"""Column of targets or predictions: label texts (None: unparsed), or float64 (nan: unparsed)."""

Probabilities = npt.NDArray[np.float64]
Column = Sequence[Any] | Values

Facts = Mapping[str, npt.NDArray[np.float64]]
"""Name -> a number per row, measured where its whole distribution was known, such as its CRPS."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Checked columns of the same rows, as metrics take them; N rows, K classes.

    Attributes:
        targets: True labels or numbers, N; none is missing.
        predictions: Predicted labels or numbers, N; None (labels) or nan (numbers) where the text was not readable.
        probabilities: P(label), N x K, columns in the order of `labels`; None where there are none.
        labels: The classes in the order of `probabilities`' columns.
        facts: Numbers that were measured row by row.
    """

    targets: Values
    predictions: Values
    probabilities: Probabilities | None = None
    labels: tuple[str, ...] | None = None
    facts: Facts = field(default_factory=dict)

    @classmethod
    def checked(
        cls,
        kind: Kind,
        targets: Column,
        predictions: Column,
        probabilities: Column | None = None,
        labels: Sequence[str] | None = None,
    ) -> "Rows":
        """Check columns and bring them into this form.

        Args:
            kind: Kind of the targets.
            targets: True labels or numbers.
            predictions: Predicted ones; None or nan where the written text was not readable.
            probabilities: P(label), in the order of `labels`; None: there are none, or none are needed.
            labels: All classes.

        Raises:
            DataError: If columns differ in length, a target is missing, a number is infinite or not a number, labels
                and numbers are mixed, or probabilities have a wrong shape or do not sum to 1.
        """
        column = _labels_column if kind == "classification" else _numbers_column
        rows = cls(column(targets, "target"), column(predictions, "prediction"))
        if len(rows.targets) != len(rows.predictions):
            raise DataError(
                f"got {len(rows.targets)} targets and {len(rows.predictions)} predictions; give one prediction per target, in"
                " the same order."
            )
        _check_targets(rows.targets)
        if kind == "classification":
            _check_label_types(rows)
        if probabilities is None or labels is None:
            return rows
        known = _check_probabilities(np.asarray(probabilities, dtype=np.float64), len(rows), len(labels))
        return cls(rows.targets, rows.predictions, known, tuple(labels))

    def __len__(self) -> int:
        return len(self.targets)

    def with_facts(self, facts: Mapping[str, Column]) -> "Rows":
        """Return the rows with numbers that were measured row by row.

        Raises:
            DataError: If there is not one for each row.
        """
        known = {name: _numbers_column(column, name) for name, column in facts.items()}
        wrong = {name: len(column) for name, column in known.items() if len(column) != len(self)}
        if wrong:
            raise DataError(f"got {len(self)} rows, but {wrong} facts of them; give one of each per row.")
        return replace(self, facts=known)

    def take(self, index: npt.NDArray[Any]) -> "Rows":
        """Return the rows at `index` (positions or a mask), all columns alike."""
        probabilities = None if self.probabilities is None else self.probabilities[index]
        facts = {name: column[index] for name, column in self.facts.items()}
        return Rows(self.targets[index], self.predictions[index], probabilities, self.labels, facts)


def _labels_column(values: Column, what: str) -> Values:
    """Return labels as an object column; nan counts as None, as pandas writes missing text."""
    column = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):
        column[row] = None if isinstance(value, float) and np.isnan(value) else value
    return column


def _numbers_column(values: Column, what: str) -> Values:
    """Return numbers as a float64 column; None counts as nan."""
    column = np.empty(len(values), dtype=np.float64)
    for row, value in enumerate(values):
        try:
            column[row] = np.nan if value is None else float(value)
        except (TypeError, ValueError):
            raise DataError(f"{what} of row {row} is {value!r}, but this metric compares numbers.") from None
        if np.isinf(column[row]):
            raise DataError(f"{what} of row {row} is {value!r}; give a finite number, or nan where none was readable.")
    return column


def _check_targets(targets: Values) -> None:
    """Refuse rows whose target is missing: there is nothing to compare with."""
    for row, target in enumerate(targets):
        if target is None or (isinstance(target, float) and np.isnan(target)):
            raise DataError(f"target of row {row} is missing; leave such rows out before measuring.")


def _check_label_types(rows: Rows) -> None:
    """Refuse texts on one side and other types on the other: 1 and "1" would never match, and score 0 in silence."""
    parsed = [label for label in rows.predictions if label is not None]
    if parsed and len(rows) and isinstance(parsed[0], str) != isinstance(rows.targets[0], str):
        raise DataError(
            f"targets are labels like {rows.targets[0]!r}, but predictions are labels like {parsed[0]!r}; "
            "give both as text, or both as numbers."
        )


def _check_probabilities(probabilities: Probabilities, n_rows: int, n_labels: int) -> Probabilities:
    """Refuse a wrong shape, and rows that are no distribution."""
    if probabilities.shape != (n_rows, n_labels):
        raise DataError(
            f"`probabilities` has shape {probabilities.shape}, but {n_rows} rows and {n_labels} labels "
            f"need {(n_rows, n_labels)}."
        )
    # 1e-3 lets pass what was added up in bfloat16; not (x <= y) catches nan as well.
    wrong = ~((probabilities.min(axis=1, initial=0) >= 0) & (np.abs(probabilities.sum(axis=1) - 1) <= 1e-3))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"`probabilities` of row {row} are {probabilities[row].tolist()}; they must be >= 0 and sum to 1."
        )
    return probabilities
