"""Rows of an experiment: the same for every method of a task, whatever the seed of the run."""

import hashlib
import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from predgen import registries
from predgen.compare.plan import OWN_FILE, Cell, Plan
from predgen.components import value_of
from predgen.config import RunConfig
from predgen.core import Example, TaskSpec
from predgen.data.digests import RowDigests, row_digest
from predgen.data.encode import Encoder
from predgen.data.examples import to_examples
from predgen.data.sources import rows_of
from predgen.data.splits import hold_out, limit_rows
from predgen.data.tables import is_published
from predgen.engine.base_model import load_tokenizer
from predgen.errors import DataError
from predgen.training.rows import TrainingData, load_data, split_of

_TEST_SHARE = 0.2
_SAMPLED = 500  # rows whose prompts are measured to fill a budget of tokens
_ANSWER_TOKENS = 8  # a label or a number with its stop, rounded up


@dataclass(frozen=True, slots=True)
class CellRows:
    """Rows of one run.

    Attributes:
        training: Training rows, and validation rows as training looks at them (at most `scored_rows`).
        tests: Task -> rows to measure at the end.
        split: "test" or "validation": where `tests` come from.
    """

    training: TrainingData
    tests: Mapping[str, list[Example]]
    split: str


def load_rows(cell: Cell, side_folder: Path | None = None) -> CellRows:
    """Read the rows of a run.

    Args:
        cell: The run.
        side_folder: Where rows that are skipped as bad are written; None: nowhere.

    Raises:
        DataError: If they cannot be read, or test rows of the user's own file are among the training rows.
    """
    config = cell.config()
    data, own_test = (load_data(config, side_folder), None) if config.task else _own_splits(cell, config, side_folder)
    seed = config.rows_seed
    validation = limit_rows(data.validation, cell.scored_rows, seed) if cell.scored_rows else data.validation
    training = replace(data, validation=validation)
    if cell.measure_on == "validation" or cell.stage == "trial":
        return CellRows(training, {cell.task: validation}, "validation")
    tests = {}
    for name in cell.tests:
        rows = own_test if own_test is not None else _test_rows(name, data, config, side_folder)
        tests[name] = limit_rows(rows, cell.scored_rows, seed) if cell.scored_rows else rows
    return CellRows(training, tests, "test")


def _own_splits(cell: Cell, config: RunConfig, side_folder: Path | None) -> tuple[TrainingData, list[Example]]:
    """Splits of the user's file: its test rows are given, or a seeded share of it; equal prompts stay together."""
    if cell.test_data is not None:
        data = load_data(config, side_folder)
        test = to_examples(
            rows_of(cell.test_data),
            data.task,
            bad_rows=config.bad_rows,
            side_file=_side(side_folder, "test"),
            is_reported=side_folder is None,
        )
        _refuse_overlap(data, test, cell.test_data)
        return data, test
    whole = load_data(replace(config, limit=None), side_folder)
    rest = (
        whole.train
        if config.validation_data is not None
        else sorted([*whole.train, *whole.validation], key=lambda example: example.row_id)
    )
    by_class = config.stratify and whole.task.kind == "classification"
    parts = hold_out(rest, config.rows_seed, _TEST_SHARE, by_class=by_class)
    test, train, validation = parts["validation"], parts["train"], whole.validation
    if config.validation_data is None:
        parts = hold_out(train, config.rows_seed, by_class=by_class)
        train, validation = parts["train"], parts["validation"]
    if config.limit:
        train = limit_rows(train, config.limit, config.rows_seed)
    return replace(whole, train=train, validation=validation), test


def _side(folder: Path | None, split: str) -> Path | None:
    """Side file of skipped rows, where they are written."""
    return folder and folder / f"bad-rows.{split}.jsonl"


def _test_rows(name: str, data: TrainingData, config: RunConfig, side_folder: Path | None) -> list[Example]:
    """Test rows of a task, asked with the prompt that the models were trained with."""
    task: TaskSpec = data.task
    if name != task.name:
        task = replace(value_of(registries.tasks, name), prompt=data.task.prompt, form=data.task.form)
    examples = split_of(config, task, "test", side_file=_side(side_folder, f"test.{name}"))
    if not (name == data.task.name and is_published(task, "test", config.data_dir)):
        _refuse_overlap(data, examples, f"the test split of {name}")
    return examples


def _refuse_overlap(data: TrainingData, test: Sequence[Example], where: str) -> None:
    """Raise where test rows are training rows, too. A publisher's own repeats are counted instead."""
    shared = list(RowDigests.of(data.train).shared(test))
    if shared:
        raise DataError(
            f"{len(shared)} of {len(test)} rows of {where} are training rows, too, such as row {shared[0].row_id + 1}:"
            " figures on them would say nothing about new rows. Take them out of one of the two."
        )


def limit_for_tokens(plan: Plan, source: str, data: TrainingData, config: RunConfig) -> int:
    """How many training rows a plan's budget of tokens allows, all passes counted; every method gets as many.

    Args:
        plan: The plan, with `train_tokens`.
        source: Task to train on, for messages.
        data: All its training rows.
        config: Settings of one of its runs.

    Raises:
        DataError: If it does not allow a single batch.
    """
    assert plan.train_tokens is not None
    tokenizer = load_tokenizer(config.model, trust_remote_code=config.trust_remote_code)
    encoder = Encoder(tokenizer, data.task.prompt, None, max_length=config.max_length)
    sample = limit_rows(data.train, _SAMPLED, config.rows_seed)
    lengths = [len(encoder.encode(replace(row, target=None), with_answer=False).prompt_ids) for row in sample]
    rows = int(plan.train_tokens / (config.epochs * (statistics.fmean(lengths) + _ANSWER_TOKENS)))
    if rows < config.batch_size:
        raise DataError(
            f"task {source!r}: {plan.train_tokens} training tokens allow {rows} rows of {statistics.fmean(lengths):.0f} tokens in"
            f" {config.epochs:g} passes, fewer than one batch of {config.batch_size}. Raise `train_tokens`, or lower `epochs`."
        )
    return min(rows, len(data.train))


def rows_digest(rows: Sequence[Example]) -> str:
    """Digest of rows and their targets, in order."""
    told = [[row_digest(row), None if row.target is None else row.target.value] for row in rows]
    return hashlib.blake2b(json.dumps(told).encode(), digest_size=12).hexdigest()


def data_facts(rows: CellRows) -> dict[str, Any]:
    """What a record says about its rows; no text is in it."""
    data = rows.training
    splits = {"train": data.train, "validation": data.validation}
    splits |= {f"{rows.split} of {name}" if name != OWN_FILE else rows.split: test for name, test in rows.tests.items()}
    return {
        "splits": {name: {"rows": len(part), "digest": rows_digest(part)} for name, part in splits.items()},
        "labels": list(data.task.labels.values()),
        "scale": list(data.task.scale) if data.task.scale else None,
        "prompt": data.task.prompt,
        "task_version": data.task.version,
        "licence": data.task.licence,
        "source": data.task.source,
        "skipped_rows": data.skipped,
        "targets": _targets(data),
    }


def _targets(data: TrainingData) -> dict[str, Any]:
    """Rows per label, or mean, standard deviation and range of the numbers, of the training rows."""
    values = [row.target.value for row in data.train if row.target is not None]
    if data.task.kind == "classification":
        return {"rows": dict(sorted(Counter(map(str, values)).items()))}
    numbers = [float(v) for v in values]
    return {
        "mean": statistics.fmean(numbers),
        "std": statistics.pstdev(numbers),
        "low": min(numbers),
        "high": max(numbers),
    }
