"""Measure a model with several targets: each question as a model of its own, and figures of several answers at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np

from predgen.core import Example, Prediction, Row
from predgen.data.questions import RowQuestions
from predgen.data.sources import rows_of
from predgen.errors import ConfigError, DataError
from predgen.evaluation import Evaluation, called, evaluate, refuse_trained_rows, whole_of
from predgen.inference.calibration import calibrate
from predgen.inference.guarantees import groups_of
from predgen.inference.targets import TrainedTargets, load_targets
from predgen.metrics.joint import divergence_from, figures_of_label_sets, figures_of_levels
from predgen.near_names import near_matches
from predgen.saved.saving import write_calibrations
from predgen.targets import YES_NO, TargetSpec
from predgen.training.rows import RowSource
from predgen.training.target_rows import TargetQuestion, load_target_rows
from predgen.uncertainty.calibrate import CalibrationRows


@dataclass(frozen=True, slots=True)
class TargetsEvaluation:
    """Figures of a model with several targets.

    Attributes:
        rows: Rows with an answer at least.
        questions: Name of each question -> its figures, on the rows that have an answer to it.
        joint: Name of a target -> figures of its answers together: of multi-label targets (`figures_of_label_sets`), levels
            (`figures_of_levels`) and soft labels ("kl", nats).
        all_right: Share of the rows with an answer to every target of labels for which all of these are right; nan without such
            rows.
        missing: Name of a target -> rows without an answer to it.
    """

    rows: int
    questions: Mapping[str, Evaluation]
    joint: Mapping[str, Mapping[str, float]]
    all_right: float
    missing: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data; None stands where a value is not defined (nan)."""
        joint = {name: {k: _defined(v) for k, v in figures.items()} for name, figures in self.joint.items()}
        return {
            "rows": self.rows,
            "questions": {name: found.to_dict() for name, found in self.questions.items()},
            "joint": joint,
            "all_right": _defined(self.all_right),
            "missing": dict(self.missing),
        }


def _defined(value: float) -> float | None:
    """JSON has no nan."""
    return None if isnan(value) else value


RowAnswers = Mapping[str, Sequence[Example]]
"""Name of each question -> the same rows, without a target where a row has no answer."""


def target_rows_to_measure(
    trained: TrainedTargets,
    *,
    split: str | None = None,
    data: Any = None,  # noqa: ANN401
    with_trained_rows: bool = False,
) -> dict[str, list[Example]]:
    """Read the rows to measure a model with several targets on.

    Args:
        trained: The model.
        split: "validation": the rows that were held out of the run's file, or its validation file.
        data: A file, or rows in memory, with the run's columns.
        with_trained_rows: Measure on rows that the run was trained on, too.

    Raises:
        ConfigError: If neither or both of `split` and `data` are given, or the run has no such split.
        DataError: If the rows cannot be read, or some of them are rows that the run was trained on.
    """
    if (split is None) == (data is None):
        raise ConfigError("give either `split` or `data` (a file), not both and not neither.")
    if data is not None:
        rows: list[Row] = list(rows_of(data))
        found = {
            one.name: list(one.read(rows, source=f"`data` {called(data)}").values()) for one in _questions(trained)
        }
        if not with_trained_rows:
            refuse_trained_rows(trained, next(iter(found.values())), called(data))
        return found
    if split != "validation" or RowSource.of(trained.config).in_memory:
        raise ConfigError(
            f"`split` is {split!r}, but this run has kept the split validation only, and that where its rows are in a file. Give"
            " rows as `data` (--data FILE)."
        )
    read = load_target_rows(trained.config)
    known = {name: {e.row_id: e for e in part.validation} for name, part in read.parts.items()}
    return {name: [of_one.get(e.row_id, e) for e in read.validation] for name, of_one in known.items()}


def _questions(trained: TrainedTargets) -> list[TargetQuestion]:
    """The model's questions, to read rows with."""
    of_name = {name: (spec, label) for spec in trained.specs for name, label in spec.questions()}
    return [TargetQuestion(*of_name[name], part.config, part.task) for name, part in trained.parts.items()]


def evaluate_targets(
    trained: TrainedTargets,
    answers: RowAnswers,
    *,
    seed: int = 0,
    n_resamples: int = 1000,
    batch_size: int | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> TargetsEvaluation:
    """Predict rows, all questions of a row at once, and measure the predictions.

    Args:
        trained: The model.
        answers: What `target_rows_to_measure` returned.
        seed: Seed of the bootstrap.
        n_resamples: Resamples of the bootstrap.
        batch_size: Rows per batch; None: as many as the run's `eval_batch_tokens` allow.
        on_batch: Called with the number of rows after each batch.

    Raises:
        DataError: If no row has an answer, or none has one to some question.
    """
    told = _predicted(trained, answers, batch_size, on_batch)
    found = {}
    for name, part in trained.parts.items():
        pairs = [(e, p) for e, p in zip(answers[name], told[name], strict=True) if e.target is not None]
        if not pairs:
            raise DataError(f"target {name!r}: no row has an answer to measure by. Give rows with one.")
        examples, predictions = [e for e, _ in pairs], [p for _, p in pairs]
        found[name] = evaluate(part, examples, seed=seed, n_resamples=n_resamples, predictions=predictions)
    rows = list(zip(*answers.values(), strict=True))
    return TargetsEvaluation(
        sum(any(e.target is not None for e in of_row) for of_row in rows),
        found,
        {spec.name: of_one for spec in trained.specs if (of_one := _joint(trained, spec, answers, told))},
        _all_right(trained, answers, told),
        {spec.name: sum(e.target is None for e in answers[spec.part_names[0]]) for spec in trained.specs},
    )


def _predicted(
    trained: TrainedTargets,
    answers: RowAnswers,
    batch_size: int | None,
    on_batch: Callable[[int], None] | None,
    *,
    at_one: bool = False,
) -> dict[str, list[Prediction]]:
    """Predictions of all questions with what is known of their distributions; with `at_one`, at temperature 1."""
    names = trained.model.names
    encoders = [trained.parts[name].encoder for name in names]
    rows = [
        RowQuestions(
            of_row[0].row_id,
            tuple((n, encoders[n].encode(example, with_answer=False)) for n, example in enumerate(of_row)),
        )
        for of_row in zip(*(answers[name] for name in names), strict=True)
    ]
    decodings = [whole_of(trained.parts[name]) for name in names]
    models = [trained.parts[name].model for name in names] if at_one else []
    before = [model.temperature for model in models]
    try:
        for model in models:
            model.temperature = 1.0
        found = trained.predict_questions(rows, decodings, batch_size=batch_size, on_batch=on_batch)
    finally:
        for model, temperature in zip(models, before, strict=True):
            model.temperature = temperature
    return {name: [of_row[n] for of_row in found] for n, name in enumerate(names)}


def calibrate_targets(
    trained: TrainedTargets,
    data: Any,  # noqa: ANN401
    *,
    targets: Sequence[str] = (),
    by: str | None = None,
    with_trained_rows: bool = False,
    on_batch: Callable[[int], None] | None = None,
) -> dict[str, dict[str, Any]]:
    """Calibrate a model with several targets on rows of the user's, each question on the rows that have an answer to it.

    Args:
        trained: The model.
        data: A file, or rows in memory, with the run's columns.
        targets: Names of the targets to calibrate; none: all of them.
        by: See `evaluation.calibrate_on`, as all that follow.
        with_trained_rows: See there.
        on_batch: See there.

    Returns:
        Name of each question -> what its report says.

    Raises:
        ConfigError: If a target is unknown.
        DataError: See there; the question is named.
    """
    known = {spec.name for spec in trained.specs}
    for name in targets:
        if name not in known:
            raise ConfigError(
                f"the model has no target {name!r}.{near_matches(name, known)} It has: {', '.join(known)}."
            )
    names = [n for spec in trained.specs for n in spec.part_names if not targets or spec.name in targets]
    given: list[Row] = list(rows_of(data))
    answers = target_rows_to_measure(trained, data=given, with_trained_rows=with_trained_rows)
    told = _predicted(trained, answers, None, on_batch, at_one=True)
    groups = () if by is None else tuple(groups_of(given, by))
    found = {}
    for name in names:
        part = trained.parts[name]
        pairs = [(e, p) for e, p in zip(answers[name], told[name], strict=True) if e.target is not None]
        rows = CalibrationRows(
            [e.target.value for e, _ in pairs if e.target is not None],
            by,
            () if by is None else tuple(groups[e.row_id] for e, _ in pairs),
        )
        encoded = [part.encoder.encode(e, with_answer=False) for e, _ in pairs]
        try:
            found[name] = calibrate(part, encoded, rows, plain=[p for _, p in pairs])
        except DataError as error:
            raise DataError(f"target {name!r}: {error}") from error
    return found


def calibrate_targets_folder(
    folder: str | Path,
    data: Any,  # noqa: ANN401
    *,
    base: str | None = None,
    trust_remote_code: bool = False,
    **asked: Any,  # noqa: ANN401
) -> dict[str, dict[str, Any]]:
    """Calibrate a saved model with several targets anew, and its folder says so, in one step; see `evaluation.calibrate_folder`.

    Args:
        folder: The saved model.
        data: See `calibrate_targets`, as of `asked`.
        base: See `predgen.load`.
        trust_remote_code: See `predgen.load`.
        asked: Further arguments of `calibrate_targets`.
    """
    trained = load_targets(folder, base=base, trust_remote_code=trust_remote_code)
    found = calibrate_targets(trained, data, **asked)
    write_calibrations(trained, Path(folder))
    return found


def _joint(
    trained: TrainedTargets, spec: TargetSpec, answers: RowAnswers, told: Mapping[str, Sequence[Prediction]]
) -> dict[str, float]:
    """Figures of a target's answers together; none for numbers and plain labels."""
    known = [i for i, e in enumerate(answers[spec.part_names[0]]) if e.target is not None]
    targets = {name: [answers[name][i].target for i in known] for name in spec.part_names}
    probabilities = {name: np.array([told[name][i].probabilities for i in known]) for name in spec.part_names}
    if spec.is_multilabel:
        truth = np.array([[t is not None and t.value == YES_NO[1] for t in of_one] for of_one in targets.values()]).T
        return figures_of_label_sets(truth, np.stack([of_one[:, 1] for of_one in probabilities.values()], axis=1))
    if spec.kind == "regression":
        return {}
    labels = trained.parts[spec.name].labels
    found: dict[str, float] = {}
    if spec.kind == "ordinal":
        levels = np.array([labels.index(str(t.value)) for t in targets[spec.name] if t is not None])
        predicted = np.array([labels.index(str(told[spec.name][i].value)) for i in known])
        found |= figures_of_levels(levels, predicted, len(labels))
    if any(t is not None and t.shares for t in targets[spec.name]):
        shares = np.zeros((len(known), len(labels)))
        for row, target in enumerate(targets[spec.name]):
            for label, share in target.shares or ((str(target.value), 1.0),) if target is not None else ():
                shares[row, labels.index(label)] = share
        found["kl"] = divergence_from(shares, probabilities[spec.name])
    return found


def _all_right(trained: TrainedTargets, answers: RowAnswers, told: Mapping[str, Sequence[Prediction]]) -> float:
    """Share of rows whose labels are all right."""
    names = [name for name, part in trained.parts.items() if part.labels]
    right = [
        all(told[name][i].value == of_row[j].target.value for j, name in enumerate(names))
        for i, of_row in enumerate(zip(*(answers[name] for name in names), strict=True))
        if all(e.target is not None for e in of_row)
    ]
    return float(np.mean(right)) if right else float("nan")
