"""What a metric is: one object from which values, intervals, tests, directions and tables follow."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from predgen import registries
from predgen.components import NO_SETTINGS, value_of
from predgen.core import Kind, TaskSpec
from predgen.errors import ConfigError, DataError
from predgen.metrics.rows import Column, Probabilities, Rows, Values
from predgen.metrics.weighted import Floats, Weights, mean_of_resamples

PRIMARY: Mapping[str, str] = {"classification": "accuracy", "regression": "mse", "math": "exact_match"}
"""Metric by which methods are compared, and by which all else is chosen unless a task or setting says otherwise: a mean
over rows, defined for one row and for constant predictions, too, unlike correlations."""

PROPER: Mapping[str, str] = {"classification": "log_loss", "regression": "crps"}
"""Proper score by which whole distributions are compared, beside `PRIMARY`: no other distribution than the true one does better."""

UNBOUNDED = (-float("inf"), float("inf"))

MetricFunction = Callable[[Values, Values, Probabilities | None, tuple[str, ...] | None], float]
"""(targets, predictions, probabilities, labels) -> value."""

RowScores = Callable[[Rows], npt.NDArray[Any]]
"""N rows -> N scores."""

Resampled = Callable[[Rows, Weights], Floats]
"""N rows, R x N weights -> R values."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of merit over rows. Every row weighs the same; row weights belong to the training loss.

    A metric says what it is in one of two ways. `scores` gives one score per row, and the metric is their mean: then its
    intervals take no time, and methods can be compared row by row. `function` gives any value of the columns: its
    intervals come from calling it on every resample, or from `resampled`, where that is worth writing.

    What holds for all metrics: over no row the value is nan, with no warning. A prediction that could not be read
    (None or nan; only free decoding has them) is a wrong answer for labels and math. Metrics of kind "regression"
    are computed over the other rows only, for no number stands for "unreadable"; whoever reports them reports the
    count beside them.

    Attributes:
        name: Registry name.
        kind: Kind of the targets: "classification", "regression" or "math".
        greater_is_better: Direction in which models are selected.
        function: (targets, predictions, probabilities, labels) -> value, on checked columns (see `Rows`); it may be nan
            where the value is not defined.
        needs_probabilities: Whether `probabilities` and `labels` must be given.
        takes: Names of facts about each row's distribution that it reads (`Rows.facts`).
        needs_facts: Whether these must be given.
        scores: Rows -> one score per row, instead of `function`.
        of_mean: What is done to the mean score in the end, e.g. the square root; None: nothing.
        resampled: (rows, weights R x N) -> the value of `function` on each of R resamples; None: it is called R times.
        bounds: Least and greatest possible value; a widened interval ends there.
        point: Point of a distribution over numbers that this metric rewards: "mean" or "median".
    """

    name: str
    kind: Kind
    greater_is_better: bool
    function: MetricFunction | None = None
    needs_probabilities: bool = False
    takes: tuple[str, ...] = ()
    needs_facts: bool = False
    scores: RowScores | None = None
    of_mean: Callable[[Floats], Floats] | None = None
    resampled: Resampled | None = None
    bounds: tuple[float, float] = UNBOUNDED
    point: Literal["mean", "median"] = "mean"

    def __post_init__(self) -> None:
        if (self.function is None) == (self.scores is None):
            given = "neither" if self.function is None else "both"
            raise ConfigError(
                f"metric {self.name!r} has {given} of `function` and `scores`, but needs exactly one: `scores` where it is a"
                " mean of row scores, else `function`."
            )

    @property
    def sign(self) -> int:
        """1 where a greater value is better, else -1."""
        return 1 if self.greater_is_better else -1

    def __call__(
        self,
        targets: Column,
        predictions: Column,
        probabilities: Column | None = None,
        labels: Sequence[str] | None = None,
        facts: Mapping[str, Column] | None = None,
    ) -> float:
        """Check the columns and compute the metric.

        Raises:
            DataError: See `Metric.rows`.
        """
        return self.on(self.rows(targets, predictions, probabilities, labels, facts))

    def rows(
        self,
        targets: Column,
        predictions: Column,
        probabilities: Column | None = None,
        labels: Sequence[str] | None = None,
        facts: Mapping[str, Column] | None = None,
    ) -> Rows:
        """Check the columns and bring them into the form that metrics take.

        Raises:
            DataError: If the columns do not fit together (see `Rows.checked`), or probabilities or facts are needed and missing.
        """
        known = {name: (facts or {})[name] for name in self.takes if name in (facts or {})}
        missing = [name for name in self.takes if name not in known]
        if missing and self.needs_facts:
            raise DataError(
                f"metric {self.name!r} needs {', '.join(missing)} of each row as `facts`; leave the metric out for models"
                " without distributions."
            )
        return self._columns(targets, predictions, probabilities, labels).with_facts(known)

    def _columns(
        self,
        targets: Column,
        predictions: Column,
        probabilities: Column | None,
        labels: Sequence[str] | None,
    ) -> Rows:
        """Checked columns without facts."""
        if not self.needs_probabilities:
            return Rows.checked(self.kind, targets, predictions)
        if probabilities is None or labels is None:
            raise DataError(
                f"metric {self.name!r} needs `probabilities` (rows x classes) and `labels` (their columns' labels); "
                "leave the metric out for models that give none."
            )
        return Rows.checked(self.kind, targets, predictions, probabilities, labels)

    def on(self, rows: Rows) -> float:
        """Compute the metric on checked rows."""
        rows = rows.take(self._measured(rows))
        if len(rows) == 0:
            return float("nan")
        if self.scores is not None:
            return float(self._from_mean(np.mean(self.scores(rows))))
        assert self.function is not None  # see `__post_init__`
        return float(self.function(rows.targets, rows.predictions, rows.probabilities, rows.labels))

    def row_scores(self, rows: Rows) -> Floats:
        """Score of each row, of a metric that has `scores`; nan for rows that are not measured."""
        assert self.scores is not None, f"{self.name} is no mean of row scores"
        measured, scores = self._measured(rows), np.full(len(rows), np.nan)
        scores[measured] = self.scores(rows.take(measured))
        return scores

    def on_resamples(self, rows: Rows, weights: Weights) -> Floats:
        """Compute the metric on many resamples, the same values that `on` gives on the drawn rows.

        Args:
            rows: N checked rows.
            weights: How often each row was drawn, R x N.

        Returns:
            R values, nan where the metric is not defined.
        """
        if self.scores is not None:
            return np.asarray(self._from_mean(mean_of_resamples(self.row_scores(rows), weights)))
        measured = self._measured(rows)
        rows, weights = rows.take(measured), weights[:, measured]
        # A resample may have drawn none of the rows that are measured; what metrics declare need not think of that.
        drawn = weights.any(axis=1)
        if not drawn.all():
            values = np.full(len(weights), np.nan)
            if drawn.any():
                values[drawn] = self._of_resamples(rows, weights[drawn])
            return values
        return self._of_resamples(rows, weights)

    def _of_resamples(self, rows: Rows, weights: Weights) -> Floats:
        """Compute `function` on resamples that drew at least one of the rows."""
        if self.resampled is not None:
            return self.resampled(rows, weights)
        # A metric that declares nothing more is called on every resample; the order of rows is no matter to it.
        positions = np.arange(len(rows))
        return np.array([self.on(rows.take(np.repeat(positions, counts))) for counts in weights.astype(np.int64)])

    def _measured(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Which rows the metric is computed over: for numbers, those whose prediction could be read."""
        if self.kind == "regression":
            return np.asarray(~np.isnan(rows.predictions))
        return np.ones(len(rows), dtype=bool)

    def _from_mean(self, mean: Any) -> Any:  # noqa: ANN401  (a number or a column of them)
        """The metric from the mean score."""
        return mean if self.of_mean is None else self.of_mean(mean)


def metric_of(metric: Metric | str, own: Mapping[str, Any] = NO_SETTINGS) -> Metric:
    """Return the metric behind a name.

    Args:
        metric: Its name, or the metric itself.
        own: Settings, for metrics that declare some; others are passed over.

    Raises:
        ConfigError: If the name is unknown.
        DataError: If something else is registered under it.
    """
    if isinstance(metric, Metric):
        return metric
    known = value_of(registries.metrics, metric, own)
    if not isinstance(known, Metric):
        raise DataError(f"metric {metric!r} is registered as {type(known).__name__}; register a `Metric`.")
    return known


def primary_metric(asked: str | None, task: TaskSpec) -> str:
    """Return the one metric that chooses checkpoints, tuning trials and a baseline's strength, and that judges.

    Args:
        asked: The setting `metric`; None: the task's first.
        task: The task.
    """
    return asked or task.metrics[0]


def metrics_of(asked: str | None, task: TaskSpec) -> list[str]:
    """Return the names of all metrics that a run is measured by, the one that chooses first.

    Args:
        asked: The setting `metric`; None: the task's first.
        task: The task.
    """
    return list(dict.fromkeys([primary_metric(asked, task), *task.metrics]))
