"""Errors a user can repair. Each message says what, where, what is allowed and how to repair it."""

from collections.abc import Sequence


def some_of(names: Sequence[str], most: int = 20) -> str:
    """Return names for a message, and how many there are where they are too many to read.

    Example:
        >>> some_of(["'a'", "'b'", "'c'"], most=2)
        "'a', 'b', ... (3 in all)"
    """
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])}, ... ({len(names)} in all)"


class PredgenError(ValueError):
    """Base class of all errors that `predgen` raises on purpose."""


class ConfigError(PredgenError):
    """A setting is unknown, out of range or contradicts another one."""


class DataError(PredgenError):
    """A file, a column or a row cannot be used as it is."""


class CodecError(PredgenError):
    """A value cannot be written with the codec's tokens, or a tokenizer cannot spell it."""


class ModelError(PredgenError):
    """A base model is missing, damaged, or lacks something that the method needs."""


class NotFiniteError(ModelError):
    """A model's scores are nan or infinite, so that it has no answer."""


class SavedModelError(PredgenError):
    """A saved run is incomplete, damaged, or belongs to another base model."""


class TrainingError(PredgenError):
    """Training had to stop, for instance because the loss was no longer finite."""


class StorageError(PredgenError):
    """A place cannot be written: the disk is full, or permission is missing."""


class BusyError(PredgenError):
    """Another process is writing the same place."""


class UnverifiedWarning(UserWarning):
    """A saved model of an older version, whose files cannot be compared with digests."""


class RenamedWarning(UserWarning):
    """A setting of an older version that has another name now."""
