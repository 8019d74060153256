"""The folder of a saved model: what it holds, how it is written, and how it is read."""
