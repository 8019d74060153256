"""The error browser: the rows on which each variant is furthest off, or wrong and sure of it."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from predgen.records import Predictions, read_texts
from predgen.report.experiment import LoadedExperiment, Shown
from predgen.report.words import as_figure, clean

_ALL_ROWS, _FEWEST, _MOST = 1000, 10, 100  # rows in the page, of all runs together and of one run
_CHARACTERS = 600  # of a field's text
_EXACT = 1e-4  # math answers that are this close are right (the paper's appendix F)
_TOP = 5  # answers of a row
_STATIC = 10  # rows that are shown without scripts


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """A row with one run's answer.

    Attributes:
        row_id: Position of the row in its split.
        target: The right answer, as text.
        value: The predicted answer, as text; None where it could not be read.
        score: How wrong, to sort by: for labels and math 1 + P(answer) where wrong, 1 - P(target) where right; for
            numbers the error in standard deviations of the targets.
        is_error: Wrong label or answer; number off by more than the targets' standard deviation.
        error: Prediction minus target, as text; "" for labels.
        top: (answer, probability) of the most probable answers.
        interval: 5 % to 95 % interval, as text; "".
        flags: What happened to the row, e.g. "truncated".
    """

    row_id: int
    target: str
    value: str | None
    score: float
    is_error: bool
    error: str
    top: list[tuple[str, float]]
    interval: str
    flags: list[str]


@dataclass(frozen=True, slots=True)
class ErrorSet:
    """The worst rows of one run.

    Attributes:
        task: Measured task.
        variant: Name of the variant.
        seed: Seed of the run.
        measured: Rows that the run was measured on.
        n_errors: Errors among them.
        rows: The worst ones, worst first.
    """

    task: str
    variant: str
    seed: int
    measured: int
    n_errors: int
    rows: list[ErrorRow]


@dataclass(frozen=True, slots=True)
class Browser:
    """The error browser.

    Attributes:
        sets: The worst rows of each run that is shown.
        texts: Task -> row -> (field, text) pairs; a task is missing where its texts were not passed on.
        data: The same as JSON for the page's script.
        first: What is shown without scripts, and before the script has run: the worst rows of the first set.
    """

    sets: list[ErrorSet]
    texts: Mapping[str, Mapping[int, list[tuple[str, str]]]]
    data: Markup
    first: list[ErrorRow]

    def text_of(self, task: str, row_id: int) -> list[tuple[str, str]]:
        """Return the fields of a row; none where its text was not passed on."""
        return self.texts.get(task, {}).get(row_id, [])


def error_browser(experiment: LoadedExperiment) -> Browser:
    """Choose the rows to show."""
    shown = [one for task in experiment.found.tasks for one in experiment.of_task(task)]
    shown = [one for one in shown if one.variant in experiment.drawn and one.measurement.predictions.target]
    most = min(_MOST, max(_FEWEST, _ALL_ROWS // max(1, len(shown))))
    sets = [_error_set(one, most) for one in shown]
    texts = {}
    for task in dict.fromkeys(one.task for one in shown):
        rows = {row.row_id for found in sets if found.task == task for row in found.rows}
        texts[task] = _texts(experiment.folder, task, rows)
    texts = {task: found for task, found in texts.items() if found}
    return Browser(sets, texts, script_json(_plain(sets, texts)), sets[0].rows[:_STATIC] if sets else [])


def script_json(data: Any) -> Markup:  # noqa: ANN401
    r"""Return data as JSON that nothing in it can end: "<" is written as \u003c, and so on.

    Example:
        >>> script_json({"a": "</script>"})
        Markup('{"a":"\\u003c/script\\u003e"}')
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def _error_set(shown: Shown, most: int) -> ErrorSet:
    """The worst rows of a run."""
    columns = shown.measurement.predictions
    if shown.kind == "regression":
        spread = statistics.pstdev([float(t) for t in columns.target]) or 1.0
        rows = [_number_row(columns, i, spread) for i in range(len(columns.target))]
    else:
        rows = [_answer_row(columns, i, shown.kind) for i in range(len(columns.target))]
    rows.sort(key=lambda row: (-row.score, row.row_id))
    return ErrorSet(shown.task, shown.variant, shown.seed, len(rows), sum(r.is_error for r in rows), rows[:most])


def _number_row(columns: Predictions, i: int, spread: float) -> ErrorRow:
    """A row with a number to come close to."""
    target, value = float(columns.target[i]), columns.value[i]
    error = math.inf if value is None else float(value) - target
    ends = columns.interval[i] if columns.interval is not None else None
    return ErrorRow(
        row_id=columns.row_id[i],
        target=_said(target),
        value=None if value is None else _said(float(value)),
        score=min(abs(error) / spread, 1e9),
        is_error=abs(error) > spread,
        error="" if value is None else as_figure(error),
        top=_top(columns, i),
        interval="" if ends is None else f"{_said(ends[0])} to {_said(ends[1])}",
        flags=_flags(columns, i),
    )


def _answer_row(columns: Predictions, i: int, kind: str) -> ErrorRow:
    """A row whose answer is right or wrong."""
    target, value = columns.target[i], columns.value[i]
    close = kind == "math" and value is not None and abs(float(value) - float(target)) <= _EXACT
    is_right = close or (kind != "math" and value == target)
    said = None if value is None else _said(value)
    own = dict(zip(columns.labels, columns.probabilities[i], strict=True)) if columns.probabilities is not None else {}
    score = 1 - own.get(str(target), 1.0) if is_right else 1 + own.get(str(value), 0.0)
    return ErrorRow(
        columns.row_id[i], _said(target), said, score, not is_right, "", _top(columns, i), "", _flags(columns, i)
    )


def _said(value: Any) -> str:  # noqa: ANN401
    """A label or number as text."""
    return (
        f"{round(value, 4):.10g}"
        if isinstance(value, int | float) and not isinstance(value, bool)
        else clean(str(value))
    )


def _top(columns: Predictions, i: int) -> list[tuple[str, float]]:
    """The most probable answers."""
    if columns.top is not None:
        pairs = [(_said(answer), float(p)) for answer, p in columns.top[i]]
    elif columns.probabilities is None:
        return []
    else:
        pairs = [(clean(label), float(p)) for label, p in zip(columns.labels, columns.probabilities[i], strict=True)]
    best = sorted(pairs, key=lambda pair: -pair[1])[:_TOP]
    return [(answer, float(f"{p:.3g}")) for answer, p in best]


def _flags(columns: Predictions, i: int) -> list[str]:
    """Flags of a row, in words."""
    return [flag.replace("_", " ") for flag, places in columns.flags.items() if i in places]


def _texts(folder: Path, task: str, rows: set[int]) -> dict[int, list[tuple[str, str]]]:
    """Texts of rows, cut where they are very long."""
    return {
        row_id: [(clean(str(name)), _cut(clean(str(value)))) for name, value in fields.items()]
        for row_id, fields in read_texts(folder, task).items()
        if row_id in rows
    }


def _cut(text: str) -> str:
    """The beginning of a long text, and how much is missing."""
    rest = len(text) - _CHARACTERS
    return text if rest <= 0 else f"{text[:_CHARACTERS]} \u2026 [{rest:,} more characters]"


def _plain(sets: Sequence[ErrorSet], texts: Mapping[str, Mapping[int, list[tuple[str, str]]]]) -> dict[str, Any]:
    """Compact plain data: a row is [row, target, value, score, is error, error, answers, interval, flags]."""
    return {
        "sets": [
            {
                "task": found.task,
                "variant": found.variant,
                "rows": [
                    [
                        row.row_id,
                        row.target,
                        row.value,
                        float(f"{row.score:.4g}"),
                        int(row.is_error),
                        row.error,
                        [list(pair) for pair in row.top],
                        row.interval,
                        row.flags,
                    ]
                    for row in found.rows
                ],
            }
            for found in sets
        ],
        "texts": {task: {str(row_id): fields for row_id, fields in rows.items()} for task, rows in texts.items()},
    }
