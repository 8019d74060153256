"""Ways to join writer and director loss."""
