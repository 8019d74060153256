"""Where predictions go and what they are read from: files, pipes, standard input and output. No torch here."""

import os
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from predgen.data.lines import STDIN
from predgen.data.sources import READERS
from predgen.errors import ConfigError
from predgen.inference.formats import SUFFIXES, TEXT_FORMATS, format_of
from predgen.inference.part import RowsDone, tidy_finished

STDOUT = Path("/dev/stdout")
"""Stands for `-` as an output."""


@runtime_checkable
class RowSink(Protocol):
    """Takes rows."""

    progress: RowsDone

    def add(self, data: bytes, rows: int, flags: Mapping[str, int]) -> None:
        """Take complete rows."""
        ...

    def finish(self, finished: Callable[[Path, Path], Path]) -> None:
        """All rows were given."""
        ...

    def discard(self) -> None:
        """Nothing that was given is to stay."""
        ...


class StandardOutput(RowSink):
    """Writes rows to standard output; whoever reads it has them as soon as their window is done."""

    def __init__(self) -> None:
        self.progress = RowsDone(0, 0, {})

    def add(self, data: bytes, rows: int, flags: Mapping[str, int]) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        before = self.progress
        counts = {name: before.flags.get(name, 0) + flags.get(name, 0) for name in {**before.flags, **flags}}
        self.progress = RowsDone(before.rows + rows, before.size + len(data), counts)

    def finish(self, finished: Callable[[Path, Path], Path]) -> None:
        """Nothing is left to do."""

    def discard(self) -> None:
        """What was written has been read."""


def input_of(source: str | Path) -> Path:
    """The input; `-` is standard input."""
    return STDIN if str(source) == "-" else Path(source)


def output_of(out: str | Path) -> Path:
    """The output; `-` is standard output, a link is the file it points to, so that the link stays."""
    return STDOUT if str(out) in ("-", str(STDOUT)) else Path(os.path.realpath(out))


def is_stream(path: Path) -> bool:
    """Whether an input can be read once only: standard input, a pipe, a device."""
    return path == STDIN or (path.exists() and not stat.S_ISREG(path.stat().st_mode) and not path.is_dir())


def reader_of(source: Path, given: str | None) -> str | None:
    """The reader of an input (see `read_rows`); None: its suffix says.

    Raises:
        ConfigError: If the format is unknown, or a stream is to be read that names none.
    """
    allowed = TEXT_FORMATS if is_stream(source) else tuple(READERS.values())
    if given is None and is_stream(source):
        given = "jsonl" if source == STDIN else READERS.get(source.suffix.lower())
        if given not in allowed:
            raise ConfigError(f"{str(source)!r} is a pipe; say with --from what it holds: {', '.join(allowed)}.")
    if given is not None and given not in allowed:
        raise ConfigError(f"--from is {given!r}; allowed for {str(source)!r}: {', '.join(allowed)}.")
    return given


def check_output(source: str | Path, out: str | Path, *, overwrite: bool, out_format: str | None = None) -> str:
    """Refuse an output that cannot or must not be written, before a model is loaded; return its format.

    Raises:
        ConfigError: If its format is unknown, it is a folder or the input, lies in no folder, cannot be written, or exists.
    """
    source, out = input_of(source), output_of(out)
    if out == STDOUT:
        return format_of(out, out_format or "jsonl", "--to", TEXT_FORMATS)
    found = format_of(out, out_format, "--to", tuple(SUFFIXES.values()))
    if out.is_dir():
        raise ConfigError(f"`out` {str(out)!r} is a folder; give a file.")
    if not out.parent.is_dir():
        raise ConfigError(f"`out` {str(out)!r} lies in a folder that does not exist; make {str(out.parent)!r} first.")
    if out.exists() and source.exists() and out.samefile(source):
        raise ConfigError(f"`out` {str(out)!r} is the input file; choose another file.")
    if out.exists() and not overwrite:
        tidy_finished(out)
        raise ConfigError(f"`out` {str(out)!r} exists. Choose another file, or give --overwrite.")
    if out.exists() and not out.is_file():
        raise ConfigError(f"`out` {str(out)!r} is no ordinary file; give `-` to write to standard output.")
    if not os.access(out.parent, os.W_OK):
        raise ConfigError(f"`out` {str(out)!r} lies in a folder that you may not write to. Choose another.")
    return found
