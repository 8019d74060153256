"""Predict a file of any size into another file: constant memory, original order, restartable after a kill.

source -> rows -> windows -> predictions -> lines -> bytes in `out.part` -> `out`

One call at a time writes an output. `output` says where from and where to, `formats` how rows become bytes, `part` what a
killed call leaves and how the next one goes on.
"""

import contextlib
import hashlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice, tee
from pathlib import Path
from typing import Any

from predgen.core import Decoding, Example, Prediction
from predgen.data.cells import size_of
from predgen.data.examples import iter_examples
from predgen.data.sources import read_rows
from predgen.distribution import check_levels
from predgen.errors import ConfigError, DataError
from predgen.files import locked
from predgen.inference.columns import PredictionColumns, labels_to_write
from predgen.inference.formats import Delimited, JsonLines, RowFormat
from predgen.inference.guarantees import NOTHING, Promised
from predgen.inference.output import (
    STDOUT,
    RowSink,
    StandardOutput,
    check_output,
    input_of,
    is_stream,
    output_of,
    reader_of,
)
from predgen.inference.part import PartFile, no_longer_the_same
from predgen.inference.trained import TrainedModel, count_flags
from predgen.models.base import PLAIN
from predgen.models.writer import WritingModel

WINDOW_ROWS = 2048
_WINDOW_BYTES = 1 << 26  # about as much memory: fewer rows are in a window where rows are large
_Row = dict[str, Any]
_Pair = tuple[_Row, Example]


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


def predict_file(
    trained: TrainedModel,
    source: str | Path,
    out: str | Path,
    *,
    source_format: str | None = None,
    out_format: str | None = None,
    safe_csv: bool = False,
    proba: bool = False,
    quantiles: Sequence[float] = (),
    batch_size: int | None = None,
    decoding: Decoding = PLAIN,
    promised: Promised = NOTHING,
    window_rows: int = WINDOW_ROWS,
    overwrite: bool = False,
    on_rows: Callable[[int], None] | None = None,
) -> StreamSummary:
    """Write each row of `source`, with its prediction, to `out`.

    Rows are read, sorted by length and predicted in windows, and written in their order. What is done stands in
    `out.part`, how much of it is valid in `out.progress.json`; a call after a kill goes on from there, and no row is
    lost or repeated. Standard input and pipes can be read once only: after a kill, they start anew.

    Args:
        trained: The model.
        source: .csv, .tsv, .jsonl, .json or .parquet with the prompt's columns; "-" is standard input; a pipe.
        out: .csv, .tsv, .jsonl or .parquet; all columns of `source`, then `prediction`, then what is asked for: one
            `p(label)` per label, `legal_mass`, one `q(level)` per level, with `unexpanded` beside them where a grid is
            expanded level by level, `distribution` (numbers and probabilities, as JSON), `set` (labels) or `lower` and
            `upper` (numbers), `abstained`. "-" is standard output.
        source_format: Format of the input where its suffix does not say; standard input: "jsonl" unless said.
        out_format: Format of the output where its suffix does not say; standard output: "jsonl" unless said.
        safe_csv: Put an apostrophe before cells that a spreadsheet takes for formulas (.csv and .tsv).
        proba: Write probabilities (classifiers).
        quantiles: Levels, 0..1, of quantiles to write (regressors).
        batch_size: Rows per batch; None: as many as the run's `eval_batch_tokens` allow.
        decoding: See `TrainedModel.predict`.
        promised: Sets, intervals and abstention.
        window_rows: Rows in memory at a time.
        overwrite: Replace `out` where it exists.
        on_rows: Called with the number of rows that were done, first with those of an earlier call.

    Raises:
        ConfigError: If `out` exists, has an unknown format, or its part file belongs to other input or settings.
        DataError: If the input cannot be read, lacks a column, or was changed meanwhile.
        BusyError: If another call is writing `out`.
        StorageError: If the disk is full.
    """
    source, out = input_of(source), output_of(out)
    check_output(source, out, overwrite=overwrite, out_format=out_format)
    check_levels(quantiles)
    asked = replace(decoding, distribution=decoding.distribution or bool(quantiles))
    guarantee = trained.guarantee(promised, asked)
    asked = guarantee.decoding(asked)
    labels, levels = labels_to_write(trained, proba, decoding), tuple(dict.fromkeys(quantiles))
    is_expanded = isinstance(trained.model, WritingModel) and trained.model.expands(asked)
    columns = PredictionColumns(
        labels,
        levels,
        decoding.distribution,
        decoding.full_vocabulary,
        bool(quantiles) and is_expanded,
        guarantee.columns(),
    )
    trained.resolved(asked)
    with contextlib.nullcontext() if out == STDOUT else locked(out):
        # Once more: another call may have ended between the first look and the lock.
        written = check_output(source, out, overwrite=overwrite, out_format=out_format)
        if safe_csv and written not in ("csv", "tsv"):
            raise ConfigError(
                f"`safe_csv` is for sheets (csv, tsv), but the output is {written}, which none opens; leave it out."
            )
        before = None if is_stream(source) else source.stat()
        reader = reader_of(source, source_format)
        options = [asdict(columns), asdict(asked), asdict(promised), batch_size, window_rows, reader, written, safe_csv]
        key = None if before is None else _key(trained, source, before, options)
        first, rows = _peeked(read_rows(source, reader=reader))
        guarantee.groups([first])  # a column that is missing is told before anything is predicted
        names = tuple(columns.line(first, Prediction(None), {}))
        rows_format = _format(written, source, names, columns, trained, safe_csv)
        target: RowSink = StandardOutput() if out == STDOUT else PartFile(out, key, rows_format.count)
        resumed, start = target.progress.rows, time.perf_counter()
        if on_rows is not None:
            on_rows(resumed)
        for window in _windows(_pairs(rows, trained, resumed), window_rows):
            examples = [example for _, example in window]
            predictions = trained.predict_examples(examples, batch_size=batch_size, decoding=asked, on_batch=on_rows)
            own = trained.in_own_labels(predictions)
            kept = guarantee.cells([row for row, _ in window], predictions, trained.classes)
            lines = [columns.line(row, p, k) for (row, _), p, k in zip(window, own, kept, strict=True)]
            target.add(rows_format.encoded(lines, target.progress.rows), len(lines), count_flags(predictions))
        if before is not None:
            _require_unchanged(source, before, target)
        target.finish(rows_format.finished)
    seconds = max(1e-9, time.perf_counter() - start)
    done = target.progress
    return StreamSummary(done.rows, resumed, (done.rows - resumed) / seconds, done.flags)


def _require_unchanged(source: Path, before: os.stat_result, target: RowSink) -> None:
    """Publish nothing that was read from a file in two states."""
    if no_longer_the_same(source, before):
        target.discard()
        raise DataError(
            f"{str(source)!r} was changed while it was being read, so no output was written. Predict it again once nothing"
            " writes to it any more."
        )


def _format(
    name: str, source: Path, names: tuple[str, ...], columns: PredictionColumns, trained: TrainedModel, safe_csv: bool
) -> RowFormat:
    """The format of the output."""
    if name == "jsonl":
        return JsonLines()
    if name == "parquet":
        from predgen.inference.parquet import Parquet  # pyarrow is optional

        numbers = columns.numbers() if trained.labels else ("prediction", *columns.numbers())
        return Parquet(source, names, numbers)
    return Delimited(name, names, safe_csv)


def _peeked(rows: Iterator[_Row]) -> tuple[_Row, Iterator[_Row]]:
    """The first row, and all rows: a pipe cannot be opened a second time."""
    first = next(rows)
    return first, itertools.chain((first,), rows)


def _pairs(rows: Iterator[_Row], trained: TrainedModel, done: int) -> Iterator[_Pair]:
    """Rows with their examples, after those that are done."""
    rows, again = tee(rows)  # in lockstep, so that errors count rows from the start of the file
    pairs = zip(rows, iter_examples(again, trained.task), strict=True)
    if sum(1 for _ in islice(pairs, done)) < done:
        raise ConfigError(f"{done} rows were written before, but the input has fewer; delete the part file.")
    return pairs


def _key(trained: TrainedModel, source: Path, stat: os.stat_result, options: list[Any]) -> str:
    """Tells whether an interrupted call had the same input, model and settings."""
    digest = hashlib.sha256()
    with source.open("rb") as file:
        digest.update(file.read(1 << 20))
    model = [trained.config.to_dict(), trained.report, trained.model.setup.to_dict(), trained.calibration]
    facts = [stat.st_size, stat.st_mtime_ns, options, model]
    digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _windows(rows: Iterator[_Pair], size: int) -> Iterator[list[_Pair]]:
    """Cut a stream into lists of `size` rows, or of fewer that are as large as a window may be."""
    window: list[_Pair] = []
    taken = 0
    for pair in rows:
        window.append(pair)
        taken += size_of(pair[0])
        if len(window) == size or taken >= _WINDOW_BYTES:
            yield window
            window, taken = [], 0
    if window:
        yield window
