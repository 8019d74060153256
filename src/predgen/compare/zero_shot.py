"""The base model as it is, writing under the constraint of the answer format, as a baseline."""

from collections.abc import Sequence
from typing import ClassVar

from predgen.baselines.base import Baseline
from predgen.compare.measuring import MeasuredModel
from predgen.config import RunConfig
from predgen.core import Example, Prediction
from predgen.training.rows import TrainingData
from predgen.training.run import zero_shot


class ZeroShot(Baseline):
    """Trains nothing; the training rows fix the labels and the numbers' grid only."""

    fits: ClassVar[bool] = False

    def fit(self, config: RunConfig, data: TrainingData) -> None:
        trained = zero_shot(config, data)
        self._model = MeasuredModel(trained)
        self.labels = trained.labels
        self.facts = {"engine": trained.model.engine}

    def predict(self, rows: Sequence[Example]) -> list[Prediction]:
        return self._model.predict(rows)

    def counts(self, rows: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, int]:
        return self._model.counts(rows, predictions)
