"""Predicting every file of a folder: one output for each, written whole or not at all; finished ones are never done again.

folder of files -> one piece per file -> an engine's workers -> an output per file, by `inference.stream.write_rows`

OUT/NAME.SUFFIX     the output of an input NAME
OUT/_predgen.json   what the outputs are of: model, settings, and the inputs as they were; Spark and Ray skip names like it
"""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from predgen.batch.engines import FileEngine, FileForm, FilePiece, InThisProcess, PieceDone
from predgen.batch.request import PredictionRequest
from predgen.data.sources import READERS
from predgen.errors import ConfigError, DataError, some_of
from predgen.files import holdings, locked_folder, write_text
from predgen.inference.formats import SUFFIXES
from predgen.inference.part import tidy_finished
from predgen.plain_data import read_json

JOB_FILE = "_predgen.json"
_SUFFIX_OF = {name: suffix for suffix, name in SUFFIXES.items()}
_LARGEST_JOB = 1 << 28  # bytes, of a million files


@dataclass(frozen=True, slots=True)
class FolderSummary:
    """What `predict_folder` did.

    Attributes:
        files: Files with an output.
        earlier: Those of them that an earlier call had finished.
        without_rows: Files that have no rows, and no output.
        rows: Rows that this call has written outputs of.
        rows_per_s: Speed of this call.
        flags: How often each flag of `Prediction.flags` was raised.
    """

    files: int
    earlier: int
    without_rows: int
    rows: int
    rows_per_s: float
    flags: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Input:
    """An input as it was when its output was asked for."""

    size: Annotated[int, Field(ge=0)]
    changed_ns: int


@dataclass(frozen=True, slots=True)
class _Job:
    """What `_predgen.json` holds.

    Attributes:
        key: Tells model, settings and formats.
        inputs: Name of each input -> how it was.
        is_finished: Whether all of them have their output.
    """

    key: str
    inputs: dict[str, _Input]
    is_finished: bool = False


def predict_folder(
    request: PredictionRequest,
    source: str | Path,
    out: str | Path,
    engine: FileEngine | None = None,
    *,
    source_format: str | None = None,
    out_format: str | None = None,
    safe_csv: bool = False,
    overwrite: bool = False,
    on_begin: Callable[[int, int], None] | None = None,
    on_done: Callable[[PieceDone], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> FolderSummary:
    """Write for each file of `source` one of the same name to `out`, with the columns that `predgen predict` adds.

    After a kill, of a worker or of all, the same call goes on: finished outputs stay, unfinished files go on from their last
    complete window. No row is lost or written twice: an output takes its place in one step, and is never written again.

    Args:
        request: Model, and what is asked of it.
        source: The folder. Files whose names begin with "." or "_" are left out.
        out: Folder of the outputs; it is made.
        engine: Who predicts the files; None: this process, one after the other.
        source_format: Format of the inputs where their suffixes do not say.
        out_format: Format of the outputs; None: each input's own (.jsonl for .json).
        safe_csv: See `predict_file`.
        overwrite: Do finished outputs again, and replace those of another model or of other settings.
        on_begin: Called with the numbers of files, and of those that are finished.
        on_done: Called with each file that is done.
        say: Called with lines about the model.

    Raises:
        ConfigError: If the folder holds something else, or outputs of another model or settings.
        DataError: If files cannot be read or lack a column, after all others are done; or an input was changed.
        BusyError: If another call is at work on `out`.
        StorageError: If the disk is full.
    """
    source, out = Path(source), Path(out)
    pieces = pieces_of(source, out, source_format, out_format)
    form = FileForm(source_format, out_format, safe_csv)
    start, done = time.perf_counter(), list[PieceDone]()
    with locked_folder(out):
        key = _key(request, form)
        waiting = _begun(out, key, pieces, overwrite=overwrite)
        earlier = len(pieces) - len(waiting)
        if on_begin is not None:
            on_begin(len(pieces), earlier)
        for one in (engine or InThisProcess()).run(request, waiting, form, say or (lambda line: None)):
            done.append(one)
            if on_done is not None:
                on_done(one)
        _require_all(done, len(pieces))
        _write_job(out, key, pieces, is_finished=True)
    flags = sum((Counter(one.flags) for one in done), Counter[str]())
    empty, rows = sum(one.rows == 0 and not one.was_there for one in done), sum(one.rows for one in done)
    seconds = max(1e-9, time.perf_counter() - start)
    return FolderSummary(len(pieces) - empty, earlier, empty, rows, rows / seconds, dict(flags))


def pieces_of(source: Path, out: Path, source_format: str | None, out_format: str | None) -> list[FilePiece]:
    """A folder's files, by name, each with its output.

    Raises:
        DataError: If there are none, folders among them, or files that nothing reads.
        ConfigError: If two files would have one output, a format is unknown, or the outputs would lie among the inputs.
    """
    if out_format is not None and out_format not in _SUFFIX_OF:
        raise ConfigError(f"--to is {out_format!r}; allowed: {', '.join(_SUFFIX_OF)}.")
    if source_format is not None and source_format not in READERS.values():
        raise ConfigError(f"--from is {source_format!r}; allowed for a folder: {', '.join(READERS.values())}.")
    if out.exists() and out.samefile(source):
        raise ConfigError(f"`out` {str(out)!r} is the folder of the inputs; choose another one.")
    files = sorted(path for path in source.iterdir() if not path.name.startswith((".", "_")))
    unread = [p.name for p in files if p.is_dir() or (source_format is None and p.suffix.lower() not in READERS)]
    if unread or not files:
        raise DataError(
            f"folder {str(source)!r} holds {some_of([repr(name) for name in unread], 5) if unread else 'no file'}, but must hold"
            f" files to read, and nothing else: {', '.join(READERS)}. Name their format with --from, or give another folder."
        )
    pieces = [_piece(path, out, source_format, out_format) for path in files]
    names = Counter(piece.out.name for piece in pieces)
    if twice := [name for name, count in names.items() if count > 1]:
        raise ConfigError(
            f"{names[twice[0]]} files of {str(source)!r} would have the output {twice[0]!r}. Rename all but one of them."
        )
    return pieces


def _piece(path: Path, out: Path, source_format: str | None, out_format: str | None) -> FilePiece:
    """An input and its output."""
    read_as = source_format or READERS[path.suffix.lower()]
    written_as = out_format or ("jsonl" if read_as == "json" else read_as)
    stat = path.stat()
    return FilePiece(path, out / f"{path.stem}{_SUFFIX_OF[written_as]}", stat.st_size, stat.st_mtime_ns)


def _begun(out: Path, key: str, pieces: list[FilePiece], *, overwrite: bool) -> list[FilePiece]:
    """Take the folder over; returns the pieces that are not finished."""
    before = _known_job(out)
    again = f"give another folder, or --overwrite to predict all files of {str(out)!r} anew"
    if before is not None and overwrite and (before.is_finished or before.key != key):
        _empty(out, before)
        before = None
    if before is not None and before.key != key:
        raise ConfigError(f"{str(out)!r} holds predictions of another model or of other settings; {again}.")
    finished = {piece.out for piece in pieces if piece.out.is_file()}
    for piece in pieces:
        if piece.out in finished:
            tidy_finished(piece.out)
            known = None if before is None else before.inputs.get(piece.source.name)
            if known != _Input(piece.size, piece.changed_ns):
                raise DataError(f"{str(piece.source)!r} was changed since {str(piece.out)!r} was made of it; {again}.")
    _write_job(out, key, pieces)
    return [piece for piece in pieces if piece.out not in finished]


def _known_job(out: Path) -> _Job | None:
    """What the outputs in a folder are of; None: it is empty.

    Raises:
        ConfigError: If the folder holds something else.
    """
    path = out / JOB_FILE
    if not path.is_file():
        if found := holdings(out):
            raise ConfigError(
                f"`out` {str(out)!r} holds {found[0].name!r}, and no predictions of a folder. Choose another folder."
            )
        return None
    job: _Job = read_json(
        path, _Job, most_bytes=_LARGEST_JOB, error=ConfigError, repair="Choose another folder for the outputs."
    )
    return job


def _empty(out: Path, job: _Job) -> None:
    """Remove the outputs of a job, finished or not; the job's file stays until it is replaced."""
    stems = {Path(name).stem for name in job.inputs}
    for path in holdings(out):
        name = path.name.removesuffix(".part").removesuffix(".progress.json")
        if path.is_file() and Path(name).suffix in SUFFIXES and Path(name).stem in stems:
            path.unlink()


def _write_job(out: Path, key: str, pieces: list[FilePiece], *, is_finished: bool = False) -> None:
    """Write down what the outputs are of; inputs of earlier calls that are no longer there have theirs, too."""
    before = _known_job(out)
    inputs = {piece.source.name: _Input(piece.size, piece.changed_ns) for piece in pieces}
    kept = before.inputs if before is not None and before.key == key else {}
    write_text(out / JOB_FILE, json.dumps(asdict(_Job(key, {**kept, **inputs}, is_finished))), is_held=True)


def _key(request: PredictionRequest, form: FileForm) -> str:
    """Tells whether an earlier call had the same model and settings; a model that was moved is the same."""
    asked = {name: value for name, value in asdict(request).items() if not (request.seal and name in ("run", "base"))}
    return hashlib.sha256(repr((sorted(asked.items()), form)).encode()).hexdigest()


def _require_all(done: list[PieceDone], total: int) -> None:
    """Say which files could not be predicted, once all others are done."""
    bad = [one for one in done if one.error]
    if bad:
        told = "; ".join(one.error for one in bad[:3]) + ("; ..." if len(bad) > 3 else "")
        raise DataError(
            f"{len(bad)} of {total} files could not be predicted, all others are done: {told} Repair them, or take them out of the"
            " folder, and give the same command again."
        )
