"""The floor: the training rows' mean, or their most frequent label or answer, for every row."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from predgen.baselines.base import Baseline, targets_of
from predgen.config import RunConfig
from predgen.core import Example, Prediction
from predgen.training.rows import TrainingData


class Constant(Baseline):
    """Says the same of every row; a label comes with the labels' shares among the training rows.

    Rows count by their weights. Class weights are left aside: with them, no label is more frequent than another.
    """

    def fit(self, config: RunConfig, data: TrainingData) -> None:
        targets, weights = targets_of(data.train), [row.weight for row in data.train if row.target is not None]
        if data.task.kind == "regression":
            self._said = Prediction(float(np.average(targets, weights=weights)))
            return
        counts: dict[Any, float] = defaultdict(float)
        for target, weight in zip(targets, weights, strict=True):
            counts[target] += weight
        value = max(counts, key=counts.__getitem__)
        if data.task.kind == "math":
            self._said = Prediction(value)
            return
        self.labels = tuple(sorted(counts))
        self._said = Prediction(value, tuple(counts[label] / sum(weights) for label in self.labels))

    def predict(self, rows: Sequence[Example]) -> list[Prediction]:
        return [self._said] * len(rows)
