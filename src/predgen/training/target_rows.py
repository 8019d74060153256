"""Which rows, for several targets: the same rows for all of them, each with the answers that it has.

rows as they are -> per question `Example`s, without a target where the row has no answer -> one split for all
  -> per question the `TrainingData` of a run of that target alone
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from predgen.config import RunConfig
from predgen.core import Example, Row, TaskSpec
from predgen.data.examples import to_examples
from predgen.data.labels import declare_labels, label_order
from predgen.data.splits import hold_out, limit_rows
from predgen.data.target_cells import answer_reader, labels_in
from predgen.errors import ConfigError, DataError, PredgenError, some_of
from predgen.near_names import near_matches
from predgen.targets import YES_NO, TargetSpec
from predgen.training.rows import SKIP_ROWS, RowSource, TrainingData, task_of

HELD_OUT = 0.1
"""Share of the rows that is held out where nothing else is said."""

_Examples = dict[int, Example]


@dataclass(frozen=True, slots=True)
class TargetQuestion:
    """One question of a run with several targets, as a run of its own.

    Attributes:
        spec: The target that it belongs to, its labels named.
        label: The label that it is about, of a multi-label target.
        config: Settings of a run of this target alone.
        task: The task of such a run.
    """

    spec: TargetSpec
    label: str | None
    config: RunConfig
    task: TaskSpec

    @property
    def name(self) -> str:
        """Its name; see `TargetSpec.part_name`."""
        return self.spec.part_name(self.label)

    def read(self, rows: Sequence[Row], **how: Any) -> _Examples:  # noqa: ANN401
        """Read rows by their numbers; those without an answer have no target, bad ones are left out.

        Args:
            rows: Rows as they are.
            how: What `to_examples` takes besides.
        """
        asked = replace(self.task, target=self.spec.columns[0])
        reads = answer_reader(self.spec, self.task, self.label)
        return {e.row_id: e for e in to_examples(rows, asked, reads=reads, **how)}


@dataclass(frozen=True, slots=True)
class TargetsData:
    """Rows of a run with several targets.

    Attributes:
        specs: The targets in the order in which they were given, the labels of multi-label ones named.
        questions: The questions, in the order of their names.
        parts: Name of a question -> rows that have an answer to it.
        train: Training rows, each with an answer at least, without targets.
        validation: Rows that select the checkpoint.
        missing: Name of a target -> rows without an answer to it.
        skipped: Rows that were left out: bad ones, and those without any answer.
        origin: See `TrainingData.origin`.
    """

    specs: tuple[TargetSpec, ...]
    questions: tuple[TargetQuestion, ...]
    parts: Mapping[str, TrainingData]
    train: list[Example]
    validation: list[Example]
    missing: Mapping[str, int]
    skipped: int
    origin: str


def load_target_rows(
    config: RunConfig,
    side_folder: Path | None = None,
    rows: Any = None,  # noqa: ANN401
    *,
    fraction: float = HELD_OUT,
) -> TargetsData:
    """Read, check and split the rows of a run with several targets.

    Rows are held out whatever their labels are, but for a class's last training row, which stays; with one target alone as a run
    of it does.

    Args:
        config: The settings.
        side_folder: See `load_data`.
        rows: See `load_data`.
        fraction: Share of the rows to hold out where there are no validation rows; 0: none.

    Raises:
        ConfigError: If there are no rows, or twice, or an ordinal target does not say the order of its labels.
        DataError: If files, columns, rows or targets cannot be used, or a target has no answer at all.
    """
    source = RowSource.of(config, rows)
    if not source.splits:
        raise ConfigError("the settings name no rows: give `data` (your own file), or pass rows in memory.")
    read = {split: list(source.rows(split, _NO_TASK)) for split in source.splits}
    _check_columns(config, read["train"], source.called("train"))
    specs = tuple(_with_labels(spec, read["train"]) for spec in config.target_specs)
    questions = questions_of(config, specs)
    found: dict[str, dict[str, _Examples]] = {}
    for split, given in read.items():
        answers = {}
        for number, one in enumerate(questions):
            side = (
                side_folder / f"bad-rows.{split}.{number}.jsonl" if side_folder and config.bad_rows == "skip" else None
            )
            how: dict[str, Any] = {"bad_rows": config.bad_rows, "side_file": side, "is_reported": side_folder is None}
            answers[one.name] = one.read(given, source=source.called(split), remedy=SKIP_ROWS, **how)
        if split == "train":
            questions, answers = _declared(questions, answers, given)
        found[split] = _of_usable_rows(answers)
    for one in questions:
        if not any(e.target for e in found["train"][one.name].values()):
            raise DataError(
                f"target {one.name!r}: none of the {len(read['train'])} rows of {source.called('train')} has an answer in column"
                f" {some_of(list(map(repr, one.spec.columns)))}. Fill some in, or leave the target out of `targets`."
            )
    train, validation = _split(config, questions, found, fraction)
    rows_read = sum(map(len, read.values()))
    return TargetsData(
        specs,
        questions,
        {one.name: _part(one, found, train, validation, source.in_words) for one in questions},
        train,
        validation,
        {spec.name: sum(_unanswered(of_split, spec) for of_split in found.values()) for spec in specs},
        rows_read - sum(len(_answered(of_split)) for of_split in found.values()),
        source.in_words,
    )


def without_test_rows(config: RunConfig, data: TargetsData) -> tuple[TargetsData, dict[str, list[Example]]]:
    """Take held-out rows for test rows, and hold out others for validation.

    Args:
        config: The settings: seed, and the most training rows.
        data: Rows that were read without a limit.

    Returns:
        The rest of the rows, and the test rows of each question, those that have an answer to it.
    """
    test = {name: list(part.validation) for name, part in data.parts.items()}
    answers = {name: {e.row_id: e for e in part.train} for name, part in data.parts.items()}
    parts = hold_out(data.train, config.rows_seed, HELD_OUT)
    held, kept = ({e.row_id for e in parts[name]} for name in ("validation", "train"))
    for name, of_one in answers.items():  # a class's last training row stays
        known = {e.target.value for n, e in of_one.items() if n in kept and e.target is not None}
        back = {
            str(e.target.value): n for n, e in of_one.items() if e.target is not None and e.target.value not in known
        }
        if data.parts[name].task.kind == "classification":
            held, kept = held - {*back.values()}, kept | {*back.values()}
    train = [e for e in data.train if e.row_id in kept]
    train = limit_rows(train, config.limit, config.rows_seed) if config.limit else train
    chosen = {e.row_id for e in train}
    of_parts = {
        name: replace(
            part,
            train=[e for n, e in answers[name].items() if n in chosen],
            validation=[e for n, e in answers[name].items() if n in held],
        )
        for name, part in data.parts.items()
    }
    validation = [e for e in data.train if e.row_id in held]
    return replace(data, parts=of_parts, train=train, validation=validation), test


def of_targets(data: TargetsData, names: Sequence[str]) -> TargetsData:
    """Return the rows of some targets alone: those that have an answer to one of them.

    Args:
        data: The rows of all.
        names: Names of the targets to keep.
    """
    specs = tuple(spec for spec in data.specs if spec.name in names)
    questions = tuple(one for one in data.questions if one.spec.name in names)
    parts = {one.name: data.parts[one.name] for one in questions}
    kept = {e.row_id for part in parts.values() for e in (*part.train, *part.validation)}
    train, validation = ([e for e in rows if e.row_id in kept] for rows in (data.train, data.validation))
    missing = {spec.name: data.missing[spec.name] for spec in specs}
    return replace(
        data, specs=specs, questions=questions, parts=parts, train=train, validation=validation, missing=missing
    )


def questions_of(config: RunConfig, specs: Sequence[TargetSpec]) -> tuple[TargetQuestion, ...]:
    """Return all questions in the order of their names; labels that training rows decide are not yet known.

    Args:
        config: The run's settings.
        specs: The targets, labels of multi-label ones named.

    Raises:
        ConfigError: If a target does not fit the run.
    """
    found = []
    for spec in specs:
        for label in spec.labels if spec.is_multilabel else (None,):
            own = config.of_target(spec, label)
            task = task_of(own)
            if label is not None:
                task = replace(task, labels=dict(zip(YES_NO, YES_NO, strict=True)))
            found.append(TargetQuestion(spec, label, own, task))
    return tuple(sorted(found, key=lambda one: one.name))


_NO_TASK = TaskSpec("custom", "classification", "", "", ())
"""Stands for the task where rows of the user's are read, which have none yet."""


def _check_columns(config: RunConfig, rows: list[dict[str, Any]], called: str) -> None:
    """Refuse targets that are no column; a row of JSON may lack keys that others have."""
    columns = {name: None for row in rows for name in row}
    for spec in config.target_specs:
        for name in spec.columns if spec.shares else (spec.name,):
            if name not in columns:
                raise DataError(
                    f"target {spec.name!r}: {called} has no column {name!r}.{near_matches(name, columns)} Its columns:"
                    f" {some_of(list(map(repr, columns)))}. Correct the name in `targets`, or rename the column."
                )
    rows[0] = {**columns, **rows[0]}  # whose keys are looked at later


def _with_labels(spec: TargetSpec, rows: Sequence[Row]) -> TargetSpec:
    """A target whose labels are named where its cells hold several at once."""
    if spec.labels:
        return spec
    found = tuple(spec.shares) or tuple(sorted(labels_in(rows, spec), key=label_order))
    if spec.is_multilabel and not found:
        raise DataError(
            f"target {spec.name!r}: no row names a label, so that there is nothing to ask. Check the column, or give `labels`."
        )
    return replace(spec, labels=found)


def _declared(
    questions: Sequence[TargetQuestion], answers: Mapping[str, _Examples], rows: Sequence[Row]
) -> tuple[tuple[TargetQuestion, ...], dict[str, _Examples]]:
    """Questions and answers with the labels that the training rows have."""
    known, read = [], {}
    for one in questions:
        cells = (row.get(one.spec.name) for row in rows)
        task, examples = declare_labels(one.task, list(answers[one.name].values()), cells if one.label is None else ())
        if one.spec.kind == "ordinal" and not one.spec.labels:
            _require_numbers(one.name, tuple(task.labels))
        known.append(replace(one, task=task))
        read[one.name] = {e.row_id: e for e in examples}
    return tuple(known), read


def _require_numbers(name: str, labels: Sequence[str]) -> None:
    """Refuse levels whose order is not known: only numbers say it themselves."""
    if any(label_order(label)[0] == float("inf") for label in labels):
        raise ConfigError(
            f"target {name!r} is ordinal, but its labels are {some_of(list(map(repr, labels)))}, which say no order. Give `labels`,"
            " the lowest first, in the target's mapping."
        )


def _of_usable_rows(answers: Mapping[str, _Examples]) -> dict[str, _Examples]:
    """Answers of rows that every question can read."""
    usable = set.intersection(*(set(of_one) for of_one in answers.values()))
    return {name: {n: e for n, e in of_one.items() if n in usable} for name, of_one in answers.items()}


def _answered(answers: Mapping[str, _Examples]) -> list[Example]:
    """Rows with an answer at least, in their order, without it."""
    having = {number for of_one in answers.values() for number, e in of_one.items() if e.target is not None}
    first = next(iter(answers.values()))
    return [replace(first[number], target=None) for number in sorted(having)]


def _unanswered(answers: Mapping[str, _Examples], spec: TargetSpec) -> int:
    """How many usable rows have no answer to a target."""
    return sum(e.target is None for e in answers[spec.part_names[0]].values())


def _split(
    config: RunConfig,
    questions: Sequence[TargetQuestion],
    found: Mapping[str, Mapping[str, _Examples]],
    fraction: float,
) -> tuple[list[Example], list[Example]]:
    """Training and validation rows, the same for all questions."""
    train = _answered(found["train"])
    if "validation" in found or not fraction:
        validation = _answered(found["validation"]) if "validation" in found else []
    elif len(questions) == 1:
        [only] = questions
        answers = [found["train"][only.name][e.row_id] for e in train]
        by_class = config.stratify and only.task.kind == "classification"
        parts = hold_out(answers, config.rows_seed, fraction, by_class=by_class)
        train, validation = ([replace(e, target=None) for e in parts[name]] for name in ("train", "validation"))
    else:
        parts = hold_out(train, config.rows_seed, fraction)
        train, validation = _with_all_classes(parts, found["train"])
    return limit_rows(train, config.limit, config.rows_seed) if config.limit else train, validation


def _with_all_classes(
    parts: Mapping[str, list[Example]], answers: Mapping[str, _Examples]
) -> tuple[list[Example], list[Example]]:
    """Training and validation rows, where a class that only rows held out have gets the first of these back."""
    held = {e.row_id: e for e in parts["validation"]}
    kept = {e.row_id: e for e in parts["train"]}
    for of_one in answers.values():
        known = {e.target.value for n, e in of_one.items() if n in kept and e.target is not None}
        for number in sorted(held):
            target = of_one[number].target
            if target is not None and isinstance(target.value, str) and target.value not in known:
                known.add(target.value)
                kept[number] = held.pop(number)
    return [kept[n] for n in sorted(kept)], [held[n] for n in sorted(held)]


def _part(
    one: TargetQuestion,
    found: Mapping[str, Mapping[str, _Examples]],
    train: Sequence[Example],
    validation: Sequence[Example],
    origin: str,
) -> TrainingData:
    """The rows that have an answer to a question, as a run of it alone takes them."""
    where = "validation" if "validation" in found else "train"
    answers = (
        [found["train"][one.name][e.row_id] for e in train],
        [found[where][one.name][e.row_id] for e in validation],
    )
    rows, held = ([e for e in of_part if e.target is not None] for of_part in answers)
    if not rows:
        raise DataError(
            f"target {one.name!r}: none of the {len(train)} training rows has an answer. Raise `limit`, or fill some in."
        )
    try:
        return TrainingData(one.task, rows, held, origin=origin)
    except PredgenError as error:
        raise type(error)(f"target {one.name!r}: {error}") from error
