"""Matched experiments: a grid of runs with equal data and steps, their records, and what they show."""
