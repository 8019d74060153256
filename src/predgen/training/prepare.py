"""Settings and rows -> everything a training run needs: examples, codec, encoder, setup. No model is loaded here."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from predgen import registries
from predgen.codecs.base import Codec
from predgen.codecs.decimals import to_decimal
from predgen.codecs.number import is_within
from predgen.codecs.settings import NumberSettings
from predgen.codecs.spelling import stop_id
from predgen.config import RunConfig
from predgen.core import Example, TaskSpec
from predgen.data.chat import ChatFrame, chat_frame, turn_of
from predgen.data.encode import Encoder
from predgen.data.labels import classes_of, labels_of, with_labels
from predgen.errors import ConfigError, DataError
from predgen.models.base import ModelSetup
from predgen.sampling.base import SamplingMode
from predgen.target_scale import TargetScale


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
        {name: value for name, value in config.own.items() if name in config.method_settings()},
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
    return balanced(examples)


def balanced(examples: Sequence[Example]) -> list[Example]:
    """Multiply row weights by class weights n / (K n_c), so that all classes weigh the same."""
    counts = Counter(str(e.target.value) for e in examples if e.target is not None)
    return [
        replace(e, weight=e.weight * len(examples) / (len(counts) * counts[str(e.target.value)])) if e.target else e
        for e in examples
    ]
