"""Files that are written whole or not at all, by one process at a time.

Everything the package writes goes through here: a lock says who writes a place, a draft beside it takes its place once it
is complete and on the disk, and what a full disk or a missing permission says becomes one readable error.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from predgen.errors import BusyError, ConfigError, StorageError

_WAIT_S = 10.0  # for another process to finish a small file: it takes milliseconds
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_UNFIT = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENOTDIR, errno.ENAMETOOLONG}


@contextmanager
def locked(place: Path, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold an output, a file or an existing folder, for this thread alone; taking it again inside is allowed.

    The system lets go of it when the process ends, however it ends. The lock's own file (`.lock` in a folder, `.NAME.lock`
    beside a file) means nothing by being there; it is removed while it is still held, and whoever has opened it meanwhile
    sees that it has no name any more and tries again.

    Args:
        place: What is going to be written.
        wait_s: Seconds to wait for another writer.

    Raises:
        BusyError: If somebody else is writing there.
        StorageError: If the lock cannot be made.
    """
    place = Path(os.path.realpath(place))
    path = place / ".lock" if place.is_dir() else place.with_name(f".{place.name}.lock")
    lock = FileLock(path, is_singleton=True, poll_interval=0.02)
    try:
        with told_in_words(place):
            lock.acquire(timeout=wait_s)
    except Timeout:
        raise BusyError(
            f"{str(place)!r} is being written by another process. Wait until it has ended, or choose another place."
        ) from None
    try:
        yield
    finally:
        if lock.lock_counter == 1:
            with suppress(OSError):  # Windows removes no open file
                path.unlink()
        lock.release()


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Make a folder, if need be, and hold it; one that was made and stayed empty is removed again.

    Raises:
        ConfigError: If it is a file.
        BusyError: If somebody else is writing there.
        StorageError: If it cannot be made.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"`out` {str(folder)!r} is a file; give a folder.")
    is_new = not folder.exists()
    with told_in_words(folder, only_writes=True):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder):
            yield
    finally:
        if is_new:
            with suppress(OSError):  # there is something in it
                folder.rmdir()


def holdings(folder: Path) -> list[Path]:
    """What is in a folder, without the locks and drafts that a killed process left."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(p for p in found if not (p.name.startswith(".") and p.name.endswith((".lock", ".new"))))


def tidy(folder: Path) -> None:
    """Remove what processes that were killed have left in a folder: drafts, and locks of files that nobody holds any more."""
    for path in list(folder.glob(".*.lock")) if folder.is_dir() else ():
        place = path.with_name(path.name.removeprefix(".").removesuffix(".lock"))
        with suppress(BusyError, StorageError), locked(place):  # which removes the lock
            draft_of(place).unlink(missing_ok=True)


def draft_of(path: Path) -> Path:
    """Where a file is written before it takes its place."""
    return path.with_name(f".{path.name}.new")


@contextmanager
def replacing(path: Path, *, is_held: bool = False) -> Iterator[Path]:
    """Yield a draft beside `path`, which takes its place when the block has ended well; a kill leaves the old file.

    Where `path` is a link, the file it points to is replaced and the link stays.

    Args:
        path: The file.
        is_held: The caller holds a lock under which alone this file is written, such as that of its folder: it gets none of
            its own, and a kill leaves none.

    Raises:
        BusyError: If somebody else has been writing it for seconds.
        StorageError: If the disk is full or the folder may not be written; the draft is removed, the old file is untouched.
    """
    path = Path(os.path.realpath(path))
    draft = draft_of(path)
    with nullcontext() if is_held else locked(path, wait_s=_WAIT_S):
        try:
            with told_in_words(path, only_writes=True):
                yield draft
                sync(draft)
                os.replace(draft, path)
        except BaseException:  # Ctrl-C, too, leaves no draft behind
            with suppress(OSError):
                draft.unlink()
            raise


def write_text(path: Path, text: str, *, errors: str = "strict", is_held: bool = False) -> None:
    """Write a UTF-8 text file, whole or not at all; see `replacing`."""
    with replacing(path, is_held=is_held) as draft:
        draft.write_text(text, encoding="utf-8", errors=errors)


def sync(path: Path) -> None:
    """Have the system put a file, or all files below a folder, on the disk: a name must not survive a power cut without them."""
    for file in path.rglob("*") if path.is_dir() else (path,):
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())


@contextmanager
def told_in_words(place: Path, then: str = "", *, only_writes: bool = False) -> Iterator[None]:
    """Turn what the system says where `place` cannot be written into an error with a remedy.

    torch and safetensors hide the system's error number behind errors of their own; what they raise while they write is
    known by its words.

    Args:
        place: What is written in the block.
        then: What to do once the place can be written, e.g. "go on with --resume".
        only_writes: The block does nothing but write there, so that every error of the system is about that.

    Raises:
        StorageError: If the disk is full, or the place may not be written or is gone.
    """
    try:
        yield
    except Exception as error:  # that of a full disk has many classes; others are raised again
        reason = _reason(error, only_writes)
        if reason is None:
            raise
        raise StorageError(f"{str(place)!r} cannot be written: {reason}{f'; then {then}' if then else ''}.") from error


def _reason(error: Exception, only_writes: bool) -> str | None:
    """Why something could not be written, with the remedy; None for an error that is about something else."""
    if not isinstance(error, OSError | RuntimeError) and type(error).__name__ != "SafetensorError":
        return None
    number = error.errno if isinstance(error, OSError) else _hidden_number(str(error))
    if number in _FULL:
        return f"disk full ({os.strerror(number)}). Make room, or choose another place"
    if number in _UNFIT:
        return f"{os.strerror(number)}. Choose a place that you may write to"
    if only_writes and isinstance(error, OSError):
        return f"{error.strerror or error}. Check that the place is there and may be written"
    return None


def _hidden_number(words: str) -> int | None:
    """The error number in the words of safetensors or torch; None where they are not about writing."""
    for number in _FULL | _UNFIT:
        if f"os error {number})" in words or os.strerror(number) in words:
            return number
    # torch.save says no more than this, at its end that fewer bytes were written than it thought, or what its stream says.
    is_torch = any(said in words for said in ("PytorchStreamWriter failed writing", "unexpected pos", "iostream error"))
    return errno.ENOSPC if is_torch else None
