"""Base models that are had by name, or from a GGUF file: a folder of safetensors in the user's cache."""
