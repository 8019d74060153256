"""Codecs: answer value <-> token ids, and the space of legal answers."""
