"""Registrations of a test, undone at its end."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from predgen import registries


@contextmanager
def registrations_undone(*modules: str) -> Iterator[None]:
    """Leave registries as they were, and the modules (or packages) that registered something unknown to Python."""
    kinds = registries.by_name().values()
    before = [{key: dict(value) for key, value in vars(kind).items() if isinstance(value, dict)} for kind in kinds]
    try:
        yield
    finally:
        for kind, state in zip(kinds, before, strict=True):
            vars(kind).update(state)
        for name in [name for name in sys.modules if name in modules or name.partition(".")[0] in modules]:
            del sys.modules[name]
