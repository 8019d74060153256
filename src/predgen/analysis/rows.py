"""The rows an analysis of a saved run looks at: those it was trained on, to fit PCA, and others, to measure on."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from predgen import registries
from predgen.analysis.estimators.base import MIN_CLASS_ROWS
from predgen.core import Example
from predgen.data.digests import row_digest
from predgen.data.encode import Encoded
from predgen.data.examples import to_examples
from predgen.data.sources import rows_of
from predgen.data.splits import limit_rows
from predgen.errors import DataError
from predgen.evaluation import rows_to_measure
from predgen.inference.trained import TrainedModel
from predgen.training.rows import RowSource, load_data

FIT_ROWS = 5000
"""Training rows that PCA is fitted on, at most: a seeded choice."""

Outcomes = Float[np.ndarray, "n 1"] | Int[np.ndarray, " n"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where the rows to measure on come from; see `evaluation.rows_to_measure`.

    Attributes:
        split: A split of each run's task.
        data: A file with the runs' columns instead.
        data_dir: Folder of the tasks' files; None: each run's own.
        target: Column of `data` with the answers; None: the runs' own.
        training_data: A file that holds the rows the runs were trained on, among others perhaps; None: where each run had
            them from.
    """

    split: str | None = None
    data: str | None = None
    data_dir: str | None = None
    target: str | None = None
    training_data: str | None = None

    def measured(self, trained: TrainedModel) -> list[Example]:
        """Read the rows to measure a run on; see `evaluation.rows_to_measure`."""
        return rows_to_measure(trained, split=self.split, data=self.data, target=self.target, data_dir=self.data_dir)


@dataclass(frozen=True, slots=True)
class RunRows:
    """Rows of one run.

    Attributes:
        train: Rows it was trained on, encoded without answers.
        test: Rows to measure on, in the order of their source.
        outcomes: Y of the rows to measure: class numbers, or standardised numbers as a column.
        digest: Fingerprint of the rows to measure, targets included.
    """

    train: list[Encoded]
    test: list[Encoded]
    outcomes: Outcomes
    digest: str


def rows_of_run(trained: TrainedModel, source: Source) -> RunRows:
    """Read the rows of a run.

    Raises:
        ConfigError: If the source names neither or both of split and file, or the run has no such split.
        DataError: If rows cannot be read, some to measure on are rows the run was trained on, or the training rows are
            no longer those of the run.
    """
    measured = source.measured(trained)
    test = [trained.encoder.encode(example, with_answer=False) for example in measured]
    fitted = training_rows(trained, source.data_dir, source.training_data)
    train = [trained.encoder.encode(example, with_answer=False) for example in fitted]
    digest = hashlib.blake2b(digest_size=8)
    for example, row in zip(measured, test, strict=True):
        digest.update(f"{row_digest(example)} {row.target!r}\n".encode())
    return RunRows(train, test, outcomes(trained, test), digest.hexdigest())


def training_rows(
    trained: TrainedModel, data_dir: str | None = None, training_data: str | None = None
) -> list[Example]:
    """Read the rows that a run was trained on, at most `FIT_ROWS` of them.

    Raises:
        DataError: If they cannot be read, or are not those that the run remembers.
    """
    config = trained.config
    if training_data is not None:
        return limit_rows(_remembered(trained, training_data), FIT_ROWS, config.seed)
    if RowSource.of(config).in_memory:
        raise DataError(
            "this run was trained on rows in memory, which it does not keep, but PCA is fitted on training rows. Give a file"
            " that holds them as `training_data` (--training-data)."
        )
    if data_dir is not None and config.task is not None:
        config = replace(config, data_dir=data_dir)
    rows = load_data(config).train
    if trained.trained_rows is not None:
        known = sum(1 for _ in trained.trained_rows.shared(rows))
        if known < len(rows):
            where = repr(config.data) if config.data else f"task {config.task!r} in {config.data_dir!r}"
            raise DataError(
                f"{len(rows) - known} of {len(rows)} training rows of {where} are not rows that the run was trained on: the files"
                " have changed since. PCA may see training rows only; put the old files back, or train the run again."
            )
    return limit_rows(rows, FIT_ROWS, config.seed)


def _remembered(trained: TrainedModel, path: str) -> list[Example]:
    """Read the training rows out of a file, which may hold others, too."""
    if trained.trained_rows is None:
        raise DataError(
            f"this run, saved by an older version, does not say which rows of {path!r} it was trained on. Train it again."
        )
    rows = list(trained.trained_rows.shared(to_examples(rows_of(path), trained.task, with_target=False)))
    known = len(trained.trained_rows.digests)
    found = len({row_digest(row) for row in rows})
    if found < known:
        raise DataError(
            f"{path!r} holds {found} of the {known} different rows that the run was trained on. Give a file with all of them:"
            " PCA sees training rows only, and has to see the whole of them."
        )
    return rows


def outcomes(trained: TrainedModel, rows: Sequence[Encoded]) -> Outcomes:
    """Return Y: class numbers, or numbers in standard deviations from the training mean, as a column.

    Raises:
        DataError: If there are no rows, or all have the same answer.
    """
    if not rows:
        raise DataError("there are no rows to measure on. Give a file or a split with rows.")
    targets = np.array([row.target for row in rows])
    if (targets == targets[0]).all():
        value = trained.labels[int(targets[0])] if trained.labels else f"{targets[0]:g}"
        raise DataError(
            f"all {len(rows)} rows to measure on have the answer {value}: where Y never varies, I(Y; Z) is 0 and there is"
            " nothing to measure. Take rows with several answers."
        )
    if trained.labels:
        return targets.astype(np.int64)
    scale = trained.model.setup.scale
    column: Float[np.ndarray, "n 1"] = ((scale.nearest_writtens(targets) - scale.mean) / scale.std)[:, None]
    return column


def check_enough(y: Outcomes, estimators: Sequence[str]) -> None:
    """Refuse rows that are too few for one of the estimators, before any state is computed.

    Raises:
        DataError: If there are too few rows, in all or of one class.
    """
    for name in estimators:
        least = registries.mi_estimators.get(name).min_rows
        if len(y) < least:
            raise DataError(
                f"estimator {name!r} needs at least {least} rows, but there are {len(y)} to measure on. Take more rows, and"
                " thousands for a figure to trust."
            )
    if y.ndim == 1:
        classes, counts = np.unique(y, return_counts=True)
        if counts.min() < MIN_CLASS_ROWS:
            rarest = int(counts.argmin())
            raise DataError(
                f"class number {int(classes[rarest])} has {int(counts[rarest])} of the {len(y)} rows to measure on, but"
                f" estimators need at least {MIN_CLASS_ROWS} of each class. Take more rows, or leave that class out."
            )


def entropy(y: Int[np.ndarray, " n"]) -> float:
    """Return H(Y) of class numbers in nats, by the rows' own shares: no estimate of I(Y; Z) can truly exceed it.

    Example:
        >>> round(entropy(np.array([0, 1, 0, 1])), 4)
        0.6931
    """
    shares = np.unique(y, return_counts=True)[1] / len(y)
    return float(-(shares * np.log(shares)).sum())
