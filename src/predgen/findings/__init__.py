"""What the records of an experiment show: figures, differences, order of methods, as plain data and tables."""
