"""Where an export goes: a folder that is new, and whole or not there."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from predgen.errors import ConfigError
from predgen.files import draft_of, holdings, locked, sync, told_in_words


def check_place(out: Path) -> None:
    """Refuse a place that holds something: an export replaces nothing.

    Raises:
        ConfigError: If it is a file, or a folder that is not empty.
    """
    if out.exists() and (not out.is_dir() or holdings(out)):
        what = "a folder that is not empty" if out.is_dir() else "a file"
        raise ConfigError(f"`output` {str(out)!r} is {what}. Choose another folder, or remove this one.")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield a folder beside `out` to write into, which takes that name once all is written.

    Raises:
        ConfigError: If there is something in `out` already.
        BusyError: If another process is writing there.
        StorageError: If the disk is full, or the place may not be written.
    """
    check_place(out)
    with told_in_words(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.is_dir():
            out.rmdir()  # empty: the lock is to lie beside it
    draft = draft_of(out)
    with locked(out):
        try:
            with told_in_words(out):
                shutil.rmtree(draft, ignore_errors=True)  # of a call that was killed
                draft.mkdir()
                yield draft
                sync(draft)
                os.replace(draft, out)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
