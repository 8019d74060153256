"""Scheduled sampling: which tokens the model is fed."""
