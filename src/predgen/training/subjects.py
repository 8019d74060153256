"""What one run trains: a model of one target, or one of several over one language model.

A `OneTarget` derives everything from the rows and settings of one target: setup, codec, encoder, model, encoded rows, figures,
calibration. `SeveralTargets` are one of them for each question, and what joins them: rows, the mean of their scores, one folder.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import torch

from predgen import registries
from predgen.codecs.number import NumberCodec
from predgen.config import RunConfig
from predgen.core import Example, Prediction
from predgen.data.cells import some_labels
from predgen.data.digests import RowDigests
from predgen.data.encode import Encoded
from predgen.data.questions import RowQuestions
from predgen.engine.base_model import BaseModel
from predgen.errors import PredgenError
from predgen.inference.targets import TrainedTargets
from predgen.inference.trained import TrainedModel
from predgen.metrics.base import primary_metric
from predgen.models.base import ModelSetup, PredictionModel
from predgen.models.targets import TargetsModel
from predgen.sampling.draws import SamplingPlan
from predgen.terminal import PlainConsole
from predgen.training import callbacks as cb
from predgen.training.calibrated import calibrate_run, dealt
from predgen.training.features import estimate_features
from predgen.training.looks import Looks
from predgen.training.loop import PredictionTrainer
from predgen.training.prepare import make_codec, make_encoder, make_setup, weigh
from predgen.training.remarks import far_targets
from predgen.training.rows import TrainingData, unmeasured_classes
from predgen.training.target_rows import TargetQuestion, TargetsData
from predgen.uncertainty.record import LEAST_ROWS

MEAN_SCORE = "mean_score"
"""What chooses the checkpoint of several targets: the mean over targets of accuracy (labels) or R2 (numbers)."""


class Subject(ABC):
    """What a run has to know about what it trains.

    Attributes:
        metric: Name of the validation metric that selects the checkpoint.
        greater_is_better: Its direction; None: as the registered metric says.
        title: What is predicted, in a word.
        train: Training rows.
        validation: Validation rows.
        skipped: Bad rows that were left out.
    """

    metric: str
    greater_is_better: bool | None = None
    title: str
    train: Sequence[Example]
    validation: Sequence[Example]
    skipped: int

    @abstractmethod
    def set_up(self, *, trains: bool = True) -> None:
        """Derive setups from rows and settings, before anything is loaded."""

    @abstractmethod
    def remarks(self) -> list[str]:
        """Return what is worth a look in the rows."""

    @abstractmethod
    def build(self, base: BaseModel, context: int | None) -> TrainedModel | TrainedTargets:
        """Build the model over a base that has its adapters."""

    @abstractmethod
    def encoded(self) -> Sequence[Any]:
        """Return the training rows, encoded."""

    @abstractmethod
    def begin(self, most: int, display: cb.ProgressDisplay) -> Sequence[Any]:
        """Deal validation rows out to calibration and to what looks at them while training; return these, encoded."""

    @abstractmethod
    def estimate_features(self, rows: Sequence[Any], plan: SamplingPlan) -> None:
        """Find out what heads standardise by."""

    @abstractmethod
    def __call__(self, trainer: PredictionTrainer) -> dict[str, float]:
        """Metrics of the rows that are looked at while training."""

    @abstractmethod
    def at_end(self, trainer: PredictionTrainer, step: int | None) -> dict[str, float]:
        """Metrics of all validation rows; see `Looks.at_end`."""

    @abstractmethod
    def facts(self, rows: Sequence[Any], measured: dict[str, float]) -> dict[str, Any]:
        """Return facts of rows and answers for the run's report."""

    @abstractmethod
    def calibrate(self, console: PlainConsole) -> None:
        """Calibrate the model that has just been trained."""


class OneTarget(Subject):
    """A model of one target.

    Args:
        config: The settings.
        data: The rows.

    Attributes:
        setup: What the model is built from, once it is `set_up`.
        examples: Training rows with their weights, then.
        trained: The model, once it is built.
        looks: Predicts validation rows, once they are dealt out.
    """

    setup: ModelSetup
    examples: list[Example]
    trained: TrainedModel
    looks: Looks

    def __init__(self, config: RunConfig, data: TrainingData) -> None:
        self.config, self.data = config, data
        self.metric = primary_metric(config.metric, data.task)
        self.title = data.task.target if config.task is None else config.task
        self.train, self.validation, self.skipped = data.train, data.validation, data.skipped
        self._spared: list[Example] = []
        self._calibrating: tuple[list[Encoded], list[Prediction]] = ([], [])

    def set_up(self, *, trains: bool = True) -> None:
        self.setup = make_setup(self.config, self.data.task, self.data.train, trains=trains)
        self.examples = weigh(self.config, self.setup, self.data.train) if trains else []

    def remarks(self) -> list[str]:
        said = []
        if unmeasured := unmeasured_classes(self.data):
            said.append(f"No validation row has {some_labels(unmeasured)}: no figure says how well they are predicted.")
        if self.config.task is None:
            said += [f"Warning: {far}" for far in far_targets(self.data, self.config.target_transform)]
        return said

    def build(self, base: BaseModel, context: int | None) -> TrainedModel:
        config, task, setup = self.config, self.data.task, self.setup
        wants_codec = registries.methods.get(setup.method).needs_codec
        codec = make_codec(config, task, setup, self.data.train, base.tokenizer) if wants_codec else None
        encoder = make_encoder(config, task, codec, setup.labels, base.tokenizer, context, setup.scale)
        model: PredictionModel = registries.methods.get(setup.method)(setup, base.lm, codec)
        settled = config.settled(model.setup.settings)
        digests = RowDigests.of(self.data.train)
        self.trained = TrainedModel(model, base, encoder, task, settled, trained_rows=digests)
        return self.trained

    def encoded(self) -> list[Encoded]:
        return [self.trained.encoder.encode(example) for example in self.examples]

    def begin(self, most: int, display: cb.ProgressDisplay) -> list[Encoded]:
        looked, spared = dealt(self.data.validation, most, self.config, self.data.task.kind)
        return self.take(looked, spared, display)

    def take(self, looked: list[Example], spared: list[Example], display: cb.ProgressDisplay) -> list[Encoded]:
        """Take validation rows that were dealt out; return those to look at, encoded."""
        self._spared, self.looks = spared, Looks(self.trained, looked, display)
        return self.looks.encoded

    def estimate_features(self, rows: Sequence[Any], plan: SamplingPlan) -> None:
        estimate_features(
            self.trained.model,
            rows,
            pad_id=self.trained.pad_id,
            batch_size=self.config.batch_size,
            plan=plan,
            bf16=self.config.bf16,
        )

    def __call__(self, trainer: PredictionTrainer) -> dict[str, float]:
        return self.looks(trainer)

    def at_end(self, trainer: PredictionTrainer, step: int | None) -> dict[str, float]:
        looked = self.looks.at_end(trainer, self.data.validation, self._spared, step)
        self.trained.validated = [prediction.value for prediction in looked.predictions]
        self._calibrating = looked.calibrating, looked.plain
        return looked.metrics

    def facts(self, rows: Sequence[Any], measured: dict[str, float]) -> dict[str, Any]:
        codec = self.trained.encoder.codec
        return {
            "train_tokens_per_epoch": sum(row.n_tokens for row in rows),
            "truncated_rows": sum(row.is_truncated for row in rows),
            "skipped_rows": self.skipped,
            "rows_from": self.data.origin,
            "unmeasured_classes": unmeasured_classes(self.data),
            "engine": self.trained.model.engine,
            **({"numbers_written": codec.facts()} if isinstance(codec, NumberCodec) else {}),
        }

    def calibrate(self, console: PlainConsole) -> None:
        calibrate_run(self.trained, self._spared, *self._calibrating, len(self.data.validation), console)


class SeveralTargets(Subject):
    """A model of several targets.

    Args:
        config: The settings.
        data: The rows.
    """

    metric = MEAN_SCORE
    greater_is_better = True
    trained: TrainedTargets

    def __init__(self, config: RunConfig, data: TargetsData) -> None:
        self.config, self.data = config, data
        self.parts = {one.name: OneTarget(one.config, data.parts[one.name]) for one in data.questions}
        self.title = ", ".join(spec.name for spec in data.specs)
        self.train, self.validation, self.skipped = data.train, data.validation, data.skipped

    def set_up(self, *, trains: bool = True) -> None:
        for name, part in self.parts.items():
            try:
                part.set_up(trains=trains)
            except PredgenError as error:
                raise type(error)(f"target {name!r}: {error}") from error

    def remarks(self) -> list[str]:
        said = [f"target {name!r}: {remark}" for name, part in self.parts.items() for remark in part.remarks()]
        lacking = ", ".join(f"{name} {count}" for name, count in self.data.missing.items() if count)
        return [*said, f"Rows without an answer, which is left out of the loss: {lacking}."] if lacking else said

    def build(self, base: BaseModel, context: int | None) -> TrainedTargets:
        built = {}
        for name, part in self.parts.items():
            # Heads start as they would in a run of this target alone, whatever others there are.
            with torch.random.fork_rng(devices=[]):
                try:
                    built[name] = part.build(base, context)
                except PredgenError as error:
                    raise type(error)(f"target {name!r}: {error}") from error
        model = TargetsModel(base.lm, {name: one.model for name, one in built.items()})
        digests = RowDigests.of(self.train)
        self.trained = TrainedTargets(model, base, self.config, self.data.specs, built, trained_rows=digests)
        return self.trained

    def encoded(self) -> list[RowQuestions]:
        found: dict[int, list[tuple[int, Encoded]]] = {example.row_id: [] for example in self.train}
        for number, (question, part) in enumerate(zip(self.data.questions, self.parts.values(), strict=True)):
            counts = question.spec.weight / len(question.spec.part_names)
            for example in part.examples:
                for answer in _answers_of(replace(example, weight=example.weight * counts)):
                    found[example.row_id].append((number, part.trained.encoder.encode(answer)))
        return [RowQuestions(row_id, tuple(asked)) for row_id, asked in found.items()]

    def begin(self, most: int, display: cb.ProgressDisplay) -> list[RowQuestions]:
        looked, spared = dealt(list(self.validation), most, self.config, "")
        looked_ids, spared_ids = ({e.row_id for e in rows} for rows in (looked, spared))
        asked: dict[int, list[tuple[int, Encoded]]] = {example.row_id: [] for example in looked}
        for number, part in enumerate(self.parts.values()):
            calibrating = [e for e in part.validation if e.row_id in spared_ids]
            mine = [e for e in part.validation if e.row_id in looked_ids]
            for row in part.take(mine, calibrating if len(calibrating) >= LEAST_ROWS else [], display):
                asked[row.row_id].append((number, row))
        return [RowQuestions(row_id, tuple(of_row)) for row_id, of_row in asked.items()]

    def estimate_features(self, rows: Sequence[RowQuestions], plan: SamplingPlan) -> None:
        for number, part in enumerate(self.parts.values()):
            part.estimate_features([row for of_row in rows for n, row in of_row.asked if n == number], plan)

    def __call__(self, trainer: PredictionTrainer) -> dict[str, float]:
        return self._joined({name: part(trainer) for name, part in self.parts.items()})

    def at_end(self, trainer: PredictionTrainer, step: int | None) -> dict[str, float]:
        return self._joined({name: part.at_end(trainer, step) for name, part in self.parts.items()})

    def _joined(self, figures: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """Figures of all questions under their names, and the mean score."""
        if not self.validation:
            return {}
        chosen = {name: "accuracy" if part.setup.labels else "r2" for name, part in self.parts.items()}
        scores = {name: of_one.get(chosen[name], math.nan) for name, of_one in figures.items()}
        named = {f"{name} {metric}": value for name, of_one in figures.items() for metric, value in of_one.items()}
        return {MEAN_SCORE: _mean_score(self.data.questions, scores), **named}

    def facts(self, rows: Sequence[Any], measured: dict[str, float]) -> dict[str, Any]:
        of_targets = {}
        for number, (name, part) in enumerate(self.parts.items()):
            own = [row for of_row in rows for n, row in of_row.asked if n == number]
            figures = {key.removeprefix(f"{name} "): v for key, v in measured.items() if key.startswith(f"{name} ")}
            counts = {"validation_rows": len(part.validation), "train_rows": len(part.train)}
            of_targets[name] = part.trained.report = {"validation": figures, **counts, **part.facts(own, figures)}
        return {
            "train_tokens_per_epoch": sum(row.n_tokens for row in rows),
            "truncated_rows": sum(any(row.is_truncated for _, row in of_row.asked) for of_row in rows),
            "skipped_rows": self.skipped,
            "rows_from": self.data.origin,
            "rows_without_answer": dict(self.data.missing),
            "engine": self.trained.model.engine,
            "targets": of_targets,
        }

    def calibrate(self, console: PlainConsole) -> None:
        for name, part in self.parts.items():
            console.print(f"Target {name}:", markup=False, highlight=False)
            part.calibrate(console)


def _answers_of(example: Example) -> list[Example]:
    """A row once for each label that has a share in its answer, weighed by it.

    The expected loss under the shares: for -log P it is the cross-entropy against them; for the ranked probability score, too, it
    differs from the score against their distribution by a constant.
    """
    target = example.target
    if target is None or not target.shares:
        return [example]
    return [
        replace(example, weight=example.weight * share, target=replace(target, value=label, shares=()))
        for label, share in target.shares
    ]


def _mean_score(questions: Sequence[TargetQuestion], scores: dict[str, float]) -> float:
    """Mean over targets of their scores, that of a multi-label target being the mean over its labels; nan where none is defined."""
    by_target: dict[str, list[float]] = {}
    for one in questions:
        if not math.isnan(scores[one.name]):
            by_target.setdefault(one.spec.name, []).append(scores[one.name])
    return fmean(map(fmean, by_target.values())) if by_target else math.nan
