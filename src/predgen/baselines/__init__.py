"""What every method has to beat, by name in `registries.baselines`: a constant, linear models, and peers of equal cost."""
