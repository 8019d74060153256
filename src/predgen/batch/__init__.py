"""Predicting many rows at many places: a callable for batches, and folders of files, here or on a cluster."""

from predgen.batch.folder import predict_folder
from predgen.batch.predictor import BatchPredictor as Predictor

__all__ = ["Predictor", "predict_folder"]
