"""Predict a file of any size into another file: constant memory, original order, restartable after a kill."""

import csv
import hashlib
import io
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice, tee
from pathlib import Path
from typing import Any

from predgen.core import Decoding, Example, Prediction
from predgen.data.cells import CellError, field_text, is_missing, label_of, plain
from predgen.data.examples import iter_examples
from predgen.data.sources import read_rows
from predgen.distribution import check_levels
from predgen.errors import ConfigError, DataError
from predgen.inference.trained import TrainedModel, count_flags
from predgen.models.base import PLAIN

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
        flags: How often each flag of `Prediction.flags` was raised, over all rows.
    """

    rows: int
    resumed_rows: int
    rows_per_s: float
    flags: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Progress:
    """How far an output has come: rows, the bytes that hold them, the flags they raised."""

    rows: int
    size: int
    flags: Mapping[str, int]


def predict_file(
    trained: TrainedModel,
    source: str | Path,
    out: str | Path,
    *,
    proba: bool = False,
    quantiles: Sequence[float] = (),
    batch_size: int | None = None,
    decoding: Decoding = PLAIN,
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
        out: .csv, .tsv or .jsonl; all columns of `source`, then `prediction`, then what is asked for: one `p(label)` per
            label, `legal_mass`, one `q(level)` per level, `distribution` (numbers and probabilities, as JSON).
        proba: Write probabilities (classifiers).
        quantiles: Levels, 0..1, of quantiles to write (regressors).
        batch_size: Rows per batch; None: as many as the run's `eval_batch_tokens` allow.
        decoding: See `TrainedModel.predict`.
        window_rows: Rows in memory at a time.
        overwrite: Replace `out` where it exists.
        on_rows: Called with the number of rows that were done, first with those of an earlier call.

    Raises:
        ConfigError: If `out` exists, has an unknown suffix, or its part file belongs to other input or settings.
        DataError: If the input cannot be read or lacks a column.
    """
    source, out = Path(source), Path(out)
    check_output(source, out, overwrite=overwrite)
    check_levels(quantiles)
    outputs = _Outputs(
        _labels(trained, proba, decoding),
        tuple(dict.fromkeys(quantiles)),
        decoding.distribution,
        decoding.full_vocabulary,
    )
    asked = replace(decoding, distribution=decoding.distribution or bool(quantiles))
    trained.resolved(asked)
    columns = tuple(_line(next(read_rows(source)), Prediction(None), outputs))
    part, log = Path(f"{out}.part"), Path(f"{out}.progress.json")
    key = _key(trained, source, [asdict(outputs), asdict(asked), batch_size, window_rows, out.suffix.lower()])
    progress = _resume(part, log, key)
    if on_rows is not None:
        on_rows(progress.rows)
    start, resumed = time.perf_counter(), progress.rows
    rows, again = tee(read_rows(source))  # in lockstep, so that errors count rows from the start of the file
    pairs = islice(zip(rows, iter_examples(again, trained.task), strict=True), progress.rows, None)
    for window in _windows(pairs, window_rows):
        examples = [example for _, example in window]
        predictions = trained.predict_examples(examples, batch_size=batch_size, decoding=asked, on_batch=on_rows)
        own = trained.in_own_labels(predictions)
        lines = [_line(row, p, outputs) for (row, _), p in zip(window, own, strict=True)]
        text = _text(lines, out.suffix.lower(), columns, done=progress.rows)
        _append(part, text)
        flags = dict(Counter(progress.flags) + Counter(count_flags(predictions)))
        progress = _Progress(progress.rows + len(lines), progress.size + len(text), flags)
        _note(log, key, progress)
    os.replace(part, out)
    log.unlink(missing_ok=True)
    seconds = max(1e-9, time.perf_counter() - start)
    return StreamSummary(progress.rows, resumed, (progress.rows - resumed) / seconds, progress.flags)


def check_output(source: str | Path, out: str | Path, *, overwrite: bool) -> None:
    """Refuse an output that cannot or must not be written, before a model is loaded.

    Raises:
        ConfigError: If it has an unknown suffix, is a folder or the input, lies in no folder, or exists.
    """
    source, out = Path(source), Path(out)
    if out.suffix.lower() not in _FORMATS:
        raise ConfigError(f"`out` {str(out)!r} has the suffix {out.suffix!r}; allowed: {', '.join(_FORMATS)}.")
    if out.is_dir():
        raise ConfigError(f"`out` {str(out)!r} is a folder; give a file.")
    if not out.parent.is_dir():
        raise ConfigError(f"`out` {str(out)!r} lies in a folder that does not exist; make {str(out.parent)!r} first.")
    if out.exists() and source.exists() and out.samefile(source):
        raise ConfigError(f"`out` {str(out)!r} is the input file; choose another file.")
    if out.exists() and not overwrite:
        raise ConfigError(f"`out` {str(out)!r} exists. Choose another file, or give --overwrite.")


@dataclass(frozen=True, slots=True)
class _Outputs:
    """Columns that are added to a row.

    Attributes:
        labels: Labels whose probabilities are written.
        quantiles: Levels of quantiles.
        distribution: Whether numbers are written with all their probabilities.
        legal_mass: Whether the full-vocabulary mass of the legal answers is written.
    """

    labels: tuple[str, ...]
    quantiles: tuple[float, ...]
    distribution: bool
    legal_mass: bool

    def of(self, prediction: Prediction) -> dict[str, Any]:
        """Cells of one prediction."""
        cells: dict[str, Any] = {"prediction": prediction.value}
        known = (prediction.probabilities or (None,) * len(self.labels)) if self.labels else ()
        cells |= {f"p({label})": value for label, value in zip(self.labels, known, strict=True)}
        if self.legal_mass:
            cells["legal_mass"] = prediction.legal_mass
        numbers = prediction.distribution
        cells |= {f"q({level})": None if numbers is None else numbers.quantile(level) for level in self.quantiles}
        if self.distribution:
            cells["distribution"] = None if numbers is None else numbers.to_dict()
        return cells


def _labels(trained: TrainedModel, proba: bool, decoding: Decoding) -> tuple[str, ...]:
    """Labels whose probabilities are written."""
    if proba and decoding.how == "free":
        raise ConfigError("`proba` needs constrained decoding: a freely written text has no probabilities of labels.")
    if proba and not trained.labels:
        raise ConfigError(
            "`proba` needs a classifier, but this model predicts numbers; use --distribution or --quantiles."
        )
    return tuple(label_of(label, {}) for label in trained.classes) if proba else ()


def _key(trained: TrainedModel, source: Path, options: list[Any]) -> str:
    """Tells whether an interrupted call had the same input, model and settings."""
    stat = source.stat()
    digest = hashlib.sha256()
    with source.open("rb") as file:
        digest.update(file.read(1 << 20))
    model = [trained.config.to_dict(), trained.report, trained.model.setup.to_dict()]
    facts = [stat.st_size, stat.st_mtime_ns, options, model]
    digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _resume(part: Path, log: Path, key: str) -> _Progress:
    """Cut an interrupted output back to what is known to be complete; start a new one where there is none."""
    if not log.exists() or not part.exists():
        part.write_bytes(b"")
        return _Progress(0, 0, {})
    delete = f"Delete {str(part)!r} and {str(log)!r} to start again"
    try:
        state = json.loads(log.read_text(encoding="utf-8"))
        known, progress = state["key"], _Progress(int(state["rows"]), int(state["size"]), dict(state["flags"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{str(log)!r}, the state of an unfinished output, is damaged. {delete}.") from error
    if known != key:
        raise ConfigError(
            f"{str(part)!r} is the unfinished output of another input, model or setting. {delete}, or choose another `out`."
        )
    if part.stat().st_size < progress.size:
        raise ConfigError(f"{str(part)!r} is shorter than the {progress.size} bytes that were written to it. {delete}.")
    with part.open("r+b") as file:
        file.truncate(progress.size)
    return progress


def _windows(rows: Iterator[_Pair], size: int) -> Iterator[list[_Pair]]:
    """Cut a stream into lists."""
    while window := list(islice(rows, size)):
        yield window


def _line(row: Mapping[str, Any], prediction: Prediction, outputs: _Outputs) -> dict[str, Any]:
    """One output row."""
    added = outputs.of(prediction)
    clash = [name for name in added if name in row]
    if clash:
        raise DataError(f"the input already has the column {clash[0]!r}, which the predictions need; rename it.")
    return {**row, **added}


def _text(lines: Sequence[Mapping[str, Any]], suffix: str, columns: Sequence[str], *, done: int) -> bytes:
    """Rows in the output's format; `done` rows stand before them."""
    if suffix == ".jsonl":
        return b"".join(map(_json_line, lines))
    delimiter = "\t" if suffix == ".tsv" else ","
    header = [] if done else [_delimited(columns, delimiter)]
    rows = [_delimited(_cells(line, columns, i), delimiter) for i, line in enumerate(lines, start=done + 1)]
    return "".join(header + rows).encode()


def _json_line(line: Mapping[str, Any]) -> bytes:
    """One JSON object; what is missing is null, for JSON has no nan."""
    clean = {name: None if is_missing(value) else plain(value) for name, value in line.items()}
    try:
        return f"{json.dumps(clean, ensure_ascii=False, default=str)}\n".encode()
    except UnicodeEncodeError:  # half of a surrogate pair can only be written as an escape
        return f"{json.dumps(clean, default=str)}\n".encode()


def _cells(line: Mapping[str, Any], columns: Sequence[str], number: int) -> list[str]:
    """Cells of row `number`; what is missing is empty, lists and objects are written as JSON."""
    unknown = sorted(line.keys() - set(columns))
    if unknown:
        raise DataError(f"row {number} has the column {unknown[0]!r}, which the first row lacks; write a .jsonl file.")
    cells, name = [], ""
    try:
        for name in columns:
            value = plain(line.get(name))
            if isinstance(value, bool | list | dict):
                value = json.dumps(value, ensure_ascii=False, default=str)
            cells.append("" if is_missing(value) else field_text(value))
    except CellError as error:
        raise DataError(f"row {number}: column {name!r} is {error}; write a .jsonl file.") from None
    return cells


def _delimited(cells: Sequence[str], delimiter: str) -> str:
    """One line of a .csv or .tsv file."""
    buffer = io.StringIO(newline="")
    # csv quotes cells with a character of its line terminator; with "\n" alone, a "\r" inside a cell would end the row.
    csv.writer(buffer, delimiter=delimiter, lineterminator="\r\n").writerow(cells)
    return buffer.getvalue().removesuffix("\r\n") + "\n"


def _append(part: Path, text: bytes) -> None:
    """Write a window to the disk."""
    with part.open("ab") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _note(log: Path, key: str, progress: _Progress) -> None:
    """Record, atomically, how much of the part file is complete."""
    draft = Path(f"{log}.new")
    with draft.open("w", encoding="utf-8") as file:
        json.dump({"key": key, **asdict(progress)}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, log)
