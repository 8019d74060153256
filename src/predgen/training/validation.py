"""Facts about data before a model is trained on it, or measured. Only the tokenizer is loaded."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from predgen import registries
from predgen.codecs.base import Codec
from predgen.codecs.number import NumberCodec
from predgen.config import RunConfig
from predgen.core import Example, TaskSpec
from predgen.data.digests import row_digest
from predgen.data.labels import classes_of
from predgen.data.tables import available_splits
from predgen.engine.base_model import load_tokenizer
from predgen.training.prepare import make_codec, make_encoder, make_setup, weigh
from predgen.training.remarks import remarks
from predgen.training.rows import TrainingData, load_data, split_of, task_of, unmeasured_classes
from predgen.training.target_rows import load_target_rows

_OF_TARGETS = (
    "train_rows",
    "validation_rows",
    "targets",
    "unmeasured_classes",
    "tokens_per_row",
    "truncated_rows",
    "numbers_written",
)
"""Facts about one of several targets; others are the same for all."""


def validate_data(config: RunConfig) -> dict[str, Any]:
    """Read and check everything a training run would read, and a known task's test rows.

    Returns:
        Facts by name, plain JSON data: rows, targets, token lengths, truncated rows, duplicates, overlap of splits, and
        `remarks` on a file of the user's. Sets that are for measuring only have facts about their test rows alone.

    Raises:
        PredgenError: As training would, before it loads a model.
    """
    if config.targets is not None:
        return _facts_of_targets(config)
    task = task_of(config)
    splits = available_splits(task, config.data_dir) if config.task is not None else ("train",)
    # Where there is nothing at all, reading says what was looked for.
    data = None if splits == ("test",) else load_data(config)
    test = split_of(config, task, "test") if "test" in splits else []
    facts: dict[str, Any] = {"task": task.name, "kind": task.kind}
    if data is not None:
        facts |= _training_facts(config, data)
    if test:
        facts |= {f"test_{name}": fact for name, fact in _test_facts(config, task, test).items()}
    if test and data is not None:
        facts["test_prompts_also_in_train"] = _shared(test, data.train)
        facts["test_prompts_also_in_validation"] = _shared(test, data.validation)
    return facts


def _facts_of_targets(config: RunConfig) -> dict[str, Any]:
    """Facts about the rows of several targets, and about those of each question (`of_targets`)."""
    data, found, remarks_on = load_target_rows(config), {}, []
    for one in data.questions:
        own = _training_facts(one.config, data.parts[one.name])
        remarks_on += [f"target {one.name!r}: {remark}" for remark in own.pop("remarks")]
        found[one.name] = {name: own[name] for name in _OF_TARGETS if name in own}
    return {
        "kind": "several targets",
        "train_rows": len(data.train),
        "validation_rows": len(data.validation),
        "skipped_rows": data.skipped,
        "rows_without_answer": dict(data.missing),
        "remarks": remarks_on,
        "of_targets": found,
    }


def _test_facts(config: RunConfig, task: TaskSpec, test: Sequence[Example]) -> dict[str, Any]:
    """Facts about test rows; their answers are not written, so lengths are those of the prompts."""
    tokenizer = load_tokenizer(config.model, trust_remote_code=config.trust_remote_code)
    encoder = make_encoder(config, task, None, classes_of(task), tokenizer, None)
    encoded = [encoder.encode(example, with_answer=False) for example in test]
    return {
        "rows": len(test),
        "targets": _targets(test, classes_of(task)),
        "tokens_per_prompt": _spread([len(row.prompt_ids) for row in encoded]),
        "truncated_rows": sum(row.is_truncated for row in encoded),
        **_duplicates(test),
    }


def _training_facts(config: RunConfig, data: TrainingData) -> dict[str, Any]:
    """Facts about training and validation rows."""
    setup = make_setup(config, data.task, data.train)
    tokenizer = load_tokenizer(config.model, trust_remote_code=config.trust_remote_code)
    wants_codec = registries.methods.get(config.method).needs_codec
    codec = make_codec(config, data.task, setup, data.train, tokenizer) if wants_codec else None
    encoder = make_encoder(config, data.task, codec, setup.labels, tokenizer, None, setup.scale)
    encoded = [encoder.encode(example) for example in weigh(config, setup, data.train)]
    truncated = sum(row.is_truncated for row in encoded)
    return {
        "train_rows": len(data.train),
        "validation_rows": len(data.validation),
        "skipped_rows": data.skipped,
        "targets": _targets(data.train, setup.labels),
        "unmeasured_classes": unmeasured_classes(data),
        "tokens_per_row": _spread([len(row.prompt_ids) + len(row.answer_ids) for row in encoded]),
        "truncated_rows": truncated,
        **_duplicates(data.train),
        "validation_prompts_also_in_train": _shared(data.validation, data.train),
        **_numbers_written(codec),
        "remarks": remarks(data, truncated, config.target_transform) if config.task is None else [],
    }


def _spread(lengths: Sequence[int]) -> dict[str, float]:
    """Shortest, median and longest."""
    return {"min": min(lengths), "median": statistics.median(lengths), "max": max(lengths)}


def _numbers_written(codec: Codec | None) -> dict[str, Any]:
    """Format, range and rounding of a number codec; nothing for others."""
    return {"numbers_written": codec.facts()} if isinstance(codec, NumberCodec) else {}


def _shared(examples: Sequence[Example], others: Sequence[Example]) -> int:
    """How many prompts stand in both, whatever their case and blanks."""
    return len(_prompts(examples).keys() & _prompts(others).keys())


def _targets(examples: Sequence[Example], labels: Sequence[str]) -> Mapping[str, float]:
    """Rows per label, or the range of the numbers."""
    values = [e.target.value for e in examples if e.target is not None]
    if labels:
        counts = Counter(map(str, values))
        return {label: counts[label] for label in labels}
    numbers = [float(v) for v in values]
    return {
        "min": min(numbers),
        "mean": statistics.fmean(numbers),
        "max": max(numbers),
        "std": statistics.pstdev(numbers),
    }


def _prompts(examples: Sequence[Example]) -> Mapping[str, list[Any]]:
    """Targets by the prompt fields' digest."""
    found: dict[str, list[Any]] = defaultdict(list)
    for example in examples:
        found[row_digest(example)].append(example.target.value if example.target else None)
    return found


def _duplicates(examples: Sequence[Example]) -> dict[str, int]:
    """Rows whose prompt stands in an earlier row, and prompts with more than one target."""
    prompts = _prompts(examples)
    return {
        "repeated_prompts": sum(len(targets) - 1 for targets in prompts.values()),
        "prompts_with_several_targets": sum(len(set(targets)) > 1 for targets in prompts.values()),
    }
