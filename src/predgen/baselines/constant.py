"""The floor: the training rows' mean, or their most frequent label or answer, for every row."""

import statistics
from collections import Counter
from collections.abc import Sequence

from predgen.baselines.base import Baseline, targets_of
from predgen.config import RunConfig
from predgen.core import Example, Prediction
from predgen.training.rows import TrainingData


class Constant(Baseline):
    """Says the same of every row; a label comes with the labels' shares among the training rows."""

    def fit(self, config: RunConfig, data: TrainingData) -> None:
        targets = targets_of(data.train)
        if data.task.kind == "regression":
            self._said = Prediction(statistics.fmean(targets))
            return
        counts = Counter(targets)
        value = counts.most_common(1)[0][0]
        if data.task.kind == "math":
            self._said = Prediction(value)
            return
        self.labels = tuple(sorted(counts))
        self._said = Prediction(value, tuple(counts[label] / len(targets) for label in self.labels))

    def predict(self, rows: Sequence[Example]) -> list[Prediction]:
        return [self._said] * len(rows)
