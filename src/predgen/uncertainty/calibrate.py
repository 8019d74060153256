"""From predictions of calibration rows to what is saved of them, and to what is said of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from predgen.core import Prediction
from predgen.errors import DataError
from predgen.metrics.classification import LOG_LOSS
from predgen.metrics.distributions import CRPS
from predgen.metrics.probabilities import BRIER, ECE, N_BINS, confidence, reliability
from predgen.metrics.weighted import Floats
from predgen.uncertainty.record import LEAST_ROWS, CalibrationRecord
from predgen.uncertainty.scores import OF_LABELS, Spread
from predgen.uncertainty.temperature import fit_temperature, log_loss_at

_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)  # quantiles whose share of lower targets is told
_DIGITS = 6
BINS = f"{N_BINS} of equal width over P(predicted label)"
"""What bins ECE and reliability have."""


@dataclass(frozen=True, slots=True)
class CalibrationRows:
    """True answers of calibration rows, with their groups.

    Attributes:
        targets: Texts of labels, or numbers.
        by: Column of the groups; None: there are none.
        groups: Group of each row, as text; empty without.
    """

    targets: Sequence[str | float]
    by: str | None = None
    groups: tuple[str, ...] = ()

    def check(self, labels: Sequence[str]) -> None:
        """Refuse rows that say nothing about the model.

        Args:
            labels: The model's labels; empty for numbers.

        Raises:
            DataError: If there are too few, one label alone, or one that the model does not know.
        """
        if len(self.targets) < LEAST_ROWS:
            raise DataError(
                f"there are {len(self.targets)} calibration rows, but at least {LEAST_ROWS} are needed: fewer say little of"
                " how far probabilities can be trusted. Give more rows."
            )
        if not labels:
            return
        unseen = sorted({str(target) for target in self.targets} - set(labels))
        if unseen:
            raise DataError(
                f"calibration rows have the label {unseen[0]!r}, which the model does not know; it has"
                f" {', '.join(map(repr, labels))}. Correct the rows, or leave them out."
            )
        if len(set(self.targets)) == 1:
            raise DataError(
                f"all {len(self.targets)} calibration rows have the label {self.targets[0]!r}: they say nothing of the others."
                " Give rows of the kind that will be predicted."
            )


def temperature_of_labels(rows: CalibrationRows, plain: Sequence[Prediction], labels: Sequence[str]) -> float:
    """Fit the temperature of label probabilities.

    Args:
        rows: True labels.
        plain: Predictions at temperature 1.
        labels: The model's labels, in the order of probabilities.
    """
    place = {label: index for index, label in enumerate(labels)}
    told = [np.array(p.probabilities, dtype=np.float64) for p in plain]
    return fit_temperature(told, [place[str(target)] for target in rows.targets])


def temperature_of_numbers(rows: CalibrationRows, written: Sequence[Prediction]) -> float:
    """Fit the temperature of the numbers that are written, before a head moves them.

    Args:
        rows: True numbers; the nearest of those that can be written stands for each.
        written: Predictions with the writer's distribution at temperature 1.
    """
    return fit_temperature(*_at_targets(rows, written))


def nll_of_numbers(
    rows: CalibrationRows, written: Sequence[Prediction] | None, temperature: float
) -> tuple[float | None, float | None]:
    """Return -mean log P of the numbers nearest to the true ones, as written: at temperature 1, and at the one given.

    Args:
        rows: True numbers.
        written: Predictions with the writer's distribution at temperature 1; None: nothing is written.
        temperature: Another temperature.
    """
    if written is None:
        return None, None
    told = _at_targets(rows, written)
    return log_loss_at(1.0, *told), log_loss_at(temperature, *told)


def _at_targets(rows: CalibrationRows, written: Sequence[Prediction]) -> tuple[list[Floats], list[int]]:
    """Probabilities of each row's numbers, and the place of the one nearest to the true one."""
    pairs = zip([p.distribution for p in written], rows.targets, strict=True)
    told = [(d.probabilities, int(np.abs(d.support - float(y)).argmin())) for d, y in pairs if d is not None]
    return [own for own, _ in told], [place for _, place in told]


def record_of_labels(
    rows: CalibrationRows, told: Sequence[Prediction], labels: Sequence[str], temperature: float
) -> CalibrationRecord:
    """Return what is kept of labels' calibration rows; `told` are predictions at the temperature."""
    probabilities = np.array([p.probabilities for p in told], dtype=np.float64)
    place = {label: index for index, label in enumerate(labels)}
    at = np.arange(len(told)), np.array([place[str(target)] for target in rows.targets])
    scores = {name: tuple(of_labels(probabilities)[at].tolist()) for name, of_labels in OF_LABELS.items()}
    sure = tuple(probabilities.max(axis=1).tolist())
    right = tuple(p.value == target for p, target in zip(told, rows.targets, strict=True))
    return CalibrationRecord(len(told), temperature, scores, sure, right, rows.by, rows.groups)


def record_of_numbers(rows: CalibrationRows, told: Sequence[Prediction], temperature: float) -> CalibrationRecord:
    """Return what is kept of numbers' calibration rows; `told` are predictions at the temperature."""
    found = Spread.of(told).scores(np.array(rows.targets, dtype=np.float64))
    scores = {name: tuple(values.tolist()) for name, values in found.items()}
    return CalibrationRecord(len(told), temperature, scores, by=rows.by, groups=rows.groups)


def facts_of_labels(rows: CalibrationRows, told: Sequence[Prediction], labels: Sequence[str]) -> dict[str, Any]:
    """Return NLL, Brier score, ECE and reliability of label probabilities, as plain JSON data."""
    columns = ([*rows.targets], [p.value for p in told], [p.probabilities for p in told], labels)
    checked = ECE.rows(*columns)
    bins = reliability(*confidence(checked))
    return {
        "nll": _short(LOG_LOSS.on(checked)),
        "brier": _short(BRIER.on(checked)),
        "ece": _short(ECE.on(checked)),
        "reliability": [
            {"low": low, "high": high, "rows": n, "confidence": _short(sure), "right": _short(right)}
            for low, high, n, sure, right in bins
        ],
    }


def facts_of_numbers(rows: CalibrationRows, told: Sequence[Prediction], nll: float | None = None) -> dict[str, Any]:
    """Return NLL, CRPS and the share of targets at or below quantiles, as plain JSON data.

    Args:
        rows: True numbers.
        told: Predictions, with their distributions where there are any.
        nll: That of the numbers as they are written; None: that of `told`, where all numbers are run.
    """
    targets = [float(target) for target in rows.targets]
    known = [p.distribution for p in told if p.distribution is not None]
    if len(known) < len(told):
        return {"crps": _short(CRPS(targets, [p.value for p in told]))}
    scores = [d.log_score(y) for d, y in zip(known, targets, strict=True)]
    exact = [value for value in scores if value is not None]
    if nll is None and len(exact) == len(scores):
        nll = math.fsum(exact) / len(exact)
    below = {level: [y <= d.quantile(level) for d, y in zip(known, targets, strict=True)] for level in _LEVELS}
    return {
        "nll": None if nll is None else _short(nll),
        "crps": _short(math.fsum(d.crps(y) for d, y in zip(known, targets, strict=True)) / len(known)),
        "quantiles": [{"level": level, "at_or_below": _short(float(np.mean(hits)))} for level, hits in below.items()],
    }


def summary(
    record: CalibrationRecord, before: dict[str, Any], after: dict[str, Any], *, bins: str = "", remark: str = ""
) -> dict[str, Any]:
    """Return what a run's report says of its calibration; the figures are those of the rows that the temperature was fitted on."""
    named = {"by": record.by, "bins": bins, "remark": remark}
    told = {name: text for name, text in named.items() if text}
    return {"rows": record.rows, "temperature": record.temperature, **told, "before": before, "after": after}


def _short(value: float) -> float | None:
    """A figure for a report; None for nan."""
    return None if math.isnan(value) else float(f"{value:.{_DIGITS}g}")
