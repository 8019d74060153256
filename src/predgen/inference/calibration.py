"""Calibrate a trained model on rows that chose nothing of it: predictions -> temperature -> scores -> what is saved."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from predgen.core import Prediction
from predgen.data.encode import Encoded
from predgen.errors import ConfigError
from predgen.inference.facts import whole_decoding
from predgen.inference.trained import TrainedModel
from predgen.models.base import PredictionModel
from predgen.models.writer import WritingModel
from predgen.uncertainty import calibrate as columns
from predgen.uncertainty.calibrate import CalibrationRows
from predgen.uncertainty.record import CalibrationRecord
from predgen.uncertainty.temperature import tempered


def calibrate(
    trained: TrainedModel,
    encoded: Sequence[Encoded],
    rows: CalibrationRows,
    *,
    plain: Sequence[Prediction] | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Fit a model's temperature and keep its conformal scores; the model has both afterwards, and its report says so.

    The temperature of numbers is that of what is written, before a head moves it; where it makes what has been moved worse, by
    CRPS, it is left out. The same rows fit it and give the scores:
    it is one number, so that a new row's score and theirs remain exchangeable but for a term of order 1 / N
    (docs/uncertainty.md has a simulation).

    Args:
        trained: The model.
        encoded: Rows that neither trained it nor chose its checkpoint.
        rows: Their true answers and groups.
        plain: What the model predicts of them at temperature 1, by `whole_decoding`; None: it is predicted here.
        on_batch: Called with the number of rows after each batch.

    Returns:
        What the report says, see `uncertainty.calibrate.summary`.

    Raises:
        ConfigError: For math answers, which have no distribution.
        DataError: If the rows say nothing about the model.
    """
    model, labels = trained.model, trained.labels
    if model.setup.kind == "math":
        raise ConfigError("this is a math model, whose answers have no distribution: there is nothing to calibrate.")
    rows.check(labels)
    before = model.temperature
    model.temperature = 1.0
    try:
        plain = _predicted(trained, encoded, on_batch) if plain is None else plain
        found = (_of_labels if labels else _of_numbers)(trained, encoded, rows, plain)
    except BaseException:
        model.temperature = before
        raise
    trained.calibration, trained.report["calibration"] = found
    return found[1]


_Found = tuple[CalibrationRecord, dict[str, Any]]


def _of_labels(
    trained: TrainedModel, encoded: Sequence[Encoded], rows: CalibrationRows, plain: Sequence[Prediction]
) -> _Found:
    """What is kept, and said, of label probabilities; `plain` are those at temperature 1."""
    labels = trained.labels
    temperature = columns.temperature_of_labels(rows, plain, labels)
    told = [_tempered(p, temperature) for p in plain]
    record = columns.record_of_labels(rows, told, labels, temperature)
    facts = [columns.facts_of_labels(rows, found, labels) for found in (plain, told)]
    trained.model.temperature = temperature
    return record, columns.summary(record, *facts, bins=columns.BINS)


def _of_numbers(
    trained: TrainedModel, encoded: Sequence[Encoded], rows: CalibrationRows, plain: Sequence[Prediction]
) -> _Found:
    """The same of numbers: the temperature is fitted to what is written, and has to do good to what is said."""
    model, told, temperature = trained.model, plain, 1.0
    written = _written(model, plain)
    if written is not None:
        temperature = columns.temperature_of_numbers(rows, written)
        model.temperature = temperature
        told = plain if temperature == 1 else _retold(trained, encoded, plain)
    remark = ""
    nll = columns.nll_of_numbers(rows, written, temperature)
    facts = [columns.facts_of_numbers(rows, found, own) for found, own in zip((plain, told), nll, strict=True)]
    if (
        isinstance(model, WritingModel)
        and model.is_directed
        and temperature != 1
        and facts[1]["crps"] > facts[0]["crps"]
    ):
        remark = (
            f"temperature {temperature:.3g} is the best for what is written, but made what the director has moved worse (CRPS"
            f" {facts[0]['crps']:.4g} -> {facts[1]['crps']:.4g}), so that it was left out"
        )
        model.temperature, temperature, told, facts = 1.0, 1.0, plain, [facts[0], facts[0]]
    record = columns.record_of_numbers(rows, told, temperature)
    return record, columns.summary(record, *facts, remark=remark)


def _predicted(
    trained: TrainedModel, encoded: Sequence[Encoded], on_batch: Callable[[int], None] | None = None
) -> list[Prediction]:
    """Predictions with all that is known of them."""
    return trained.predict_encoded(encoded, decoding=whole_decoding(trained.model), on_batch=on_batch)


def _written(model: PredictionModel, plain: Sequence[Prediction]) -> list[Prediction] | None:
    """Predictions with what is written, unmoved; None for a model that writes nothing."""
    if not isinstance(model, WritingModel):
        return None
    told = [(p, p.distribution) for p in plain]
    return [p if numbers is None else replace(p, distribution=numbers.written or numbers) for p, numbers in told]


def _retold(trained: TrainedModel, encoded: Sequence[Encoded], plain: Sequence[Prediction]) -> Sequence[Prediction]:
    """Predictions at the model's temperature: from those at 1, where they hold the whole grid."""
    model = trained.model
    assert isinstance(model, WritingModel), "what has a temperature of numbers writes them"
    told = [p for p in (model.retold(stated, model.temperature) for stated in plain) if p is not None]
    return told if len(told) == len(plain) else _predicted(trained, encoded)


def _tempered(plain: Prediction, temperature: float) -> Prediction:
    """A prediction of a label at a temperature."""
    told = tempered(np.array(plain.probabilities, dtype=np.float64), temperature)
    return replace(plain, probabilities=tuple(told.tolist()), temperature=temperature)
