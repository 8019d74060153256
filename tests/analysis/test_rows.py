"""Rows of an analysis: the run's own training rows for PCA, others to measure on, and what cannot be measured."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis_cases import encoded_rows, trained_model
from cli_runs import PROMPT, reviews, write_csv
from method_cases import Case, examples
from predgen.analysis import rows as rows_module
from predgen.analysis.rows import Source, check_enough, entropy, outcomes, rows_of_run, training_rows
from predgen.config import RunConfig
from predgen.core import Target
from predgen.data.digests import RowDigests
from predgen.data.encode import Encoder
from predgen.errors import ConfigError, DataError
from predgen.inference.trained import TrainedModel
from predgen.models.base import ModelSetup
from predgen.training.rows import load_data
from tokenizers_for_tests import char_level

Make = Callable[..., TrainedModel]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a model that remembers the training rows of a file, 36 of 40; its weights are not looked at."""

    def made(kind: str = "classification", **settings: object) -> TrainedModel:
        data = write_csv(tmp_path / "reviews.csv", reviews(40))
        target = "label" if kind == "classification" else "score"
        config = RunConfig(data=str(data), prompt=PROMPT, target=target, kind=kind, **settings)
        labels = ("bad", "good") if kind == "classification" else ()
        found = load_data(config)
        template = trained_model(Case("predictor", kind))
        setup: ModelSetup = replace(template.model.setup, labels=labels, target_mean=5.0, target_std=2.0)
        template.model.setup = setup
        encoder = Encoder(char_level(), found.task.prompt, None, labels=labels)
        return replace(
            template, encoder=encoder, task=found.task, config=config, trained_rows=RowDigests.of(found.train)
        )

    return made


def test_classes_are_their_numbers(make: Make, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "new.csv", reviews(12, start=100))
    found = rows_of_run(make(), Source(data=str(data)))
    assert (len(found.train), len(found.test)) == (36, 12)
    assert found.outcomes.tolist() == [1, 0] * 6  # good, bad, good, ...
    assert np.issubdtype(found.outcomes.dtype, np.integer)
    assert found.digest == rows_of_run(make(), Source(data=str(data))).digest
    other = write_csv(tmp_path / "other.csv", reviews(12, start=101))
    assert found.digest != rows_of_run(make(), Source(data=str(other))).digest


def test_numbers_are_standardised_by_the_training_rows(make: Make, tmp_path: Path) -> None:
    rows = reviews(12, start=100)
    found = rows_of_run(make("regression"), Source(data=str(write_csv(tmp_path / "new.csv", rows))))
    np.testing.assert_allclose(found.outcomes, [[(float(row["score"]) - 5) / 2] for row in rows])


def test_training_rows_are_a_seeded_choice_of_the_runs_own(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = make()
    whole = training_rows(trained)
    assert trained.trained_rows is not None
    assert len(list(trained.trained_rows.shared(whole))) == len(whole) == 36
    monkeypatch.setattr(rows_module, "FIT_ROWS", 10)
    some = training_rows(trained)
    assert len(some) == 10
    assert some == training_rows(trained)
    assert all(row in whole for row in some)


def test_changed_training_files_are_refused(make: Make, tmp_path: Path) -> None:
    trained = make()
    write_csv(tmp_path / "reviews.csv", reviews(40, start=1000))
    with pytest.raises(
        DataError, match=r"36 of 36 training rows of '.*reviews.csv' are not rows that the run was trained on"
    ):
        training_rows(trained)


def test_rows_that_were_trained_on_are_not_measured(make: Make, tmp_path: Path) -> None:
    make()
    with pytest.raises(DataError, match=r"36 of 40 rows of .* are rows that this run was trained on"):
        rows_of_run(make(), Source(data=str(tmp_path / "reviews.csv")))
    with pytest.raises(ConfigError, match=r"give either `split` \(of the run"):
        rows_of_run(make(), Source())


def test_one_answer_leaves_nothing_to_measure() -> None:
    trained = trained_model(Case("generator", "classification"))
    rows = [replace(e, target=Target("no")) for e in examples("classification")]
    with pytest.raises(DataError, match="all 8 rows to measure on have the answer no: where Y never varies"):
        outcomes(trained, encoded_rows(trained, rows))
    trained = trained_model(Case("generator", "regression"))
    rows = [replace(e, target=Target(0.25)) for e in examples("regression")]
    with pytest.raises(DataError, match=r"have the answer 0\.25"):
        outcomes(trained, encoded_rows(trained, rows))
    with pytest.raises(DataError, match="there are no rows to measure on"):
        outcomes(trained, [])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros((19, 1)), "estimator 'ksg' needs at least 20 rows, but there are 19"),
        (
            np.array([0] * 30 + [1] * 4),
            "class number 1 has 4 of the 34 rows to measure on, but estimators need at least 5",
        ),
    ],
)
def test_too_few_rows_are_said_before_any_state(y: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_enough(y, ["ksg"])


def test_entropy_is_that_of_the_shares() -> None:
    assert entropy(np.array([3, 3, 3, 3])) == 0
    # 0.75 log(4/3) + 0.25 log 4
    assert entropy(np.array([0, 0, 0, 7])) == pytest.approx(0.75 * np.log(4 / 3) + 0.25 * np.log(4))
