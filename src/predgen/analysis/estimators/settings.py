"""Settings of the estimators of mutual information."""

from dataclasses import dataclass

from predgen.settings import Settings, setting


@dataclass(frozen=True)
class RepeatedSettings(Settings):
    """Settings of estimators that learn, and so depend on chance."""

    repeats: int = setting(3, "Seeds of an estimator that learns; the estimate is their mean.", low=1)


@dataclass(frozen=True)
class FoldedSettings(RepeatedSettings):
    """Settings of the linear readout."""

    folds: int = setting(5, "Folds in each of which the readout is fitted on the other rows.", low=2)


@dataclass(frozen=True)
class NeighbourSettings(Settings):
    """Settings of KSG."""

    neighbours: int = setting(
        3, "k: a row's distance to its k-th neighbour is measured.", low=1, source="Kraskov et al. (2004)"
    )
