"""What predictions promise, where it is asked for: sets and intervals with a coverage, and rows that are left unanswered."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from predgen.core import Decoding, Prediction
from predgen.data.cells import is_missing, label_of
from predgen.errors import ConfigError, DataError
from predgen.escaping import in_line
from predgen.inference.facts import whole_decoding
from predgen.models.base import PredictionModel
from predgen.near_names import near_matches
from predgen.uncertainty.abstention import ConfidenceThreshold, threshold_for_error, threshold_of
from predgen.uncertainty.conformal import check_coverage, check_how, label_sets, least_rows, number_intervals
from predgen.uncertainty.record import CalibrationRecord
from predgen.uncertainty.scores import Spread


@dataclass(frozen=True, slots=True)
class Promised:
    """What is asked of predictions beside themselves.

    Attributes:
        coverage: Share of rows whose truth is to be in their set or interval; None: no sets.
        conformal: Name of the score (`uncertainty.scores`); None: the default for the model.
        by: Column of the groups, each of which is to be covered so; None: all rows together.
        max_error: Most wrong answers among answered rows, as a share; None: no promise.
        min_confidence: Least P(predicted label) of an answered row; None: all are answered.
    """

    coverage: float | None = None
    conformal: str | None = None
    by: str | None = None
    max_error: float | None = None
    min_confidence: float | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Which of them are asked for."""
        return tuple(name for name in self.__slots__ if getattr(self, name) is not None)


NOTHING = Promised()
"""No promise."""


class Guarantee:
    """How it is kept by a model with its calibration.

    Args:
        model: The model.
        record: Its calibration; None: there is none.
        promised: What is asked for.
        decoding: How rows are predicted.

    Raises:
        ConfigError: If the model cannot keep it.
    """

    def __init__(
        self, model: PredictionModel, record: CalibrationRecord | None, promised: Promised, decoding: Decoding
    ) -> None:
        self.promised = promised
        self._model = model
        self._labels = model.setup.labels
        if promised.names and (decoding.how is not None or decoding.full_vocabulary):
            raise ConfigError(
                f"`{promised.names[0]}` is about the model's own prediction, on which it was calibrated: leave out `decode` and"
                " full-vocabulary probabilities."
            )
        for name in ("conformal", "by"):
            if getattr(promised, name) is not None and promised.coverage is None:
                raise ConfigError(f"`{name}` says how sets and intervals are made: give `coverage`, such as 0.9, too.")
        self._record = record
        self.how = self._checked_how() if promised.coverage is not None else None
        self.threshold = self._threshold()

    def _checked_how(self) -> str:
        """The score for the sets, after everything about them is checked."""
        coverage, by = self.promised.coverage, self.promised.by
        assert coverage is not None, "asked only then"
        record = self._known("coverage")
        how = check_how(self.promised.conformal, record, is_ordered=self._model.is_ordered)
        check_coverage(coverage, record, how, by_group=by is not None)
        if by is not None and by != record.by:
            held = "without groups" if record.by is None else f"by {record.by!r}"
            raise ConfigError(
                f"`by` is {by!r}, but the model was calibrated {held}. Calibrate it with rows that have the column:"
                f" `predgen calibrate RUN --data FILE --by {by}`."
            )
        return how

    def _known(self, name: str) -> CalibrationRecord:
        """The calibration, which has to be there."""
        if self._record is None:
            raise ConfigError(
                f"`{name}` needs a calibrated model, but this one is not: it was saved by an earlier version, trained with"
                " `calibrate` off, or had too few validation rows. Give it rows: `predgen calibrate RUN --data FILE`."
            )
        return self._record

    def _threshold(self) -> ConfidenceThreshold | None:
        """Which rows are answered; None: all."""
        most, least = self.promised.max_error, self.promised.min_confidence
        if most is None and least is None:
            return None
        if most is not None and least is not None:
            raise ConfigError("`max_error` finds the threshold that `min_confidence` sets: give one of them.")
        if not self._labels:
            raise ConfigError(
                f"`{self.promised.names[-1]}` goes by the probability of a label, but this model predicts"
                f" {'numbers' if self._model.setup.kind == 'regression' else 'math answers'}; numbers have `coverage`."
            )
        if most is not None:
            return threshold_for_error(self._known("max_error"), most)
        assert least is not None, "one of them is given"
        return threshold_of(self._record, least)

    def decoding(self, decoding: Decoding) -> Decoding:
        """What to ask of the model: large grids are expanded as they were for calibration."""
        whole = whole_decoding(self._model)
        if self.how is None or not whole.distribution:
            return decoding
        return replace(whole, distribution=True)

    def groups(self, rows: Sequence[Mapping[str, Any]]) -> list[str] | None:
        """Group of each row; None without groups.

        Raises:
            DataError: If a row lacks the column.
        """
        by = self.promised.by
        return None if by is None else groups_of(rows, by)

    def sets(self, rows: Sequence[Mapping[str, Any]], predictions: Sequence[Prediction]) -> list[list[int]]:
        """Places of the labels in each row's set, in class order."""
        record, how, coverage = self._asked()
        told = np.array([p.probabilities for p in predictions], dtype=np.float64).reshape(-1, len(self._labels))
        if not len(told):
            return []
        found = label_sets(record, how, told, coverage, self.groups(rows))
        return [np.flatnonzero(row).tolist() for row in found]

    def intervals(
        self, rows: Sequence[Mapping[str, Any]], predictions: Sequence[Prediction]
    ) -> list[tuple[float, float]]:
        """Lower and upper end of each row's interval."""
        record, how, coverage = self._asked()
        if not predictions:
            return []
        bounds = self._model.scale.bounds
        found = number_intervals(record, how, Spread.of(predictions), coverage, self.groups(rows), bounds)
        return [(low, high) for low, high in found.tolist()]

    def _asked(self) -> tuple[CalibrationRecord, str, float]:
        """What sets are made from."""
        assert self._record is not None
        assert self.how is not None
        assert self.promised.coverage is not None
        return self._record, self.how, self.promised.coverage

    @property
    def small_groups(self) -> list[str]:
        """Groups with too few calibration rows for the coverage: their rows get everything."""
        if self.promised.by is None or self._record is None or self.how is None or self.promised.coverage is None:
            return []
        needed = least_rows(self.promised.coverage, self.how)
        groups = self._record.groups
        return sorted(group for group in set(groups) if groups.count(group) < needed)

    def in_words(self) -> list[str]:
        """What is known of promises before the first row is predicted, in lines to show."""
        promised, threshold, found = self.promised, self.threshold, []
        if small := self.small_groups:
            found.append(
                f"Too few calibration rows for coverage {promised.coverage} in {len(small)} groups, such as"
                f" {in_line(small[0])!r}: their rows get everything."
            )
        if threshold is not None:
            share = (
                ""
                if threshold.error is None
                else f"; of calibration rows {threshold.answered:.0%} are, {threshold.error:.1%} of them wrong"
            )
            promise = (
                "" if threshold.max_error is None else f", at most {threshold.max_error:.1%} of them wrong (90 % sure)"
            )
            found.append(f"Rows of confidence {threshold.confidence:.4g} and above are answered{promise}{share}.")
        return found

    def columns(self) -> tuple[str, ...]:
        """Names of the columns that are written."""
        sets = () if self.how is None else ("set",) if self._labels else ("lower", "upper")
        return (*sets, *(() if self.threshold is None else ("abstained",)))

    def cells(
        self, rows: Sequence[Mapping[str, Any]], predictions: Sequence[Prediction], classes: Sequence[Any]
    ) -> list[dict[str, Any]]:
        """Cells of each row.

        Args:
            rows: Rows as they were read.
            predictions: Theirs.
            classes: Labels as they are written, in class order.
        """
        found: list[dict[str, Any]] = [{} for _ in predictions]
        if self.how is not None and self._labels:
            for cells, places in zip(found, self.sets(rows, predictions), strict=True):
                cells["set"] = [classes[place] for place in places]
        elif self.how is not None:
            for cells, ends in zip(found, self.intervals(rows, predictions), strict=True):
                cells |= {n: e if math.isfinite(e) else None for n, e in zip(("lower", "upper"), ends, strict=True)}
        if self.threshold is not None:
            for cells, p in zip(found, predictions, strict=True):
                cells["abstained"] = max(p.probabilities or (0.0,)) < self.threshold.confidence
        return found


def groups_of(rows: Sequence[Mapping[str, Any]], by: str) -> list[str]:
    """Return the group of each row, the text of its cell; a missing cell is a group of its own, "".

    Raises:
        DataError: If a row lacks the column.
    """
    for number, row in enumerate(rows, start=1):
        if by not in row:
            raise DataError(
                f"row {number} has no column {by!r}, which `by` names.{near_matches(by, row)} Its columns:"
                f" {', '.join(map(repr, row))}."
            )
    return ["" if is_missing(row[by]) else label_of(row[by], {}) for row in rows]
