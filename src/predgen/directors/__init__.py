"""Task adapters over the states of generated tokens."""
