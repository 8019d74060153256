"""What a model's probabilities are worth: temperature, sets and intervals with a coverage, and when to say nothing.

Everything here is numpy on columns of calibration rows; no model and no torch. The rows are such that chose no checkpoint.
"""
