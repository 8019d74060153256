"""How much of the answer a representation holds: mutual information, measured on saved models."""
