"""Rows -> `Example`s: prompt fields, target and weight, each checked; what cannot be used is said by row number."""

import html
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from predgen.core import Example, Kind, Row, Target, TaskSpec
from predgen.data.cells import CellError, field_text, is_missing, label_of, number_of, shown, weight_of
from predgen.data.prompts import prompt_fields
from predgen.errors import ConfigError, DataError, some_of
from predgen.near_names import near_matches

__all__ = ["custom_task", "extractor", "iter_examples", "prompt_fields", "to_examples"]

CUSTOM_METRICS: dict[Kind, tuple[str, ...]] = {
    "classification": ("accuracy", "macro_f1", "log_loss"),
    "regression": ("mse", "mae", "rmse", "pearson", "spearman", "r2"),
    "math": ("exact_match",),
}
_ROWS_NAMED = 5


def custom_task(
    *,
    prompt: str,
    target: str,
    kind: str,
    weight: str | None = None,
    labels: Mapping[str, str] | None = None,
    normalise_labels: bool = False,
) -> TaskSpec:
    r"""Declare the task of a user's own file.

    Scale, and labels that are not given, are left open: they come from the training rows (`labels.declared`).

    Raises:
        ConfigError: If the prompt is not a template, contains the target's column, or `kind` is unknown.

    Example:
        >>> custom_task(prompt="Review: {text}\nScore:", target="score", kind="regression").metrics[0]
        'mse'
    """
    if kind not in CUSTOM_METRICS:
        raise ConfigError(
            f"`kind` is {kind!r}.{near_matches(str(kind), CUSTOM_METRICS)} Allowed: {', '.join(CUSTOM_METRICS)}."
        )
    if not target:
        raise ConfigError(f"`target` is {target!r}; name the column to predict.")
    for name, column in (("target", target), ("weight_column", weight)):
        if column in prompt_fields(prompt):
            raise ConfigError(
                f"`prompt` contains {{{column}}}, the {name}: the model would read what it is to predict. Remove it."
            )
    return TaskSpec(
        "custom",
        kind,
        prompt,
        target,
        CUSTOM_METRICS[kind],
        labels=dict(labels or {}),
        weight=weight,
        normalise_labels=normalise_labels,
    )


def iter_examples(
    rows: Iterable[Row], task: TaskSpec, with_target: bool = False, *, first: int = 0
) -> Iterator[Example]:
    """Turn rows into examples one by one, in constant memory; stop at the first row that cannot be used.

    Args:
        rows: Rows as `sources.rows_of` yields them.
        task: What to read from them.
        with_target: Whether the rows have targets to read; False for rows to predict.
        first: Place of the first row in its source, from 0.

    Raises:
        DataError: If a column or a needed cell is missing or unreadable.
    """
    for result in _results(rows, task, with_target, first=first):
        if isinstance(result, _Bad):
            raise DataError(f"{result}. {_repair([result], task, '')}")
        yield result


def to_examples(
    rows: Iterable[Row],
    task: TaskSpec,
    *,
    with_target: bool = True,
    bad_rows: str = "error",
    side_file: str | Path | None = None,
    is_reported: bool = False,
    source: str = "",
    remedy: str = "",
    reads: Callable[[Row], Target | None] | None = None,
) -> list[Example]:
    """Turn rows into examples. A row is bad where a prompt field, the target or the weight is missing or unreadable.

    Args:
        rows: Rows as `sources.rows_of` yields them.
        task: What to read from them.
        with_target: Whether the rows have targets and weights to read.
        bad_rows: "error" stops, naming the first five bad rows and their number; "skip" leaves them out.
        side_file: Where "skip" writes the rows it left out, one JSON object a line: row (from 1), column, reason, data.
        is_reported: Whether bad rows were reported when they were read before; then "skip" needs no side file.
        source: Where the rows come from, for messages, e.g. "`data` 'reviews.csv'".
        remedy: What the caller offers for bad rows besides repairing them, for messages.
        reads: Reads a row's target, which may then be None; None: it is what column `task.target` holds.

    Returns:
        The examples, in order. `row_id` counts source rows, skipped ones included.

    Raises:
        ConfigError: If `bad_rows` is unknown, or is "skip" without a side file where nothing was reported.
        DataError: If a column is missing, a row is bad under "error", or all rows are bad.

    Example:
        >>> task = custom_task(prompt="{text}", target="score", kind="regression")
        >>> to_examples([{"text": "Splendid.", "score": "9.1"}, {"text": "Dull.", "score": ""}], task)
        Traceback (most recent call last):
        predgen.errors.DataError: 1 of 2 rows cannot be used: row 2: column 'score' is '' (empty). Repair these cells, or ...
    """
    if bad_rows not in ("error", "skip"):
        raise ConfigError(
            f"`bad_rows` is {bad_rows!r}.{near_matches(str(bad_rows), ('error', 'skip'))} Allowed: error, skip."
        )
    if bad_rows == "skip" and side_file is None and not is_reported:
        raise ConfigError("bad_rows='skip' needs `side_file`, the path that the skipped rows are written to.")
    examples: list[Example] = []
    bad: list[_Bad] = []
    for result in _results(rows, task, with_target, reads):
        if isinstance(result, _Bad):
            bad.append(result)
        else:
            examples.append(result)
    if bad and side_file is not None and bad_rows == "skip":
        _write_side_file(bad, Path(side_file))
    if bad and (bad_rows == "error" or not examples):
        raise DataError(_summary(bad, len(bad) + len(examples), task, source, remedy))
    return examples


def check_columns(row: Row, task: TaskSpec) -> None:
    """Check that a row, as its file has it, holds the columns that a task reads.

    Raises:
        DataError: If one is missing; near matches are named.
    """
    _check_columns(row, prompt_fields(task.prompt), task, with_target=True)


def extractor(task: TaskSpec) -> Callable[[Row], Row]:
    """Return the task's function from published rows to rows with the task's columns (`TaskSpec.extract`)."""
    if task.extract is None:
        return lambda row: row
    module, name = task.extract.split(":")
    return cast(Callable[[Row], Row], getattr(import_module(module), name))


@dataclass(frozen=True, slots=True)
class _Bad:
    """A row that cannot be used. Only its text is kept of the value, the row itself for the side file."""

    row_id: int
    column: str
    value: str
    reason: str
    row: Row

    def __str__(self) -> str:
        return f"row {self.row_id + 1}: column {self.column!r} is {self.value} ({self.reason})"


_Reads = Callable[[Row], Target | None]


def _results(
    rows: Iterable[Row], task: TaskSpec, with_target: bool, reads: _Reads | None = None, first: int = 0
) -> Iterator[Example | _Bad]:
    """Yield an example, or what is wrong, per row."""
    fields = prompt_fields(task.prompt)
    extract = extractor(task)
    for row_id, published in enumerate(rows, first):
        row = extract(published)
        if row_id == first:
            _check_columns(row, fields, task, with_target)
        yield _example(row_id, row, fields, task, with_target, reads)


def _check_columns(row: Row, fields: Sequence[str], task: TaskSpec, with_target: bool) -> None:
    """Raise once, for all columns that the first row lacks."""
    uses = {name: "`prompt`" for name in fields}
    if task.form == "cloze":
        uses |= {name: "an option" for name in task.options[:2]}
    if with_target:
        answers = {"target": task.target, "weight": task.weight, "rationale": task.rationale}
        uses |= {column: f"the {use}" for use, column in answers.items() if column is not None}
    missing = [name for name in uses if name not in row]
    if missing:
        named = " ".join(f"{name!r} (for {uses[name]}).{near_matches(name, row)}" for name in missing)
        raise DataError(
            f"missing column {named} Columns of the rows: {some_of(list(map(repr, row)))}. Correct the name, or rename the column."
        )


def _example(
    row_id: int, row: Row, fields: Sequence[str], task: TaskSpec, with_target: bool, reads: _Reads | None
) -> Example | _Bad:
    """Read one row."""
    column = ""
    try:
        texts = {}
        for column in fields:
            text = field_text(row.get(column))
            texts[column] = _unescaped(text) if task.unescape else text
        column = ", ".join(task.options)
        options = _options(row, task) if task.form == "cloze" else ()
        if not with_target:
            return Example(row_id, texts, options=options)
        column = task.target
        target = Target(_target_value(row.get(column), task)) if reads is None else reads(row)
        if options and target and target.value not in list(task.labels.values())[: len(options)]:
            raise CellError(f"not one of the row's {len(options)} options")
        if target and task.rationale is not None and not is_missing(row.get(column := task.rationale)):
            target = replace(target, rationale=field_text(row[column]).strip() or None)
        if task.weight is None:
            return Example(row_id, texts, target, options=options)
        column = task.weight
        return Example(row_id, texts, target, weight_of(row.get(column)), options)
    except CellError as error:
        return _Bad(row_id, column, shown(row.get(column)), str(error), row)


def _options(row: Row, task: TaskSpec) -> tuple[str, ...]:
    """Return the texts of a row's options; only the last columns may be missing."""
    cells = [row.get(column) for column in task.options]
    while cells and is_missing(cells[-1]):
        cells.pop()
    if len(cells) < 2:
        raise CellError(f"{len(cells)} options, but a choice needs two or more")
    return tuple(field_text(cell) for cell in cells)


def _target_value(value: Any, task: TaskSpec) -> str | float:  # noqa: ANN401
    """Return the label's text or the number."""
    if task.kind == "classification":
        return label_of(value, task.labels, normalised=task.normalise_labels)
    return number_of(value, with_commas=task.kind == "math")


def _unescaped(text: str) -> str:
    """Decode HTML entities and the two characters backslash and n."""
    return html.unescape(text).replace("\\n", "\n")


def _summary(bad: Sequence[_Bad], total: int, task: TaskSpec, source: str, remedy: str) -> str:
    """Name the first bad rows and count all of them."""
    named = "; ".join(str(b) for b in bad[:_ROWS_NAMED])
    more = f"; and {len(bad) - _ROWS_NAMED} more" if len(bad) > _ROWS_NAMED else ""
    count = f"all {total}" if len(bad) == total else f"{len(bad)} of {total}"
    what = f"{count} rows" + (f" of {source}" if source else "")
    return f"{what} cannot be used: {named}{more}. {_repair(bad, task, remedy, all_bad=len(bad) == total)}"


def _repair(bad: Sequence[_Bad], task: TaskSpec, remedy: str, *, all_bad: bool = False) -> str:
    """Say how bad rows are repaired; of a target only where one is bad, for rows to predict have none."""
    wanted = "a label" if task.kind == "classification" else "a finite number"
    if all_bad:
        target = f"column {task.target!r} holds {wanted} (kind {task.kind!r}), and that "
        is_target = any(b.column == task.target for b in bad)
        return f"Check that {target if is_target else ''}the prompt names the right columns."
    needs = f"; column {task.target!r} must hold {wanted}" if any(b.column == task.target for b in bad) else ""
    return f"Repair these cells, or {remedy or 'take such rows out'}{needs}."


def _write_side_file(bad: Sequence[_Bad], path: Path) -> None:
    """Write skipped rows as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for b in bad:
            data = {name: None if is_missing(value) else value for name, value in b.row.items()}
            record = {"row": b.row_id + 1, "column": b.column, "reason": b.reason, "data": data}
            file.write(json.dumps(record, default=str) + "\n")  # ASCII, so that lone surrogates can be written
