"""From predictions to what a record holds: figures, columns, curves."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from predgen.baselines.base import Baseline
from predgen.components import NO_SETTINGS
from predgen.config import RunConfig
from predgen.core import Example, Prediction, TaskSpec
from predgen.evaluation import counts
from predgen.inference.facts import facts_of, facts_of_distributions, names_of_figures, whole_decoding
from predgen.inference.trained import TrainedModel
from predgen.metrics.base import metrics_of
from predgen.metrics.measure import measure
from predgen.records import Predictions

_MAX_POINTS = 200  # of a curve: more is not seen in a drawing
_TOP = 5  # answers per row whose probabilities are kept
_DIGITS = 5  # significant digits of stored probabilities
_CURVES = ("loss", "writer_loss", "director_loss", "p", "learning_rate")


@dataclass(frozen=True, slots=True)
class MeasuredModel:
    """A trained model with the prediction that is its method's own; measured as a `Baseline` is."""

    trained: TrainedModel

    @property
    def labels(self) -> tuple[str, ...]:
        """Class labels, in the order of all probabilities; empty for numbers."""
        return self.trained.labels

    def predict(self, rows: Sequence[Example]) -> list[Prediction]:
        """Predict rows."""
        return self.trained.predict_examples(rows, decoding=whole_decoding(self.trained.model))

    def counts(self, rows: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, int]:
        """Count what went wrong, see `evaluation.counts`."""
        return counts(self.trained, rows, predictions)


def row_facts(
    fitted: MeasuredModel | Baseline, kind: str, examples: Sequence[Example], predictions: Sequence[Prediction]
) -> dict[str, list[float]]:
    """What is measured of each row's distribution, its set or interval; nothing of baselines without any."""
    targets = target_values(examples)
    if isinstance(fitted, MeasuredModel):
        return facts_of(fitted.trained.model, fitted.trained.calibration, targets, predictions)
    return facts_of_distributions(targets, predictions) if kind == "regression" else {}


def figures(
    config: RunConfig,
    task: TaskSpec,
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    labels: Sequence[str],
    facts: Mapping[str, list[float]] = NO_SETTINGS,
) -> dict[str, float | None]:
    """All metrics of the task that can be computed from predictions, and those of their distributions.

    Args:
        config: The run's settings.
        task: The task it was trained on.
        examples: Rows with targets.
        predictions: One for each.
        labels: What the probabilities are of; empty for numbers.
        facts: See `row_facts`.
    """
    names, values = names_of_figures(task.kind, metrics_of(config.metric, task)), [p.value for p in predictions]
    told = (target_values(examples), values, _table(predictions), labels)
    return defined(measure(names, *told, own=config.own, facts=facts))


def columns(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    labels: Sequence[str],
    facts: Mapping[str, list[float]] = NO_SETTINGS,
) -> Predictions:
    """Return predictions, row by row, as a record keeps them; see `figures`."""
    probabilities = _table(predictions)
    spread: dict[str, Any] = {}
    if predictions and all(p.distribution is not None for p in predictions):
        found = [p.distribution for p in predictions if p.distribution is not None]
        spread = {
            "mean": [d.mean() for d in found],
            "interval": [[d.quantile(0.05), d.quantile(0.95)] for d in found],
            "top": [_best(d.support.tolist(), d.probabilities.tolist()) for d in found],
        }
    elif probabilities is not None:
        spread = {"top": [_best(labels, row) for row in probabilities]}
    flags = sorted({flag for p in predictions for flag in p.flags})
    return Predictions(
        row_id=[example.row_id for example in examples],
        target=target_values(examples),
        value=[p.value for p in predictions],
        probabilities=_shortened(probabilities),
        labels=list(labels) if probabilities is not None else [],
        flags={flag: [i for i, p in enumerate(predictions) if flag in p.flags] for flag in flags},
        facts=dict(facts),
        **spread,
    )


def _table(predictions: Sequence[Prediction]) -> list[list[float]] | None:
    """Probabilities of labels, N x K; None where a row has none."""
    if not predictions or any(p.probabilities is None for p in predictions):
        return None
    return [[float(value) for value in p.probabilities or ()] for p in predictions]


def defined(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no nan."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def target_values(examples: Sequence[Example]) -> list[Any]:
    """Targets; measured rows all have one."""
    return [example.target.value for example in examples if example.target is not None]


def _best(answers: Sequence[Any], probabilities: Sequence[float]) -> list[list[Any]]:
    """The most probable answers, each with its probability."""
    order = sorted(range(len(answers)), key=lambda i: -probabilities[i])[:_TOP]
    return [[answers[i], _short(probabilities[i])] for i in order]


def _short(value: float) -> float:
    """A probability or loss with as many digits as a reader needs; records stay small.

    Numbers on the targets' scale keep all of theirs: at an offset of 1.7e9 these digits would be the offset.
    """
    return float(f"{float(value):.{_DIGITS}g}")


def _shortened(table: list[list[float]] | None) -> list[list[float]] | None:
    """`_short` for a table."""
    return None if table is None else [[_short(value) for value in row] for row in table]


def curves(log: Sequence[Mapping[str, Any]], validation: str) -> dict[str, list[Any]]:
    """Curves by optimizer step, thinned evenly."""
    steps = [entry for entry in log if "loss" in entry]
    stride = max(1, math.ceil(len(steps) / _MAX_POINTS))
    steps = steps[::stride]
    curves: dict[str, list[Any]] = {"step": [entry["step"] for entry in steps]}
    for name in _CURVES:
        if any(name in entry for entry in steps):
            curves[name] = [_finite(entry.get(name)) for entry in steps]
    looks = [entry for entry in log if validation in entry]
    curves["validation_step"] = [entry["step"] for entry in looks]
    curves["validation_value"] = [_finite(entry[validation]) for entry in looks]
    return curves


def _finite(value: Any) -> float | None:  # noqa: ANN401
    """A short number, or None where it is missing or not finite."""
    return _short(value) if isinstance(value, int | float) and math.isfinite(value) else None
