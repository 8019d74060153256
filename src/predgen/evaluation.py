"""Measure a trained model on rows with targets: metrics with bootstrap intervals, and counts of what went wrong."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from predgen import registries
from predgen.codecs.number import NumberCodec
from predgen.components import value_of
from predgen.core import Decoding, Example, Prediction, Row, TaskSpec
from predgen.data.examples import to_examples
from predgen.data.prompts import prompt_fields
from predgen.data.sources import rows_of
from predgen.data.tables import is_published
from predgen.errors import ConfigError, DataError
from predgen.inference.calibration import calibrate
from predgen.inference.facts import facts_of, names_of_figures, whole_decoding
from predgen.inference.guarantees import groups_of
from predgen.inference.options import averaged, in_orders
from predgen.inference.targets import TrainedTargets
from predgen.inference.trained import TrainedModel, count_flags, load
from predgen.metrics.base import metric_of, metrics_of
from predgen.metrics.intervals import bootstrap_interval
from predgen.metrics.measure import measure, measure_intervals
from predgen.models.base import PLAIN
from predgen.models.writer import WritingModel
from predgen.near_names import near_matches
from predgen.saved.saving import write_calibration
from predgen.training.rows import RowSource, load_data, split_of
from predgen.uncertainty.abstention import curve
from predgen.uncertainty.calibrate import CalibrationRows


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures of one model on one set of rows.

    Attributes:
        rows: Number of rows.
        metrics: Name -> value, of the run's and its task's metrics.
        intervals: Name -> ends of the 95 % percentile bootstrap interval over rows.
        counts: Flag -> rows ("truncated", "parse_failure", "out_of_budget"); "out_of_range": targets outside the
            range of predictions, which are scored as they are; "trained_on": rows that the run was trained on.
        uncertainty: Name -> value, of what measures probabilities, distributions, sets and intervals besides; see
            docs/uncertainty.md. Its intervals are among `intervals`.
        abstention: Error among the most confident rows, by their share (labels): see `uncertainty.abstention.curve`.
        changed_by_order: Share of rows whose answer is another where their options stand in another order, and the ends of its
            interval; None: not asked for.
    """

    rows: int
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    counts: Mapping[str, int]
    uncertainty: Mapping[str, float] = field(default_factory=dict)
    abstention: Sequence[Mapping[str, float]] = ()
    changed_by_order: tuple[float, float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data; None stands where a value is not defined (nan)."""
        more = {
            "uncertainty": {name: _defined(value) for name, value in self.uncertainty.items()},
            "abstention": [dict(point) for point in self.abstention],
            "changed_by_order": [*map(_defined, self.changed_by_order or ())],
        }
        return {
            "rows": self.rows,
            "metrics": {name: _defined(value) for name, value in self.metrics.items()},
            "intervals": {name: [_defined(end) for end in ends] for name, ends in self.intervals.items()},
            "counts": dict(self.counts),
            **{name: told for name, told in more.items() if told},
        }


def _defined(value: float) -> float | None:
    """JSON has no nan."""
    return None if math.isnan(value) else value


def evaluate(
    trained: TrainedModel,
    examples: Sequence[Example],
    *,
    seed: int = 0,
    n_resamples: int = 1000,
    decoding: Decoding = PLAIN,
    batch_size: int | None = None,
    permute_options: bool = False,
    average_options: int | None = None,
    predictions: Sequence[Prediction] | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> Evaluation:
    """Predict rows and measure the predictions.

    Args:
        trained: The model.
        examples: Rows with targets.
        seed: Seed of the bootstrap.
        n_resamples: Resamples of the bootstrap.
        decoding: See `TrainedModel.predict`.
        batch_size: Rows per batch; None: as many as the run's `eval_batch_tokens` allow.
        permute_options: Ask each row once more with its options in another order, and tell how many answers change.
        average_options: Ask each row in so many orders of its options, and take the mean of the probabilities.
        predictions: What the model says of the rows, asked as `whole_of` says; None: it is predicted here.
        on_batch: Called with the number of rows after each batch.

    Raises:
        ConfigError: If orders are asked for and prompts list no options.
        DataError: If there are no rows, one has no target, or a label is not one that the model knows.
    """
    if not examples:
        raise DataError("there are no rows to measure on; give at least one.")
    bare = [example.row_id + 1 for example in examples if example.target is None]
    if bare:
        raise DataError(
            f"{len(bare)} of {len(examples)} rows have no target to compare with, the first is row {bare[0]}."
        )
    is_own = decoding.how is None and not decoding.full_vocabulary
    asked: dict[str, Any] = {
        "batch_size": batch_size,
        "on_batch": on_batch,
        "decoding": whole_of(trained, decoding) if is_own else decoding,
    }
    changed = None
    if permute_options or average_options is not None:
        number = max(average_options or 1, 2 if permute_options else 1)
        orders = in_orders(trained, examples, number, seed=seed, **asked)
        changed = _changed(orders, n_resamples, seed) if permute_options else None
        predictions = [averaged(of_row[: average_options or 1], trained.labels) for of_row in orders]
    elif predictions is None:
        predictions = trained.predict_examples(examples, **asked)
    metrics, intervals, uncertainty = _figures(trained, examples, predictions, is_own, n_resamples, seed)
    told, shown = counts(trained, examples, predictions), _curve(trained, examples, predictions)
    return Evaluation(len(examples), metrics, intervals, told, uncertainty, shown, changed)


def whole_of(trained: TrainedModel, decoding: Decoding = PLAIN) -> Decoding:
    """Return what to ask for figures: distributions of numbers, too, where they cost nothing, or intervals are made from them."""
    model = trained.model
    is_at_hand = isinstance(model, WritingModel) and model.tree is not None
    return whole_decoding(model) if is_at_hand or trained.calibration is not None else decoding


_Figures = tuple[dict[str, float], dict[str, tuple[float, float]], dict[str, float]]


def _figures(
    trained: TrainedModel,
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    is_own: bool,
    n_resamples: int,
    seed: int,
) -> _Figures:
    """Metrics, all intervals, and the figures of `Evaluation.uncertainty`; these need the model's own way of predicting."""
    targets = _targets_of(examples)
    facts = facts_of(trained.model, trained.calibration, targets, predictions) if is_own else {}
    kind, asked = trained.model.setup.kind, metrics_of(trained.config.metric, trained.task)
    names = names_of_figures(kind, asked, is_ordered=trained.model.is_ordered)
    if "crps" not in (*asked, *facts):  # a number alone would be judged by its absolute error under another name
        names = [name for name in names if name != "crps"]
    columns = (targets, [p.value for p in predictions], [p.probabilities for p in predictions], trained.labels)
    own = trained.config.own
    intervals = measure_intervals(names, *columns, own=own, facts=facts, n_resamples=n_resamples, seed=seed)
    found = measure(names, *columns, own=own, facts=facts)
    usual = {registries.metrics.canonical(name) for name in asked}
    metrics, others = ({n: v for n, v in found.items() if (n in usual) == is_usual} for is_usual in (True, False))
    return metrics, intervals, others


def _targets_of(examples: Sequence[Example]) -> list[str | float]:
    """True answers; measured rows all have one."""
    return [example.target.value for example in examples if example.target is not None]


def _curve(
    trained: TrainedModel, examples: Sequence[Example], predictions: Sequence[Prediction]
) -> list[dict[str, float]]:
    """Error by the share of rows that are answered; nothing without probabilities."""
    if not trained.labels or any(p.probabilities is None for p in predictions):
        return []
    confidence = np.array([max(p.probabilities or (0.0,)) for p in predictions])
    right = [p.value == target for p, target in zip(predictions, _targets_of(examples), strict=True)]
    return curve(confidence, np.array(right, dtype=bool))


def _changed(told: Sequence[Sequence[Prediction]], n_resamples: int, seed: int) -> tuple[float, float, float]:
    """Share of rows whose second answer differs from the first, of those that have two, with its bootstrap interval."""
    first, second = zip(
        *[(str(of_row[0].value), str(of_row[1].value)) for of_row in told if len(of_row) > 1], strict=True
    )
    low, high = bootstrap_interval("accuracy", first, second, n_resamples=n_resamples, seed=seed)
    same = metric_of("accuracy")(first, second)
    return 1 - same, 1 - high, 1 - low


def calibrate_on(
    trained: TrainedModel,
    data: Any,  # noqa: ANN401
    *,
    target: str | None = None,
    by: str | None = None,
    with_trained_rows: bool = False,
    on_batch: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Calibrate a model on rows of the user's; see `inference.calibration.calibrate`.

    Args:
        trained: The model.
        data: A file, or rows in memory, with the run's columns.
        target: Column of `data` with the answers; None: the run's.
        by: Column whose value names each row's group; None: no groups.
        with_trained_rows: Calibrate on rows that the run was trained on, too: then nothing is promised for new ones.
        on_batch: Called with the number of rows after each batch.

    Raises:
        DataError: If the rows cannot be used for it, or some of them are rows that the run was trained on.
    """
    given, examples = _given(trained, data, target)
    if not with_trained_rows:
        refuse_trained_rows(trained, examples, called(data))
    rows = CalibrationRows(_targets_of(examples), by, () if by is None else tuple(groups_of(given, by)))
    encoded = [trained.encoder.encode(example, with_answer=False) for example in examples]
    return calibrate(trained, encoded, rows, on_batch=on_batch)


def calibrate_folder(
    folder: str | Path,
    data: Any,  # noqa: ANN401
    *,
    base: str | None = None,
    trust_remote_code: bool = False,
    **asked: Any,  # noqa: ANN401
) -> dict[str, Any]:
    """Calibrate a saved model anew: `calibrate_on`, and the folder says so, in one step; its weights are not touched.

    Args:
        folder: The saved model.
        data: See `calibrate_on`, as of `asked`.
        base: See `predgen.load`.
        trust_remote_code: See `predgen.load`.
        asked: Further arguments of `calibrate_on`.
    """
    trained = load(folder, base=base, trust_remote_code=trust_remote_code)
    found = calibrate_on(trained, data, **asked)
    write_calibration(trained, Path(folder))
    return found


def counts(trained: TrainedModel, examples: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, int]:
    """Count what went wrong, or has to be known, about measured rows; see `Evaluation.counts`."""
    targets = [example.target.value for example in examples if example.target is not None]
    return {**count_flags(predictions), **_out_of_range(trained, targets), **_trained_on(trained, examples)}


def _out_of_range(trained: TrainedModel, targets: Sequence[str | float]) -> dict[str, int]:
    """How many numbers can be no prediction, since they lie outside the range; nothing where there are none."""
    if trained.model.setup.kind != "regression":
        return {}
    codec, scale = trained.encoder.codec, trained.model.scale
    low, high = codec.scale if isinstance(codec, NumberCodec) else scale.ends
    outside = sum(not low <= scale.written(float(target)) <= high for target in targets)
    return {"out_of_range": outside} if outside else {}


def _trained_on(trained: TrainedModel, examples: Sequence[Example]) -> dict[str, int]:
    """How many of the rows the run was trained on; nothing where there are none."""
    seen = sum(1 for _ in trained.trained_rows.shared(examples)) if trained.trained_rows is not None else 0
    return {"trained_on": seen} if seen else {}


def rows_to_measure(
    trained: TrainedModel,
    *,
    split: str | None = None,
    data: Any = None,  # noqa: ANN401
    target: str | None = None,
    data_dir: str | None = None,
    task: str | None = None,
    with_trained_rows: bool = False,
) -> list[Example]:
    """Read the rows to measure a model on.

    Args:
        trained: The model.
        split: A split of the run's task, with the run's seed; for a run on a file of the user's: "validation".
        data: A file, or rows in memory, with the run's columns; all its rows.
        target: Column of `data` with the answers; None: the run's.
        data_dir: The task's folder; None: the run's.
        task: Another task, of the same kind and with the same prompt columns, whose split to take instead.
        with_trained_rows: Measure on rows that the run was trained on, too. Not needed for a validation or test split that
            the publisher of the run's task made: the few rows that some of these repeat are measured, and counted.

    Raises:
        ConfigError: If neither or both of `split` and `data` are given, or the run has no such split.
        DataError: If the rows cannot be read, or some of them are rows that the run was trained on.
    """
    if (split is None) == (data is None):
        raise ConfigError("give either `split` (of the run's task) or `data` (a file), not both and not neither.")
    if data is not None:
        if task is not None:
            raise ConfigError(f"`task` {task!r} names whose `split` to measure on; a file has the run's own columns.")
        rows, is_held_out = _rows_given(trained, data, target), False
    else:
        assert split is not None, "checked above"
        if target is not None:
            raise ConfigError(f"`target` {target!r} names a column of `data`; a `split` has the column of its task.")
        rows, is_held_out = _rows_of_split(trained, split, data_dir, task)
    if not (with_trained_rows or is_held_out):
        where = called(data) if data is not None else f"split {split!r}" + (f" of task {task!r}" if task else "")
        refuse_trained_rows(trained, rows, where)
    return rows


def called(data: Any) -> str:  # noqa: ANN401
    """Return what messages call the rows that were given."""
    return repr(str(data)) if isinstance(data, str | Path) else "the rows given"


def _rows_given(trained: TrainedModel, data: Any, target: str | None) -> list[Example]:  # noqa: ANN401
    """Read rows of the user's, their answers from the column that holds them there."""
    return _given(trained, data, target)[1]


def _given(trained: TrainedModel, data: Any, target: str | None) -> tuple[list[Row], list[Example]]:  # noqa: ANN401
    """The same, with the rows as they stand there."""
    task = replace(trained.task, target=target or trained.task.target)
    if task.target in prompt_fields(task.prompt):
        raise ConfigError(
            f"`target` {task.target!r} is a column of the run's prompt; name the column with the answers."
        )
    rows: list[Row] = list(rows_of(data))
    if task.target not in rows[0]:
        raise DataError(
            f"{called(data)} has no column {task.target!r}, {'the `target` given' if target else 'the target of this run'}."
            f"{near_matches(task.target, rows[0])} Its columns: {', '.join(map(repr, rows[0]))}. Name the one with the answers"
            " with `target` (--target)."
        )
    source = f"`data` {data!r}" if isinstance(data, str | Path) else "`data`"
    return rows, to_examples(rows, task, source=source)


def _rows_of_split(
    trained: TrainedModel, split: str, data_dir: str | None, task: str | None
) -> tuple[list[Example], bool]:
    """Read a split of the run's task, of another task, or the rows held out from the user's file.

    Returns:
        The rows, and whether they are held out by the publisher or the user: then a few repeated rows are their doing.
    """
    config = trained.config
    source = RowSource.of(config)
    if source.task is None and task is None:
        if split != "validation":
            raise ConfigError(
                f"`split` is {split!r}, but this run was trained on rows of yours, which have the split validation only."
            )
        if source.in_memory:
            raise ConfigError(
                f"`split` is {split!r}, but this run was trained on rows in memory, which it does not keep. Give rows as"
                " `data` (--data FILE), with `target` (--target) where the column of the answers has another name."
            )
        return load_data(config).validation, "validation" in source.splits
    measured, folder = _task_to_measure(trained, task), data_dir or config.data_dir
    examples = split_of(config, measured, split, folder=folder)
    is_held_out = task is None and split != "train" and is_published(measured, split, folder)
    return examples, is_held_out


def _task_to_measure(trained: TrainedModel, name: str | None) -> TaskSpec:
    """The run's task, or another one asked with the run's prompt."""
    if name is None:
        return trained.task
    task: TaskSpec = value_of(registries.tasks, name)
    if task.kind != trained.task.kind or not set(task.labels.values()) <= set(trained.labels):
        raise ConfigError(
            f"`task` {name!r} is a {task.kind} task with {_answers(task)}, but the run learned {trained.task.kind} with"
            f" {_answers(trained.task)}. Choose a task with the same answers."
        )
    return replace(task, prompt=trained.task.prompt, form=trained.task.form)


def _answers(task: TaskSpec) -> str:
    """A task's answers, for a message."""
    return f"labels {', '.join(task.labels.values())}" if task.labels else "numbers"


def refuse_trained_rows(trained: TrainedModel | TrainedTargets, rows: Sequence[Example], where: str) -> None:
    """Raise a `DataError` where rows to measure on are rows that the run was trained on."""
    seen = list(trained.trained_rows.shared(rows)) if trained.trained_rows is not None else []
    if seen:
        first = " / ".join(seen[0].fields.values())
        raise DataError(
            f"{len(seen)} of {len(rows)} rows of {where} are rows that this run was trained on, such as row"
            f" {seen[0].row_id + 1} ({first[:60]!r}): figures on them say nothing about new rows. Measure on others, or"
            " measure on these knowingly with `with_trained_rows` (--with-trained-rows)."
        )
