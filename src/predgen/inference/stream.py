"""Predict a file of any size into another file: constant memory, original order, restartable after a kill."""

import csv
import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, tee
from pathlib import Path
from typing import Any

from predgen.core import Example, Prediction
from predgen.data.examples import iter_examples
from predgen.data.sources import read_rows
from predgen.errors import ConfigError, DataError
from predgen.inference.trained import TrainedModel, count_flags

WINDOW_ROWS = 2048
_Pair = tuple[dict[str, Any], Example]
_FORMATS = (".csv", ".tsv", ".jsonl")


@dataclass(frozen=True, slots=True)
class StreamSummary:
    """What `predict_file` did.

    Attributes:
        rows: Rows in the output.
        resumed_rows: Rows that an earlier, interrupted call had written.
        rows_per_s: Speed of this call, in rows per second.
        flags: How often each flag of `Prediction.flags` was raised in this call.
    """

    rows: int
    resumed_rows: int
    rows_per_s: float
    flags: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Progress:
    """How far an output has come."""

    rows: int
    size: int


def predict_file(
    trained: TrainedModel,
    source: str | Path,
    out: str | Path,
    *,
    proba: bool = False,
    batch_size: int | None = None,
    decode: str = "constrained",
    window_rows: int = WINDOW_ROWS,
    overwrite: bool = False,
    on_rows: Callable[[int], None] | None = None,
) -> StreamSummary:
    """Write each row of `source`, with its prediction, to `out`.

    Rows are read, sorted by length and predicted in windows, and written in their order. What is done stands in
    `out.part`, how much of it is valid in `out.progress.json`; a call after a kill goes on from there, and no row is
    lost or repeated.

    Args:
        trained: The model.
        source: .csv, .tsv, .jsonl, .json or .parquet with the prompt's columns.
        out: .csv, .tsv or .jsonl; all columns of `source`, then `prediction`, then with `proba` one `p(label)` per label.
        proba: Write probabilities (classifiers).
        batch_size: Rows per batch; None: the run's `eval_batch_size`.
        decode: See `TrainedModel.predict_examples`.
        window_rows: Rows in memory at a time.
        overwrite: Replace `out` where it exists.
        on_rows: Called with the number of rows that were done, first with those of an earlier call.

    Raises:
        ConfigError: If `out` exists, has an unknown suffix, or its part file belongs to other input or settings.
        DataError: If the input cannot be read or lacks a column.
    """
    source, out = Path(source), Path(out)
    _check(trained, source, out, proba=proba, overwrite=overwrite)
    part, log = Path(f"{out}.part"), Path(f"{out}.progress.json")
    key = _key(trained, source, proba=proba, decode=decode)
    progress = _resume(part, log, key)
    if on_rows is not None:
        on_rows(progress.rows)
    start, resumed, flags = time.perf_counter(), progress.rows, dict[str, int]()
    rows, again = tee(read_rows(source))  # in lockstep, so that errors count rows from the start of the file
    pairs = islice(zip(rows, iter_examples(again, trained.task), strict=True), progress.rows, None)
    for window in _windows(pairs, window_rows):
        examples = [example for _, example in window]
        predictions = trained.predict_examples(examples, batch_size=batch_size, decode=decode, on_batch=on_rows)
        for flag, count in count_flags(predictions).items():
            flags[flag] = flags.get(flag, 0) + count
        lines = [
            _line(row, p, trained.labels if proba else ()) for (row, _), p in zip(window, predictions, strict=True)
        ]
        text = _text(lines, out.suffix.lower(), with_header=progress.size == 0)
        progress = _append(part, text, _Progress(progress.rows + len(lines), progress.size + len(text)))
        _note(log, key, progress)
    os.replace(part, out)
    log.unlink(missing_ok=True)
    seconds = max(1e-9, time.perf_counter() - start)
    return StreamSummary(progress.rows, resumed, (progress.rows - resumed) / seconds, flags)


def _check(trained: TrainedModel, source: Path, out: Path, *, proba: bool, overwrite: bool) -> None:
    """Refuse what cannot work before anything is written."""
    if out.suffix.lower() not in _FORMATS:
        raise ConfigError(f"`out` {str(out)!r} has the suffix {out.suffix!r}; allowed: {', '.join(_FORMATS)}.")
    if out.exists() and not overwrite:
        raise ConfigError(f"`out` {str(out)!r} exists. Choose another file, or give --overwrite.")
    if not out.parent.is_dir():
        raise ConfigError(f"`out` {str(out)!r} lies in a folder that does not exist; make {str(out.parent)!r} first.")
    if proba and not trained.labels:
        raise ConfigError("`proba` needs a classifier, but this model predicts numbers.")
    added = {"prediction", *(_proba_name(label) for label in trained.labels if proba)}
    clash = sorted(added & set(next(read_rows(source))))
    if clash:
        raise DataError(f"{str(source)!r} already has the column {clash[0]!r}, which the predictions need; rename it.")


def _proba_name(label: str) -> str:
    """Column of a label's probability."""
    return f"p({label})"


def _key(trained: TrainedModel, source: Path, *, proba: bool, decode: str) -> str:
    """Tells whether an interrupted call had the same input, model and settings."""
    stat = source.stat()
    digest = hashlib.sha256()
    with source.open("rb") as file:
        digest.update(file.read(1 << 20))
    model = [trained.config.to_dict(), trained.report, trained.model.setup.to_dict()]
    digest.update(
        json.dumps([stat.st_size, stat.st_mtime_ns, proba, decode, model], sort_keys=True, default=str).encode()
    )
    return digest.hexdigest()


def _resume(part: Path, log: Path, key: str) -> _Progress:
    """Cut an interrupted output back to what is known to be complete; start a new one where there is none."""
    if not log.exists():
        part.write_bytes(b"")
        return _Progress(0, 0)
    state = json.loads(log.read_text(encoding="utf-8"))
    if state["key"] != key:
        raise ConfigError(
            f"{str(part)!r} is the unfinished output of another input, model or setting. Delete it and {str(log)!r}, or"
            " choose another `out`."
        )
    with part.open("r+b") as file:
        file.truncate(state["size"])
    return _Progress(state["rows"], state["size"])


def _windows(rows: Iterator[_Pair], size: int) -> Iterator[list[_Pair]]:
    """Cut a stream into lists."""
    while window := list(islice(rows, size)):
        yield window


def _line(row: Mapping[str, Any], prediction: Prediction, labels: Sequence[str]) -> dict[str, Any]:
    """One output row."""
    probabilities = prediction.probabilities or ()
    columns = {_proba_name(label): p for label, p in zip(labels, probabilities, strict=bool(labels))} if labels else {}
    return {**row, "prediction": prediction.value, **columns}


def _text(lines: Sequence[Mapping[str, Any]], suffix: str, *, with_header: bool) -> bytes:
    """Rows in the output's format."""
    if suffix == ".jsonl":
        return "".join(json.dumps(line, ensure_ascii=False, default=str) + "\n" for line in lines).encode()
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, list(lines[0]), delimiter="\t" if suffix == ".tsv" else ",", lineterminator="\n")
    if with_header:
        writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue().encode()


def _append(part: Path, text: bytes, progress: _Progress) -> _Progress:
    """Write a window to the disk; return how far the output has come."""
    with part.open("ab") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return progress


def _note(log: Path, key: str, progress: _Progress) -> None:
    """Record, atomically, how much of the part file is complete."""
    draft = Path(f"{log}.new")
    draft.write_text(json.dumps({"key": key, "rows": progress.rows, "size": progress.size}), encoding="utf-8")
    os.replace(draft, log)
