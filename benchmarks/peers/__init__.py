"""What one would use instead of predgen, each as one would write it with transformers."""
