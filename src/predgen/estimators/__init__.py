"""scikit-learn estimators: `fit`, `predict`, `predict_proba`, `score`, safe to clone and to search over."""

from predgen.estimators.classifier import PredGenClassifier
from predgen.estimators.regressor import PredGenRegressor

__all__ = ["PredGenClassifier", "PredGenRegressor"]
