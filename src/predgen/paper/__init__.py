"""The PredGen paper: its settings and its published numbers."""
