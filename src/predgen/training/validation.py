"""Facts about data before a model is trained on it. Only the tokenizer is loaded."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from predgen import registries
from predgen.codecs.number import NumberCodec
from predgen.config import RunConfig
from predgen.core import Example
from predgen.models.base_model import load_tokenizer
from predgen.training.prepare import load_data, make_codec, make_encoder, make_setup, weigh


def validate_data(config: RunConfig) -> dict[str, Any]:
    """Read and check everything a training run would read.

    Returns:
        Facts by name, plain JSON data: rows, targets, token lengths, truncated rows, duplicates, overlap of splits.

    Raises:
        PredgenError: As training would, before it loads a model.
    """
    data = load_data(replace(config, bad_rows="error"))
    setup = make_setup(config, data.task, data.train)
    tokenizer = load_tokenizer(config.model, trust_remote_code=config.trust_remote_code)
    wants_codec = registries.methods.get(config.method).needs_codec
    codec = make_codec(config, data.task, setup.labels, data.train, tokenizer) if wants_codec else None
    encoder = make_encoder(config, data.task, codec, setup.labels, tokenizer, None)
    encoded = [encoder.encode(example) for example in weigh(config, setup, data.train)]
    lengths = [len(row.prompt_ids) + len(row.answer_ids) for row in encoded]
    facts: dict[str, Any] = {
        "task": data.task.name,
        "kind": data.task.kind,
        "train_rows": len(data.train),
        "validation_rows": len(data.validation),
        "targets": _targets(data.train, setup.labels),
        "tokens_per_row": {"min": min(lengths), "median": statistics.median(lengths), "max": max(lengths)},
        "truncated_rows": sum(row.is_truncated for row in encoded),
        **_duplicates(data.train),
        "validation_prompts_also_in_train": len(_prompts(data.train).keys() & _prompts(data.validation).keys()),
    }
    if isinstance(codec, NumberCodec):
        facts["numbers_written"] = {
            "low": codec.low,
            "high": codec.high,
            "step": codec.step,
            "rounding_rmse": codec.rounding_rmse,
        }
    return facts


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


def _prompts(examples: Sequence[Example]) -> Mapping[tuple[str, ...], list[Any]]:
    """Targets by prompt fields."""
    found: dict[tuple[str, ...], list[Any]] = defaultdict(list)
    for example in examples:
        found[tuple(example.fields.values())].append(example.target.value if example.target else None)
    return found


def _duplicates(examples: Sequence[Example]) -> dict[str, int]:
    """Rows whose prompt stands in an earlier row, and prompts with more than one target."""
    prompts = _prompts(examples)
    return {
        "repeated_prompts": sum(len(targets) - 1 for targets in prompts.values()),
        "prompts_with_several_targets": sum(len(set(targets)) > 1 for targets in prompts.values()),
    }
