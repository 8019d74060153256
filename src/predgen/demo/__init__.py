"""The demonstration: data, training runs and table."""
