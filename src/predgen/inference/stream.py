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
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice, tee
from pathlib import Path
from typing import Any

from predgen.core import Decoding, Prediction, Row
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
from predgen.inference.trained import TrainedModel, count_flags, engine_in_words
from predgen.models.base import PLAIN
from predgen.models.writer import WritingModel

WINDOW_ROWS = 2048
_WINDOW_BYTES = 1 << 26  # about as much memory: fewer rows are in a window where rows are large
_Row = dict[str, Any]
Pair = tuple[_Row, Any]
"""A row, and what a `RowMaker` made of it before it is predicted."""


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


class RowMaker(ABC):
    """Makes output rows of input rows."""

    @abstractmethod
    def facts(self) -> Any:  # noqa: ANN401
        """What the model is, as JSON data: another call goes on with an output only where it is the same."""

    @abstractmethod
    def options(self) -> Any:  # noqa: ANN401
        """What is asked of it, as JSON data; see `facts`."""

    @abstractmethod
    def remarks(self) -> list[str]:
        """What is to be said before the first row, in lines."""

    @abstractmethod
    def columns(self, first: Row) -> tuple[str, ...]:
        """Names of the output's columns.

        Raises:
            DataError: If the first row lacks a column that is needed, or has one that is added.
        """

    @abstractmethod
    def numbers(self) -> tuple[str, ...]:
        """Columns that hold numbers, whatever their cells look like."""

    @abstractmethod
    def items(self, rows: Iterable[Row]) -> Iterator[Any]:
        """What is made of each row before it is predicted, in lockstep with the rows.

        Raises:
            DataError: At the first row that cannot be used.
        """

    @abstractmethod
    def lines(
        self, window: Sequence[Pair], on_rows: Callable[[int], None] | None
    ) -> tuple[list[_Row], Mapping[str, int]]:
        """Output rows, and how often each flag was raised.

        Args:
            window: Input rows, each with its item.
            on_rows: Called with the number of rows after each batch.
        """


class Predicting(RowMaker):
    """Rows with predictions of a trained model; see `predict_file` for the arguments.

    Attributes:
        guarantee: What keeps the promises.

    Raises:
        ConfigError: If the model cannot be asked for it.
    """

    def __init__(
        self,
        trained: TrainedModel,
        proba: bool = False,
        quantiles: tuple[float, ...] = (),
        batch_size: int | None = None,
        decoding: Decoding = PLAIN,
        promised: Promised = NOTHING,
    ) -> None:
        check_levels(quantiles)
        asked = replace(decoding, distribution=decoding.distribution or bool(quantiles))
        self.trained, self._batch_size, self._promised = trained, batch_size, promised
        self.guarantee = trained.guarantee(promised, asked)
        self._asked = self.guarantee.decoding(asked)
        is_expanded = isinstance(trained.model, WritingModel) and trained.model.expands(self._asked)
        self._columns = PredictionColumns(
            labels_to_write(trained, proba, decoding),
            tuple(dict.fromkeys(quantiles)),
            decoding.distribution,
            decoding.full_vocabulary,
            bool(quantiles) and is_expanded,
            self.guarantee.columns(),
        )
        trained.resolved(self._asked)

    def facts(self) -> Any:  # noqa: ANN401
        model = self.trained
        return [model.config.to_dict(), model.report, model.model.setup.to_dict(), model.calibration]

    def options(self) -> Any:  # noqa: ANN401
        return [asdict(self._columns), asdict(self._asked), asdict(self._promised), self._batch_size]

    def remarks(self) -> list[str]:
        return [*engine_in_words(self.trained.model), *self.guarantee.in_words()]

    def columns(self, first: Row) -> tuple[str, ...]:
        self.guarantee.groups([first])
        return tuple(self._columns.line(first, Prediction(None), {}))

    def numbers(self) -> tuple[str, ...]:
        found = self._columns.numbers()
        return found if self.trained.labels else ("prediction", *found)

    def items(self, rows: Iterable[Row]) -> Iterator[Any]:
        return iter_examples(rows, self.trained.task)

    def lines(
        self, window: Sequence[Pair], on_rows: Callable[[int], None] | None
    ) -> tuple[list[_Row], Mapping[str, int]]:
        predictions = self.trained.predict_examples(
            [example for _, example in window], batch_size=self._batch_size, decoding=self._asked, on_batch=on_rows
        )
        own = self.trained.in_own_labels(predictions)
        kept = self.guarantee.cells([row for row, _ in window], predictions, self.trained.classes)
        lines = [self._columns.line(row, p, k) for (row, _), p, k in zip(window, own, kept, strict=True)]
        return lines, count_flags(predictions)


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
    maker = Predicting(trained, proba, tuple(quantiles), batch_size, decoding, promised)
    return write_rows(
        maker,
        source,
        out,
        source_format=source_format,
        out_format=out_format,
        safe_csv=safe_csv,
        window_rows=window_rows,
        overwrite=overwrite,
        on_rows=on_rows,
    )


def write_rows(
    maker: RowMaker,
    source: str | Path,
    out: str | Path,
    *,
    source_format: str | None = None,
    out_format: str | None = None,
    safe_csv: bool = False,
    window_rows: int = WINDOW_ROWS,
    overwrite: bool = False,
    on_rows: Callable[[int], None] | None = None,
) -> StreamSummary:
    """Write what is made of each row of a file, window by window; see `predict_file`, which has the same arguments and errors."""
    source, out = input_of(source), output_of(out)
    check_output(source, out, overwrite=overwrite, out_format=out_format)
    with contextlib.nullcontext() if out == STDOUT else locked(out):
        # Once more: another call may have ended between the first look and the lock.
        written = check_output(source, out, overwrite=overwrite, out_format=out_format)
        if safe_csv and written not in ("csv", "tsv"):
            raise ConfigError(
                f"`safe_csv` is for sheets (csv, tsv), but the output is {written}, which none opens; leave it out."
            )
        before = None if is_stream(source) else source.stat()
        reader = reader_of(source, source_format)
        options = [maker.options(), window_rows, reader, written, safe_csv]
        key = None if before is None else _key(maker.facts(), source, before, options)
        first, rows = _peeked(read_rows(source, reader=reader))
        names = maker.columns(first)  # a column that is missing is told before anything is predicted
        rows_format = _format(written, source, names, maker.numbers(), safe_csv)
        target: RowSink = StandardOutput() if out == STDOUT else PartFile(out, key, rows_format.count)
        resumed, start = target.progress.rows, time.perf_counter()
        if on_rows is not None:
            on_rows(resumed)
        for window in _windows(_pairs(rows, maker, resumed), window_rows):
            lines, flags = maker.lines(window, on_rows)
            target.add(rows_format.encoded(lines, target.progress.rows), len(lines), flags)
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


def _format(name: str, source: Path, names: tuple[str, ...], numbers: tuple[str, ...], safe_csv: bool) -> RowFormat:
    """The format of the output."""
    if name == "jsonl":
        return JsonLines()
    if name == "parquet":
        from predgen.inference.parquet import Parquet  # pyarrow is optional

        return Parquet(source, names, numbers)
    return Delimited(name, names, safe_csv)


def _peeked(rows: Iterator[_Row]) -> tuple[_Row, Iterator[_Row]]:
    """The first row, and all rows: a pipe cannot be opened a second time."""
    first = next(rows)
    return first, itertools.chain((first,), rows)


def _pairs(rows: Iterator[_Row], maker: RowMaker, done: int) -> Iterator[Pair]:
    """Rows with what is made of them, after those that are done."""
    rows, again = tee(rows)  # in lockstep, so that errors count rows from the start of the file
    pairs = zip(rows, maker.items(again), strict=True)
    if sum(1 for _ in islice(pairs, done)) < done:
        raise ConfigError(f"{done} rows were written before, but the input has fewer; delete the part file.")
    return pairs


def _key(model: Any, source: Path, stat: os.stat_result, options: list[Any]) -> str:  # noqa: ANN401
    """Tells whether an interrupted call had the same input, model and settings."""
    digest = hashlib.sha256()
    with source.open("rb") as file:
        digest.update(file.read(1 << 20))
    facts = [stat.st_size, stat.st_mtime_ns, options, model]
    digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _windows(rows: Iterator[Pair], size: int) -> Iterator[list[Pair]]:
    """Cut a stream into lists of `size` rows, or of fewer that are as large as a window may be."""
    window: list[Pair] = []
    taken = 0
    for pair in rows:
        window.append(pair)
        taken += size_of(pair[0])
        if len(window) == size or taken >= _WINDOW_BYTES:
            yield window
            window, taken = [], 0
    if window:
        yield window
