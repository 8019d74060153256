"""Rows of any source -> examples -> padded tensors."""
