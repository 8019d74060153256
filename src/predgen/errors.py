"""Errors a user can repair. Each message says what, where, what is allowed and how to repair it."""

from collections.abc import Sequence
from typing import NamedTuple


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


class NoRowsError(DataError):
    """A source is whole and has no rows."""


class CodecError(PredgenError):
    """A value cannot be written with the codec's tokens, or a tokenizer cannot spell it."""


class QuestionFault(NamedTuple):
    """One thing that is wrong with a question.

    Attributes:
        where: The key, below the question's name where there are several: "urgent.options.1".
        what: What is there, and what may be.
    """

    where: str
    what: str


class QuestionError(PredgenError):
    """Questions that cannot be asked.

    Attributes:
        faults: Everything that is wrong with them.
    """

    def __init__(self, faults: Sequence[QuestionFault]) -> None:
        super().__init__(tuple(faults))
        self.faults = tuple(faults)

    def __str__(self) -> str:
        """Return all faults in a line."""
        return "; ".join(f"`{fault.where}` {fault.what}" for fault in self.faults) + ". Correct the question."


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
