"""Settings and rows -> everything a training run needs: examples, codec, encoder, setup. No model is loaded here."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from predgen import registries
from predgen.codecs.base import Codec
from predgen.codecs.decimals import to_decimal
from predgen.codecs.number import is_within
from predgen.codecs.settings import NumberSettings
from predgen.codecs.spelling import stop_id
from predgen.components import value_of
from predgen.config import RunConfig
from predgen.core import Example, TaskSpec
from predgen.data.chat import ChatFrame, chat_frame, turn_of
from predgen.data.encode import Encoder
from predgen.data.examples import custom_task, to_examples
from predgen.data.labels import classes_of, declare_labels, labels_of, with_labels
from predgen.data.sources import rows_of
from predgen.data.splits import hold_out_by_class, limit_rows, split_rows
from predgen.data.tables import load_hub, load_task
from predgen.errors import ConfigError, DataError
from predgen.models.base import ModelSetup
from predgen.sampling.base import SamplingMode
from predgen.target_scale import TargetScale

_SKIP = "leave such rows out with --bad-rows skip (bad_rows='skip')"


@dataclass(frozen=True, slots=True)
class TrainingData:
    """A task with its examples.

    Attributes:
        task: The task; for classes with all labels, those that `limit` left no row included. A task that declares none has
            those of the training rows.
        train: Training rows.
        validation: Rows that select the checkpoint; may be empty.
        skipped: Bad rows that were left out (`bad_rows="skip"`).
    """

    task: TaskSpec
    train: list[Example]
    validation: list[Example]
    skipped: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "task", with_labels(self.task, labels_of(self.train)))


def load_data(config: RunConfig, side_folder: Path | None = None) -> TrainingData:
    """Read, check and split the rows a config names.

    Args:
        config: The settings.
        side_folder: Where `bad_rows="skip"` writes the rows it leaves out.

    Raises:
        DataError: If files, columns, rows or targets cannot be used.
    """
    task = task_of(config)
    parts: dict[str, list[Example]] = {}
    skipped = 0
    for split, rows in _raw_splits(config, task).items():
        side = side_folder / f"bad-rows.{split}.jsonl" if side_folder and config.bad_rows == "skip" else None
        parts[split] = to_examples(
            rows, task, bad_rows=config.bad_rows, side_file=side, source=_source(config, split), remedy=_SKIP
        )
        skipped += len(rows) - len(parts[split])
        if split == "train" and config.task is None:
            # Before anything is held out or limited: what the classes are must not depend on a draw. Rows of a validation
            # file are then read against them, so that a label which no training row has is a bad row.
            task, parts["train"] = declare_labels(task, parts["train"], (row.get(task.target) for row in rows))
    if "validation" not in parts:
        parts = hold_out(parts["train"], config.rows_seed, by_class=config.stratify and task.kind == "classification")
    train = limit_rows(parts["train"], config.limit, config.rows_seed) if config.limit else parts["train"]
    return TrainingData(task, train, parts["validation"], skipped)


def _source(config: RunConfig, split: str) -> str:
    """Name a split's rows for a message."""
    if config.task is not None:
        return f"split {split!r} of task {config.task!r}"
    return f"`data` {config.data!r}" if split == "train" else f"`validation_data` {config.validation_data!r}"


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


def load_split(task: TaskSpec, split: str, data_dir: str | None, seed: int) -> list[dict[str, Any]]:
    """One split of a known task, from its publisher's files or from the hub."""
    if data_dir is not None:
        return load_task(task, split, data_dir=data_dir, seed=seed)
    return load_hub(task, split, seed=seed)


def _raw_splits(config: RunConfig, task: TaskSpec) -> dict[str, list[dict[str, Any]]]:
    """Rows of each split that the sources give."""
    if config.task is not None:
        return {s: load_split(task, s, config.data_dir, config.rows_seed) for s in ("train", "validation")}
    if config.data is None:
        raise ConfigError(
            "the settings name no rows: give `data` (your own file) or `task`, or pass rows in memory (`train(..., data=)`)."
        )
    splits = {"train": list(rows_of(config.data))}
    if config.validation_data is not None:
        splits["validation"] = list(rows_of(config.validation_data))
    return splits


def hold_out(
    examples: Sequence[Example], seed: int, fraction: float = 0.1, *, by_class: bool = False
) -> dict[str, list[Example]]:
    """Hold out a seeded share as validation; rows with equal prompts stay together.

    Args:
        examples: The rows.
        seed: Seed of the choice.
        fraction: Share to hold out.
        by_class: Hold out that share of every class, and the last row of none (`splits.hold_out_by_class`).

    Raises:
        DataError: If nothing can be held out.
    """
    keyed: list[dict[str, Any]] = [{"text": " \0 ".join(e.fields.values()), "example": e} for e in examples]
    if by_class:
        labels = [str(e.target.value) if e.target is not None else "" for e in examples]
        parts = hold_out_by_class(keyed, labels, fraction, group=["text"], seed=seed)
    else:
        parts = split_rows(keyed, {"train": 1 - fraction, "validation": fraction}, group=["text"], seed=seed)
    return {name: [row["example"] for row in rows] for name, rows in parts.items()}


def unmeasured_classes(data: TrainingData) -> list[str]:
    """Classes that no validation row has, so that no figure says anything about them; none where there are no such rows."""
    if not data.validation:
        return []
    measured = {e.target.value for e in data.validation if e.target is not None}
    return [label for label in classes_of(data.task) if label not in measured]


def class_labels(task: TaskSpec, examples: Sequence[Example]) -> tuple[str, ...]:
    """Labels in order: as the task declares them, else those of the training rows, numbers in numeric order.

    Raises:
        DataError: If the rows have one class only.
    """
    if task.kind != "classification":
        return ()
    found = labels_of(examples)
    labels = classes_of(with_labels(task, found))
    if len(found) < 2:
        raise DataError(
            f"all {len(examples)} training rows have the same label {found[0]!r}; a classifier needs at least"
            " two classes. Check the target column, or raise `limit`."
        )
    return labels


def make_setup(config: RunConfig, task: TaskSpec, examples: Sequence[Example], *, trains: bool = True) -> ModelSetup:
    """Derive what the model is built from.

    Args:
        config: The settings.
        task: The task.
        examples: Training rows.
        trains: Whether the model is going to be trained, so that something has to be trainable.

    Raises:
        ConfigError: If settings do not fit the task, or nothing would train.
        DataError: If there is one class only, or all numbers are equal.
    """
    director, mode = config.component(registries.directors), config.component(registries.sampling)
    has_head = not registries.methods.facts(config.method).get("headless", False)
    if director is not None:
        registered = registries.directors.get(director.name)
        has_head = registered.has_head
        if task.kind not in registered.kinds:
            raise ConfigError(
                f"director {director.name!r} serves {' and '.join(registered.kinds)}, but the task is a {task.kind} task."
            )
        if mode is not None:
            modes: type[SamplingMode] = registries.sampling.get(mode.name)
            modes.check_task(mode.name, task.kind, director.name, has_head=has_head)
    if trains:
        _refuse_untrainable(config, director.name if director else "", has_head=has_head)
    scale = fit_scale(config, task, examples)
    return ModelSetup(
        config.method,
        task.kind,
        class_labels(task, examples),
        scale.mean,
        scale.std,
        config.method_settings(),
        scale.transform,
        scale.low,
        scale.high,
        scale.knots,
    )


def declared_range(config: RunConfig, task: TaskSpec) -> tuple[float | None, float | None]:
    """Lowest and highest number as the settings declare them, or else the task; None where neither does."""
    low, high = task.scale or (None, None)
    return low if config.minimum is None else config.minimum, high if config.maximum is None else config.maximum


def fit_scale(config: RunConfig, task: TaskSpec, examples: Sequence[Example]) -> TargetScale:
    """How the task's numbers are written and learned, by the training rows.

    Raises:
        ConfigError: If range or transform are set for a task that is no regression, or the range is empty.
        DataError: If all numbers are equal, one lies outside the declared range, or has no logarithm under "log".
    """
    if task.kind != "regression":
        _refuse_scale(config, task)
    if task.kind == "classification":
        return TargetScale()
    low, high = declared_range(config, task)
    if low is not None and high is not None and low >= high:
        raise ConfigError(f"the range of the targets is {low:g}..{high:g}; `minimum` must be below `maximum`.")
    known = [example for example in examples if example.target is not None]
    outside = [e for e in known if e.target and not is_within(to_decimal(e.target.value), low, high)]
    if outside:
        first = outside[0]
        assert first.target is not None, "chosen so"
        raise DataError(
            f"{len(outside)} of {len(known)} training targets lie outside the declared range"
            f" {'-inf' if low is None else low}..{'inf' if high is None else high}, such as {first.target.value} in row"
            f" {first.row_id + 1}. Correct the rows, or widen `minimum` or `maximum`."
        )
    values = [float(e.target.value) for e in known if e.target is not None]
    return TargetScale.of(values, config.target_transform, low, high, [e.weight for e in known])


def _refuse_scale(config: RunConfig, task: TaskSpec) -> None:
    """Refuse settings of numbers for other targets."""
    given = [name for name in ("minimum", "maximum") if getattr(config, name) is not None]
    given += ["target_transform"] if config.target_transform != "none" else []
    if given:
        raise ConfigError(
            f"`{given[0]}` is {getattr(config, given[0])!r}, but it is for regression, and this is a {task.kind} task. Leave"
            " it out, or choose kind 'regression'."
        )


def _refuse_untrainable(config: RunConfig, director: str, *, has_head: bool) -> None:
    """Refuse settings with which no weight would train."""
    if registries.peft_methods.get(config.peft).trains == "nothing" and not has_head:
        which = f"method {config.method!r}" + (f" with the headless director {director!r}" if director else "")
        raise ConfigError(f"{which} with peft 'none' has nothing to train; choose another `peft`.")


def make_codec(
    config: RunConfig,
    task: TaskSpec,
    setup: ModelSetup,
    examples: Sequence[Example],
    tokenizer: Any,  # noqa: ANN401
) -> Codec:
    """Fix the answer format by the training rows; numbers are fitted as they are written."""
    turn = turn_of(frame_of(config, tokenizer))
    targets = [e.target for e in examples if e.target is not None]
    chosen = config.component(registries.codecs)
    assert chosen is not None, f"{config.method} writes nothing"
    format_of = registries.codecs.get(chosen.name)
    codec: Codec
    if task.form == "cloze":
        codec = format_of.fit([e.options for e in examples], tokenizer, turn=turn)
    elif task.kind == "classification":
        codec = format_of.fit(setup.labels, tokenizer, turn=turn)
    elif task.kind == "regression":
        numbers = [setup.scale.written(float(t.value)) for t in targets]
        written = setup.scale.written_range(*declared_range(config, task))
        own: NumberSettings = chosen.settings
        codec = format_of.fit(
            numbers, tokenizer, scale=written, decimals=own.decimals, number_format=own.number_format, turn=turn
        )
    else:
        if not writes_rationale(config):
            targets = [replace(t, rationale=None) for t in targets]
        codec = format_of.fit(targets, tokenizer, turn=turn)
    return codec


def make_encoder(
    config: RunConfig,
    task: TaskSpec,
    codec: Codec | None,
    labels: tuple[str, ...],
    tokenizer: Any,  # noqa: ANN401
    context: int | None,
    scale: TargetScale | None = None,
) -> Encoder:
    """Bring prompt template, codec and length limits together."""
    stop_id(tokenizer)
    return Encoder(
        tokenizer,
        task.prompt,
        codec,
        labels=labels,
        max_length=min(config.max_length, context or config.max_length),
        truncate_field=config.truncate_field,
        truncate=config.truncate,
        scale=scale,
        frame=frame_of(config, tokenizer),
    )


def frame_of(config: RunConfig, tokenizer: Any) -> ChatFrame | None:  # noqa: ANN401
    """A chat model's frame around prompts where the settings ask for it.

    Raises:
        ConfigError: If they give a system text without it, or the tokenizer has no usable chat template.
    """
    if config.format == "chat":
        return chat_frame(tokenizer, config.system)
    if config.system is not None:
        raise ConfigError("`system` is a chat's, but `format` is 'plain'. Leave it out, or take `format` 'chat'.")
    return None


def writes_rationale(config: RunConfig) -> bool:
    """Whether a math answer's worked solution is written before it, where the rows have one."""
    codec = config.component(registries.codecs)
    return codec is None or getattr(codec.settings, "rationale", True)


def weigh(config: RunConfig, setup: ModelSetup, examples: Sequence[Example]) -> list[Example]:
    """Multiply row weights by class weights n / (K n_c) where the config asks for them.

    Raises:
        ConfigError: If class weights are asked for numbers.
    """
    if not writes_rationale(config):
        examples = [replace(e, target=replace(e.target, rationale=None)) if e.target else e for e in examples]
    if config.class_weight == "none":
        return list(examples)
    if not setup.labels:
        raise ConfigError("`class_weight` 'balanced' needs a classification task.")
    counts = Counter(str(e.target.value) for e in examples if e.target is not None)
    return [
        replace(e, weight=e.weight * len(examples) / (len(counts) * counts[str(e.target.value)])) if e.target else e
        for e in examples
    ]
