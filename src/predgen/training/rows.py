"""Which rows: the one answer to where a run's rows come from, how they are read, and what is held out of them.

a file, a frame, a known task's files or its set on the hub -> `RowSource` -> rows as they are -> `Example`s -> `TrainingData`

Training, checking, measuring, comparing and analysing ask here. A configuration may name rows, as YAML and flags have to; rows
that are handed over are the same to all that follows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from predgen import registries
from predgen.components import value_of
from predgen.config import RunConfig
from predgen.core import Example, TaskSpec
from predgen.data.examples import custom_task, to_examples
from predgen.data.labels import classes_of, declare_labels, labels_of, with_labels
from predgen.data.sources import rows_of
from predgen.data.splits import hold_out, limit_rows
from predgen.data.tables import load_hub, load_task
from predgen.errors import ConfigError

IN_MEMORY = "rows in memory, read from no file"
"""What is saved of rows that were handed over: `fit(X, y)`, `train(config, data=...)`."""

SKIP_ROWS = "leave such rows out with --bad-rows skip (bad_rows='skip')"
"""What messages about bad training rows offer besides repairing them."""


@dataclass(frozen=True, slots=True)
class TrainingData:
    """A task with its examples.

    Attributes:
        task: The task; for classes with all labels, those that `limit` left no row included. A task that declares none has
            those of the training rows.
        train: Training rows.
        validation: Rows that select the checkpoint; may be empty.
        skipped: Bad rows that were left out (`bad_rows="skip"`).
        origin: Where the rows came from, in words that are saved with the model.
    """

    task: TaskSpec
    train: list[Example]
    validation: list[Example]
    skipped: int = 0
    origin: str = IN_MEMORY

    def __post_init__(self) -> None:
        object.__setattr__(self, "task", with_labels(self.task, labels_of(self.train)))


@dataclass(frozen=True, slots=True)
class RowSource:
    """Where a run's rows come from.

    Attributes:
        task: A known task, by name, whose splits are read; None: the rows are the user's own.
        folder: Folder with the task's files; None: the hub.
        seed: Seed of the splits that a task's publisher has not made.
        own: Split -> the user's own rows, as `sources.rows_of` takes them; empty where they are not kept.
        in_memory: Whether these were handed over, and are in no file.
    """

    task: str | None = None
    folder: str | None = None
    seed: int = 0
    own: Mapping[str, Any] = field(default_factory=dict)
    in_memory: bool = False

    @classmethod
    def of(cls, config: RunConfig, rows: Any = None) -> "RowSource":  # noqa: ANN401
        """Return the source of the rows that are handed over, or else of those that a configuration names.

        Raises:
            ConfigError: If both are there.
        """
        if rows is not None:
            if config.data is not None:
                raise ConfigError(
                    f"rows were handed over, but `data` names {config.data!r}, too; leave one of them out."
                )
            return cls(own={"train": rows}, in_memory=not isinstance(rows, str | Path))
        if config.task is not None:
            return cls(config.task, config.data_dir, config.rows_seed)
        named = {"train": config.data, "validation": config.validation_data}
        own = {split: path for split, path in named.items() if path is not None and config.data is not None}
        return cls(own=own, in_memory=not own)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that training reads."""
        return ("train", "validation") if self.task is not None else tuple(self.own)

    @property
    def in_words(self) -> str:
        """What is saved of where rows came from; no folder of this machine is named."""
        if self.task is not None:
            return f"task {self.task}, " + ("from its publisher's files" if self.folder is not None else "from the hub")
        return IN_MEMORY if self.in_memory else "a file of the user's"

    def rows(self, split: str, task: TaskSpec) -> list[dict[str, Any]]:
        """Read the rows of a split as they are, of `task` where the source is a known one."""
        if self.task is None:
            return list(rows_of(self.own[split]))
        if self.folder is not None:
            return load_task(task, split, data_dir=self.folder, seed=self.seed)
        return load_hub(task, split, seed=self.seed)

    def called(self, split: str) -> str:
        """Name a split's rows for a message."""
        if self.task is not None:
            return f"split {split!r} of task {self.task!r}"
        name = "data" if split == "train" else "validation_data"
        return f"`{name}`" if self.in_memory else f"`{name}` {str(self.own[split])!r}"


def load_data(config: RunConfig, side_folder: Path | None = None, rows: Any = None) -> TrainingData:  # noqa: ANN401
    """Read, check and split training rows.

    Args:
        config: The settings.
        side_folder: Where `bad_rows="skip"` writes the rows it leaves out; None: nowhere, they were reported before.
        rows: A path, a data frame, a data set or a list of mappings; None: the rows that the settings name.

    Raises:
        ConfigError: If there are no rows, or twice.
        DataError: If files, columns, rows or targets cannot be used.
    """
    source, task = RowSource.of(config, rows), task_of(config)
    if not source.splits:
        raise ConfigError(
            "the settings name no rows: give `data` (your own file) or `task`, or pass rows in memory (`train(..., data=)`)."
        )
    parts: dict[str, list[Example]] = {}
    skipped = 0
    for split in source.splits:
        read = source.rows(split, task)
        side = side_folder / f"bad-rows.{split}.jsonl" if side_folder and config.bad_rows == "skip" else None
        parts[split] = to_examples(
            read,
            task,
            bad_rows=config.bad_rows,
            side_file=side,
            is_reported=side_folder is None,
            source=source.called(split),
            remedy=SKIP_ROWS,
        )
        skipped += len(read) - len(parts[split])
        if split == "train" and config.task is None:
            # Before anything is held out or limited: what the classes are must not depend on a draw. Rows of a validation
            # file are then read against them, so that a label which no training row has is a bad row.
            task, parts["train"] = declare_labels(task, parts["train"], (row.get(task.target) for row in read))
    if "validation" not in parts:
        parts = hold_out(parts["train"], config.rows_seed, by_class=config.stratify and task.kind == "classification")
    train = limit_rows(parts["train"], config.limit, config.rows_seed) if config.limit else parts["train"]
    return TrainingData(task, train, parts["validation"], skipped, source.in_words)


def split_of(
    config: RunConfig, task: TaskSpec, split: str, *, folder: str | None = None, side_file: Path | None = None
) -> list[Example]:
    """Read a split of a known task as a run reads its own.

    Args:
        config: The run's settings: seed of the splits, and what is done with bad rows.
        task: The task, which need not be the run's.
        split: "train", "validation" or "test".
        folder: Folder with the task's files; None: the run's, or else the hub.
        side_file: Where bad rows that are skipped are written; None: nowhere.
    """
    rows = RowSource(task.name, folder or config.data_dir, config.rows_seed).rows(split, task)
    return to_examples(rows, task, bad_rows=config.bad_rows, side_file=side_file, is_reported=side_file is None)


def task_of(config: RunConfig) -> TaskSpec:
    """The task a config names, or one made from the user's flags, in the form that the method asks for."""
    form = registries.methods.facts(config.method).get("form", "paper")
    if config.task is None:
        if form != "paper":
            raise ConfigError(
                f"method {config.method!r} chooses among the options of the known multiple-choice tasks, but these rows are"
                " your own. Choose another method."
            )
        assert config.prompt is not None, "RunConfig makes sure of it"
        assert config.target is not None, "RunConfig makes sure of it"
        assert config.kind is not None, "RunConfig makes sure of it"
        return custom_task(
            prompt=config.prompt.replace("\\n", "\n"),
            target=config.target,
            kind=config.kind,
            weight=config.weight_column,
            labels=config.label_texts,
            normalise_labels=config.normalise_labels,
        )
    task: TaskSpec = value_of(registries.tasks, config.task, config.own)
    for name in ("target", "kind", "weight_column", "validation_data", "label_texts"):
        if getattr(config, name) is not None:
            raise ConfigError(f"`{name}` belongs to your own file (`data`); task {config.task!r} declares its own.")
    if form == "cloze":
        task = _cloze(task)
    if config.prompt is not None:
        task = replace(task, prompt=config.prompt.replace("\\n", "\n"))
    return task


def _cloze(task: TaskSpec) -> TaskSpec:
    """The same task, with its options' texts as answers."""
    if task.cloze is None:
        known = [name for name in registries.tasks if value_of(registries.tasks, name).cloze is not None]
        raise ConfigError(
            f"method 'options' scores the texts of a row's options, which task {task.name!r} has not; these have them: "
            f"{', '.join(known)}."
        )
    return replace(task, prompt=task.cloze, form="cloze")


def unmeasured_classes(data: TrainingData) -> list[str]:
    """Classes that no validation row has, so that no figure says anything about them; none where there are no such rows."""
    if not data.validation:
        return []
    measured = {e.target.value for e in data.validation if e.target is not None}
    return [label for label in classes_of(data.task) if label not in measured]
