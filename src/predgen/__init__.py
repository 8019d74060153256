"""Predicting with language models by generating (PredGen)."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_EXPORTS = {
    "Asker": "predgen.asking.asker",
    "Choice": "predgen.questions.kinds",
    "NumberQuestion": "predgen.questions.kinds",
    "PredGenClassifier": "predgen.estimators",
    "PredGenRegressor": "predgen.estimators",
    "RunConfig": "predgen.config",
    "Score": "predgen.questions.kinds",
    "YesNo": "predgen.questions.kinds",
    "ask": "predgen.asking.asker",
    "load": "predgen.inference.trained",
    "load_targets": "predgen.inference.targets",
    "train": "predgen.training.run",
    "train_targets": "predgen.training.run",
}
__all__ = [
    "Asker",
    "Choice",
    "NumberQuestion",
    "PredGenClassifier",
    "PredGenRegressor",
    "RunConfig",
    "Score",
    "YesNo",
    "__version__",
    "ask",
    "load",
    "load_targets",
    "train",
    "train_targets",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'predgen' has no attribute {name!r}")
