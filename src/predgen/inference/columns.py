"""The columns that predictions add to a row."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from predgen.core import Decoding, Prediction
from predgen.data.cells import label_of
from predgen.decodings import rule_of
from predgen.errors import ConfigError, DataError
from predgen.inference.trained import TrainedModel


@dataclass(frozen=True, slots=True)
class PredictionColumns:
    """Which columns are added.

    Attributes:
        labels: Labels whose probabilities are written.
        quantiles: Levels of quantiles.
        distribution: Whether numbers are written with all their probabilities.
        legal_mass: Whether the full-vocabulary mass of the legal answers is written.
        unexpanded: Whether the mass that quantiles leave unexpanded is written.
        promised: Columns of what is promised: `Guarantee.columns`.
    """

    labels: tuple[str, ...]
    quantiles: tuple[float, ...]
    distribution: bool
    legal_mass: bool
    unexpanded: bool
    promised: tuple[str, ...] = ()

    def line(self, row: Mapping[str, Any], prediction: Prediction, kept: Mapping[str, Any]) -> dict[str, Any]:
        """One output row.

        Args:
            row: The row as it was read.
            prediction: What is predicted for it.
            kept: Cells of what was promised: `Guarantee.cells`.

        Raises:
            DataError: If the row already has one of the columns.
        """
        added = self._cells(prediction) | {name: kept.get(name) for name in self.promised}
        clash = [name for name in added if name in row]
        if clash:
            raise DataError(f"the input already has the column {clash[0]!r}, which the predictions need; rename it.")
        return {**row, **added}

    def numbers(self) -> tuple[str, ...]:
        """Columns that hold numbers, whatever their cells look like."""
        return (
            *(f"p({label})" for label in self.labels),
            *(("legal_mass",) if self.legal_mass else ()),
            *(f"q({level})" for level in self.quantiles),
            *(("unexpanded",) if self.unexpanded else ()),
            *(name for name in self.promised if name in ("lower", "upper")),
        )

    def _cells(self, prediction: Prediction) -> dict[str, Any]:
        """Cells of one prediction."""
        cells: dict[str, Any] = {"prediction": prediction.value}
        known = (prediction.probabilities or (None,) * len(self.labels)) if self.labels else ()
        cells |= {f"p({label})": value for label, value in zip(self.labels, known, strict=True)}
        if self.legal_mass:
            cells["legal_mass"] = prediction.legal_mass
        numbers = prediction.distribution
        cells |= {f"q({level})": None if numbers is None else numbers.quantile(level) for level in self.quantiles}
        if self.unexpanded:
            cells["unexpanded"] = None if numbers is None else numbers.unexpanded
        if self.distribution:
            cells["distribution"] = None if numbers is None else numbers.to_dict()
        return cells


def labels_to_write(trained: TrainedModel, proba: bool, decoding: Decoding) -> tuple[str, ...]:
    """Labels whose probabilities are written.

    Raises:
        ConfigError: If the model or the decoding gives none.
    """
    if proba and decoding.how is not None and rule_of(decoding.how, decoding.own).reads == "text":
        raise ConfigError("`proba` needs constrained decoding: a freely written text has no probabilities of labels.")
    if proba and not trained.labels:
        raise ConfigError(
            "`proba` needs a classifier, but this model predicts numbers; use --distribution or --quantiles."
        )
    return tuple(label_of(label, {}) for label in trained.classes) if proba else ()
