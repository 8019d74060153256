"""An output under way: what is done so far lies beside it, so that a call after a kill goes on from there.

OUT.part            rows, as they will stand in OUT
OUT.progress.json   how many rows, in how many bytes of it, are complete
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from predgen.errors import ConfigError, DataError, PredgenError
from predgen.files import draft_of, locked, told_in_words, write_text
from predgen.plain_data import read_json

_LARGEST_STATE = 1 << 20  # bytes; a real one has some hundred
_Count = Annotated[int, Field(ge=0)]
_AGAIN = "give the same command again to go on"


@dataclass(frozen=True, slots=True)
class RowsDone:
    """How far an output has come.

    Attributes:
        rows: Complete rows.
        size: Bytes that hold them.
        flags: Flag -> how many of these rows carry it.
    """

    rows: int
    size: int
    flags: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _State:
    """What `out.progress.json` holds.

    Attributes:
        key: Tells what it belongs to; empty where no call goes on with it.
        digest: SHA-256 of the rows.
        rows: See `RowsDone`.
        size: See `RowsDone`.
        flags: See `RowsDone`.
        finished: SHA-256 of the file that is about to take the output's place; empty before that.
    """

    key: str
    digest: str
    rows: _Count
    size: _Count
    flags: dict[str, _Count]
    finished: str = ""


class PartFile:
    """The rows of `out` that are done. The caller holds the lock of `out`.

    Args:
        out: The output.
        key: Tells input, model and settings; a part of others is not gone on with. None: the input cannot be read a second
            time, so each call starts anew.
        count: Counts the rows in a part file.

    Raises:
        ConfigError: If the part there belongs to something else or is damaged.
        StorageError: If it cannot be written.
    """

    def __init__(self, out: Path, key: str | None, count: Callable[[Path], int]) -> None:
        self.out = out
        self.path, self._log = _beside(out)
        self._key = key
        self._count = count
        self._digest = hashlib.sha256()
        with told_in_words(out):
            self.progress = self._resumed()

    def add(self, data: bytes, rows: int, flags: Mapping[str, int]) -> None:
        """Append complete rows; once this returns they survive a power cut."""
        with told_in_words(self.out, _AGAIN):
            with self.path.open("ab") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            self._digest.update(data)
            before = self.progress
            counted = dict(Counter(before.flags) + Counter(flags))
            self.progress = RowsDone(before.rows + rows, before.size + len(data), counted)
            if self._key is not None:
                self._note()

    def finish(self, finished: Callable[[Path, Path], Path]) -> None:
        """Check once more that the part holds what it should, then put what `finished` makes of it into the place of `out`.

        Args:
            finished: Part and draft -> which of the two is the output; see `RowFormat.finished`.
        """
        draft = draft_of(self.out)
        with told_in_words(self.out, _AGAIN):
            self._require_rows(self.progress, self._digest.hexdigest())
            try:
                made = finished(self.path, draft)
                # Noted first: a kill after the next line leaves files that nobody goes on with, and this says so.
                digest = self._digest if made == self.path else _digest_of(made)
                self._note(finished=digest.hexdigest())
                os.replace(made, self.out)
            except BaseException:  # Ctrl-C, too, leaves no draft behind
                with suppress(OSError):
                    draft.unlink()
                raise
            self.discard()

    def discard(self) -> None:
        """Remove part and state."""
        _remove(self.path, self._log)

    def _note(self, finished: str = "") -> None:
        """Write the state."""
        state = _State(self._key or "", self._digest.hexdigest(), **asdict(self.progress), finished=finished)
        write_text(self._log, json.dumps(asdict(state)), is_held=True)

    def _resumed(self) -> RowsDone:
        """Cut an interrupted output back to what is known to be complete; start a new one where there is none."""
        if self._key is None or not self._log.exists() or not self.path.exists():
            self.path.write_bytes(b"")
            self._log.unlink(missing_ok=True)
            return RowsDone(0, 0, {})
        state = self._read()
        progress = RowsDone(state.rows, state.size, state.flags)
        if self.path.stat().st_size > progress.size:
            with self.path.open("r+b") as file:
                file.truncate(progress.size)
        self._require_rows(progress, state.digest)
        return progress

    def _read(self) -> _State:
        """The state, every field checked: a wrong count would lose or repeat rows."""
        again = f"{self._delete()}."
        state: _State = read_json(self._log, _State, most_bytes=_LARGEST_STATE, error=ConfigError, repair=again)
        if state.key != self._key:
            raise ConfigError(
                f"{str(self.path)!r} is the unfinished output of another input, model or setting. {self._delete()}, or"
                " choose another `out`."
            )
        return state

    def _require_rows(self, wanted: RowsDone, digest: str) -> None:
        """Read what was written: it must hold as many rows, and the same bytes; their digest goes on from here."""
        size = self.path.stat().st_size
        if size != wanted.size:
            raise ConfigError(
                f"{str(self.path)!r} is {'shorter' if size < wanted.size else 'longer'} than the {wanted.size} bytes that"
                f" were written to it. {self._delete()}."
            )
        try:
            rows = self._count(self.path) if size else 0
        except DataError as error:
            raise ConfigError(f"{str(self.path)!r} is damaged: {error} {self._delete()}.") from error
        if rows != wanted.rows:
            raise ConfigError(f"{str(self.path)!r} holds {rows} rows instead of {wanted.rows}. {self._delete()}.")
        self._digest = _digest_of(self.path)
        if self._digest.hexdigest() != digest:
            raise ConfigError(f"{str(self.path)!r} holds other bytes than were written to it. {self._delete()}.")

    def _delete(self) -> str:
        """How to start again."""
        return f"Delete {str(self.path)!r} and {str(self._log)!r} to start again"


def tidy_finished(out: Path) -> None:
    """Remove what a call has left that was killed after its output was in place; of an unfinished one, nothing is touched."""
    part, log = _beside(out)
    with suppress(PredgenError, OSError), locked(out):
        if log.exists() and out.is_file():
            state: _State = read_json(log, _State, most_bytes=_LARGEST_STATE, error=ConfigError, repair="")
            if state.finished and state.finished == _digest_of(out).hexdigest():
                _remove(part, log)


def _beside(out: Path) -> tuple[Path, Path]:
    """Part and state of an output."""
    return Path(f"{out}.part"), Path(f"{out}.progress.json")


def _remove(part: Path, log: Path) -> None:
    """Remove a part before its state: a part without one is a part of nothing."""
    part.unlink(missing_ok=True)
    log.unlink(missing_ok=True)


def _digest_of(path: Path) -> "hashlib._Hash":
    """SHA-256 of a file, which may go on."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256")


def no_longer_the_same(source: Path, before: os.stat_result) -> bool:
    """Whether a file was changed or exchanged since: rows read from it may belong to neither version."""
    try:
        now = source.stat()
    except OSError:
        return True
    facts = ("st_size", "st_mtime_ns", "st_ino", "st_dev")
    return any(getattr(now, name) != getattr(before, name) for name in facts)
