"""Measure a trained model on rows with targets: metrics with bootstrap intervals, and counts of what went wrong."""

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from predgen import registries
from predgen.codecs.number import NumberCodec
from predgen.core import Decoding, Example
from predgen.data.examples import to_examples
from predgen.data.sources import rows_of
from predgen.errors import ConfigError
from predgen.inference.trained import TrainedModel, count_flags
from predgen.metrics.base import evaluate_metrics
from predgen.metrics.intervals import bootstrap_interval
from predgen.models.base import PLAIN
from predgen.training.prepare import load_data, load_split


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures of one model on one set of rows.

    Attributes:
        rows: Number of rows.
        metrics: Name -> value.
        intervals: Name -> ends of the 95 % percentile bootstrap interval over rows.
        counts: Flag -> rows ("truncated", "parse_failure", "out_of_budget"), and "out_of_range": targets that the number
            codec cannot write; they are scored as they are.
    """

    rows: int
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    counts: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data; None stands where a value is not defined (nan)."""
        return {
            "rows": self.rows,
            "metrics": {name: _defined(value) for name, value in self.metrics.items()},
            "intervals": {name: [_defined(end) for end in ends] for name, ends in self.intervals.items()},
            "counts": dict(self.counts),
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
        on_batch: Called with the number of rows after each batch.

    Raises:
        DataError: If a label is not one that the model knows.
    """
    encoded = [trained.encoder.encode(example, with_answer=False) for example in examples]
    predictions = trained.predict_encoded(encoded, batch_size=batch_size, decoding=decoding, on_batch=on_batch)
    targets = [example.target.value for example in examples if example.target is not None]
    values = [prediction.value for prediction in predictions]
    probabilities = [p.probabilities for p in predictions] if trained.labels and predictions else []
    complete = bool(probabilities) and None not in probabilities
    labels = trained.labels if complete else None
    known = probabilities if complete else None
    names = [n for n in trained.task.metrics if complete or not registries.metrics.get(n).needs_probabilities]
    return Evaluation(
        len(examples),
        evaluate_metrics(names, targets, values, known, labels),
        {
            name: bootstrap_interval(name, targets, values, known, labels, n_resamples=n_resamples, seed=seed)
            for name in names
        },
        {**count_flags(predictions), **_out_of_range(trained, targets)},
    )


def _out_of_range(trained: TrainedModel, targets: Sequence[str | float]) -> dict[str, int]:
    """How many numbers the codec cannot write; nothing where there are none."""
    codec = trained.encoder.codec
    if not isinstance(codec, NumberCodec):
        return {}
    outside = sum(not codec.low <= float(target) <= codec.high for target in targets)
    return {"out_of_range": outside} if outside else {}


def rows_to_measure(
    trained: TrainedModel, *, split: str | None = None, data: str | None = None, data_dir: str | None = None
) -> list[Example]:
    """Read the rows to measure a model on.

    Args:
        trained: The model.
        split: A split of the run's task, with the run's seed; for a run on a file of the user's: "validation".
        data: A file with the run's columns; all its rows.
        data_dir: The task's folder; None: the run's.

    Raises:
        ConfigError: If neither or both of `split` and `data` are given, or the run has no such split.
        DataError: If the rows cannot be read.
    """
    if (split is None) == (data is None):
        raise ConfigError("give either `split` (of the run's task) or `data` (a file), not both and not neither.")
    if data is not None:
        return to_examples(rows_of(data), trained.task)
    config = trained.config
    assert split is not None, "checked above"
    if config.task is not None:
        return to_examples(load_split(trained.task, split, data_dir or config.data_dir, config.seed), trained.task)
    if split != "validation":
        raise ConfigError(
            f"`split` is {split!r}, but this run was trained on a file of yours, which has the split validation only."
        )
    with tempfile.TemporaryDirectory() as scratch:  # bad rows are skipped as in training, and were reported there
        return load_data(config, Path(scratch)).validation
