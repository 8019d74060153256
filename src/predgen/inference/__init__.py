"""Predicting files of any size."""
