"""The three prediction methods."""
