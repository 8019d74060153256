"""Putting a new model into the place of an old one.

A kill at any moment leaves the old one, the new one, or a folder that the next save or --resume puts in order.

RUN/.saving-X/           the new model while it is written
RUN/.saving-X/leaving/   parts of the old model, its predgen.json first, while they are moved out
RUN/.saving-X/old/       the same once all are out and those of the new one are moved in, its predgen.json last
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from predgen.errors import BusyError, StorageError
from predgen.files import locked, sync

MANIFEST = "predgen.json"
TRAINED_ROWS = "trained-rows.json"
CARD = "README.md"
MODEL_PARTS = ("adapter", "base", "head.safetensors", TRAINED_ROWS, CARD)
_STAGING, _LEAVING, _OLD = ".saving-", "leaving", "old"


@contextmanager
def exchanging(folder: Path) -> Iterator[Path]:
    """Yield a folder to write a model into, which then takes the place of the one in `folder`.

    Raises:
        BusyError: If another process is saving there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        bring_back(folder)
        staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=folder))
        try:
            yield staging
            sync(staging)
            _exchange(staging, folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def is_staging(path: Path) -> bool:
    """Whether a path is what a killed save left; links are not: nothing is ever moved out of another place."""
    inside = (path, path / _LEAVING, path / _OLD)
    return path.name.startswith(_STAGING) and path.is_dir() and not any(p.is_symlink() for p in inside)


def holds_old_model(staging: Path) -> bool:
    """Whether a killed save left the older model there."""
    return any((staging / name / MANIFEST).exists() for name in (_LEAVING, _OLD))


def bring_back_for_reader(folder: Path) -> None:
    """Bring an older model back for somebody who wants to load it, if this is possible: nobody saves there, and one may write."""
    if not (folder / MANIFEST).exists() and folder.is_dir() and any(map(_is_interrupted, folder.iterdir())):
        with suppress(OSError, BusyError, StorageError), locked(folder):
            bring_back(folder)


def _is_interrupted(path: Path) -> bool:
    """Whether a killed save left the older model in there."""
    return is_staging(path) and holds_old_model(path)


def bring_back(folder: Path) -> None:
    """Put a folder in order after a save that was killed; the caller holds its lock.

    Where the manifest is in its place, the exchange had not begun, or was complete. Where it is not, the old model, if
    there was one, comes back whole: nobody has been told that the new one was saved.
    """
    for staging in [path for path in folder.iterdir() if is_staging(path)]:
        if not (folder / MANIFEST).exists():
            _undo(staging, folder)
        shutil.rmtree(staging)


def _exchange(staging: Path, folder: Path) -> None:
    """Put new files in the place of the old ones, which come back if that fails."""
    leaving = staging / _LEAVING
    leaving.mkdir()
    try:
        _move((MANIFEST, *MODEL_PARTS), folder, leaving)
        os.replace(leaving, staging / _OLD)
        _move((*MODEL_PARTS, MANIFEST), staging, folder)
    except BaseException:  # Ctrl-C, too, brings the old files back
        _undo(staging, folder)
        raise


def _undo(staging: Path, folder: Path) -> None:
    """Take back an exchange, from wherever it stopped; a kill in here leaves what this can go on with.

    `old` says that parts in the folder are new, `leaving` that they are old: one rename turns the one state into the other
    when the last new part is gone.
    """
    if (staging / _OLD).exists():
        for name in (MANIFEST, *MODEL_PARTS):
            _remove(folder / name)
        os.replace(staging / _OLD, staging / _LEAVING)
    _move((*MODEL_PARTS, MANIFEST), staging / _LEAVING, folder)


def _move(names: tuple[str, ...], source: Path, target: Path) -> None:
    """Move what is there, in this order."""
    for name in names:
        if (source / name).exists():
            os.replace(source / name, target / name)


def _remove(path: Path) -> None:
    """Delete a file or folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
