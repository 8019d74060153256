"""Trained models behind HTTP: one thread runs them, for all clients at once."""
