"""What a metric is, and how several are computed on the same rows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from predgen import registries
from predgen.core import Kind, TaskSpec
from predgen.errors import DataError

Values = npt.NDArray[Any]
"""Column of targets or predictions: label texts (None: unparsed), or float64 (nan: unparsed)."""

PRIMARY: Mapping[str, str] = {"classification": "accuracy", "regression": "mse", "math": "exact_match"}
"""Metric by which methods are compared, and by which all else is chosen unless a task or setting says otherwise: a mean
over rows, defined for one row and for constant predictions, too, unlike correlations."""

Probabilities = npt.NDArray[np.float64]
MetricFunction = Callable[[Values, Values, Probabilities | None, tuple[str, ...] | None], float]


@dataclass(frozen=True, slots=True)
class Rows:
    """Checked columns of the same rows, as metric functions take them.

    Attributes:
        targets: True labels or numbers; none is missing.
        predictions: Predicted labels or numbers; None (labels) or nan (numbers) where the text was not readable.
        probabilities: P(label), rows x classes, columns in the order of `labels`; None where there are none.
        labels: The classes in the order of `probabilities`' columns.
    """

    targets: Values
    predictions: Values
    probabilities: Probabilities | None = None
    labels: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, index: npt.NDArray[Any]) -> "Rows":
        """Return the rows at `index` (positions or a mask), all columns alike."""
        probabilities = None if self.probabilities is None else self.probabilities[index]
        return Rows(self.targets[index], self.predictions[index], probabilities, self.labels)


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of merit over rows. Every row weighs the same; row weights belong to the training loss.

    What holds for all metrics: over no row the value is nan, with no warning. A prediction that could not be read
    (None or nan; only free decoding has them) is a wrong answer for labels and math. Metrics of kind "regression"
    are computed over the other rows only, for no number stands for "unreadable"; whoever reports them reports the
    count beside them.

    Attributes:
        name: Registry name.
        kind: Kind of the targets: "classification", "regression" or "math".
        greater_is_better: Direction in which models are selected.
        function: (targets, predictions, probabilities, labels) -> value, on checked columns (see `Rows`).
        needs_probabilities: Whether `probabilities` and `labels` must be given.
    """

    name: str
    kind: Kind
    greater_is_better: bool
    function: MetricFunction
    needs_probabilities: bool = False

    def __call__(
        self,
        targets: Sequence[Any] | Values,
        predictions: Sequence[Any] | Values,
        probabilities: Sequence[Any] | Values | None = None,
        labels: Sequence[str] | None = None,
    ) -> float:
        """Check the columns and compute the metric.

        Raises:
            DataError: See `Metric.rows`.
        """
        return self.on(self.rows(targets, predictions, probabilities, labels))

    def rows(
        self,
        targets: Sequence[Any] | Values,
        predictions: Sequence[Any] | Values,
        probabilities: Sequence[Any] | Values | None = None,
        labels: Sequence[str] | None = None,
    ) -> Rows:
        """Check the columns and bring them into the form that `function` takes.

        Raises:
            DataError: If columns differ in length, a target is missing, a number is infinite or not a number, labels
                and numbers are mixed, or probabilities are needed and missing or do not sum to 1.
        """
        column = _labels_column if self.kind == "classification" else _numbers_column
        rows = Rows(column(targets, "target"), column(predictions, "prediction"))
        if len(rows.targets) != len(rows.predictions):
            raise DataError(
                f"metric {self.name!r} got {len(rows.targets)} targets and {len(rows.predictions)} predictions; "
                "give one prediction per target, in the same order."
            )
        _check_targets(rows.targets)
        if self.kind == "classification":
            _check_label_types(rows)
        if not self.needs_probabilities:
            return rows
        if probabilities is None or labels is None:
            raise DataError(
                f"metric {self.name!r} needs `probabilities` (rows x classes) and `labels` (their columns' labels); "
                "leave the metric out for models that give none."
            )
        checked = _check_probabilities(np.asarray(probabilities, dtype=np.float64), len(rows), len(labels))
        return Rows(rows.targets, rows.predictions, checked, tuple(labels))

    def on(self, rows: Rows) -> float:
        """Compute the metric on checked rows."""
        if self.kind == "regression":
            rows = rows.take(~np.isnan(rows.predictions))
        if len(rows) == 0:
            return float("nan")
        return float(self.function(rows.targets, rows.predictions, rows.probabilities, rows.labels))


def primary_metric(asked: str | None, task: TaskSpec) -> str:
    """Return the one metric that chooses checkpoints, tuning trials and a baseline's strength, and that judges.

    Args:
        asked: The setting `metric`; None: the task's first.
        task: The task.
    """
    return asked or task.metrics[0]


def evaluate_metrics(
    names: Iterable[str],
    targets: Sequence[Any] | Values,
    predictions: Sequence[Any] | Values,
    probabilities: Sequence[Any] | Values | None = None,
    labels: Sequence[str] | None = None,
) -> dict[str, float]:
    """Compute several registered metrics on the same rows.

    Args:
        names: Registry names of metrics.
        targets: True labels or numbers.
        predictions: Predicted labels or numbers; None or nan where the written text was not readable.
        probabilities: P(label), rows x classes, in the order of `labels`.
        labels: All classes.

    Returns:
        Name -> value, in the order of `names`.

    Raises:
        ConfigError: If a name is unknown.
        DataError: If the columns do not fit together; see `Metric.rows`.

    Example:
        >>> evaluate_metrics(["mse", "mae"], [1.0, 2.0, 4.0], [1.0, 3.0, 2.0])
        {'mse': 1.6666666666666667, 'mae': 1.0}
    """
    metrics: dict[str, Metric] = {registries.metrics.canonical(name): registries.metrics.get(name) for name in names}
    return {name: metric(targets, predictions, probabilities, labels) for name, metric in metrics.items()}


def _labels_column(values: Sequence[Any] | Values, what: str) -> Values:
    """Return labels as an object column; nan counts as None, as pandas writes missing text."""
    column = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):
        column[row] = None if isinstance(value, float) and np.isnan(value) else value
    return column


def _numbers_column(values: Sequence[Any] | Values, what: str) -> Values:
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
