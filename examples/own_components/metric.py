"""Metric `sure_accuracy`: share of rows whose label is right and whose probability is high enough."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from predgen.metrics.base import Metric
from predgen.metrics.rows import Rows
from predgen.registries import metrics
from predgen.settings import Settings, setting


@dataclass(frozen=True)
class SureSettings(Settings):
    """Settings of metric `sure_accuracy`."""

    sure_above: float = setting(
        0.6, "Metric 'sure_accuracy': least probability of the label to count.", low=0.0, high=1.0
    )


def sure_accuracy(settings: SureSettings) -> Metric:
    """Return the metric with its threshold."""

    def scores(rows: Rows) -> npt.NDArray[np.float64]:
        assert rows.probabilities is not None, "the metric needs probabilities"
        is_sure = rows.probabilities.max(axis=1) >= settings.sure_above
        return ((rows.targets == rows.predictions) & is_sure).astype(np.float64)

    return Metric(
        "sure_accuracy",
        "classification",
        greater_is_better=True,
        scores=scores,
        needs_probabilities=True,
        bounds=(0, 1),
    )


metrics.register(
    "sure_accuracy", f"{__name__}:sure_accuracy", "share of labels that are right and sure", settings=SureSettings
)
