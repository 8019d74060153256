"""Typed questions about a state, their answers, and files of both; no model in here."""
