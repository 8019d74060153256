"""What is measured of each row's distribution, beside its point: for figures of evaluations, experiments and training."""

from collections.abc import Sequence

import numpy as np

from predgen.core import Decoding, Prediction
from predgen.metrics.distributions import DESCRIBED
from predgen.metrics.weighted import Floats
from predgen.models.base import PLAIN, PredictionModel
from predgen.models.writer import WritingModel
from predgen.uncertainty.conformal import check_how, label_sets, least_rows, number_intervals
from predgen.uncertainty.record import CalibrationRecord
from predgen.uncertainty.scores import Spread

COVERAGE = 0.9
"""What sets and intervals in figures are asked to cover."""

OF_DISTRIBUTIONS = {"classification": ("log_loss", "brier", "ece", "aurc"), "regression": ("crps",), "math": ()}
"""Kind of task -> metrics of its probabilities, measured wherever there are any."""


def whole_decoding(model: PredictionModel) -> Decoding:
    """The method's own prediction, with the distribution where numbers are written from a finite grid.

    It is in memory for all rows at once: a large grid is expanded in as many nodes as one pass takes, and rows for which
    these do not suffice are counted as "partly_expanded". Calibrated intervals are made so, too.
    """
    if model.setup.kind != "regression" or not isinstance(model, WritingModel):
        return PLAIN
    return Decoding(distribution=True, max_nodes=model.max_tree_nodes)


def names_of_figures(kind: str, names: Sequence[str], *, is_ordered: bool = False) -> list[str]:
    """Return the names of all metrics that a model is measured by.

    Args:
        kind: Kind of task.
        names: Those of the run and its task.
        is_ordered: Whether its labels are levels.
    """
    levels = ("qwk",) if is_ordered else ()
    described = [name for name, metric in DESCRIBED.items() if metric.kind == kind]
    return list(dict.fromkeys([*names, *OF_DISTRIBUTIONS[kind], *levels, *described]))


def facts_of(
    model: PredictionModel,
    calibration: CalibrationRecord | None,
    targets: Sequence[str | float],
    predictions: Sequence[Prediction],
) -> dict[str, list[float]]:
    """Return facts of rows, by name, for `measure`; those that the predictions do not give are left out.

    Args:
        model: What predicted.
        calibration: Its calibration; None: there is none, and intervals of numbers are between its own quantiles.
        targets: True labels or numbers.
        predictions: By the method's own decoding.
    """
    if model.setup.labels:
        return _of_sets(model, calibration, targets, predictions)
    numbers = np.array(targets, dtype=np.float64) if model.setup.kind == "regression" else np.empty(0)
    found = facts_of_distributions(numbers.tolist(), predictions) if len(numbers) else {}
    ends = _intervals(model, calibration, predictions) if len(numbers) else None
    if ends is not None:
        inside = (ends[:, 0] <= numbers) & (numbers <= ends[:, 1])
        found |= {"coverage": inside.astype(float).tolist(), "width": (ends[:, 1] - ends[:, 0]).tolist()}
    return found


def facts_of_distributions(targets: Sequence[float], predictions: Sequence[Prediction]) -> dict[str, list[float]]:
    """Return CRPS and log score of each row's distribution of numbers, as far as all rows have them.

    Args:
        targets: True numbers.
        predictions: Predictions of numbers.
    """
    known = [p.distribution for p in predictions if p.distribution is not None]
    if not known or len(known) < len(predictions):
        return {}
    pairs = list(zip(known, targets, strict=True))
    exact = [value for d, y in pairs if (value := d.log_score(float(y))) is not None]
    scores = {"crps": [d.crps(float(y)) for d, y in pairs]}
    return scores | ({"number_nll": exact} if len(exact) == len(pairs) else {})


def _of_sets(
    model: PredictionModel,
    calibration: CalibrationRecord | None,
    targets: Sequence[str | float],
    predictions: Sequence[Prediction],
) -> dict[str, list[float]]:
    """Facts of label sets: whether the true one is inside, and how many there are."""
    if calibration is None or any(p.probabilities is None for p in predictions):
        return {}
    how = check_how(None, calibration, is_ordered=model.is_ordered)
    if calibration.rows < least_rows(COVERAGE, how):
        return {}
    sets = label_sets(calibration, how, np.array([p.probabilities for p in predictions]), COVERAGE)
    place = {label: i for i, label in enumerate(model.setup.labels)}
    columns = np.array([place.get(str(target), -1) for target in targets])
    inside = np.where(columns < 0, False, sets[np.arange(len(columns)), columns])
    return {"set_coverage": inside.astype(float).tolist(), "set_size": sets.sum(axis=1).astype(float).tolist()}


def _intervals(
    model: PredictionModel, calibration: CalibrationRecord | None, predictions: Sequence[Prediction]
) -> Floats | None:
    """90 % intervals: calibrated ones, or else between the model's own quantiles; None where there is neither."""
    if any(p.value is None for p in predictions):
        return None
    spread = Spread.of(predictions)
    if calibration is None:
        tail = (1 - COVERAGE) / 2
        if spread.ends is None:
            return None
        return np.array(
            [[p.distribution.quantile(tail), p.distribution.quantile(1 - tail)] for p in predictions if p.distribution]
        )
    how = check_how(None, calibration, is_ordered=False)
    if calibration.rows < least_rows(COVERAGE, how) or (how == "cqr" and spread.ends is None):
        return None
    return number_intervals(calibration, how, spread, COVERAGE, bounds=model.scale.bounds)
