"""Tasks, each declared as data in one short file."""
