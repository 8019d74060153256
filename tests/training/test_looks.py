"""Validation rows are predicted once for each look, and what is told of them at the end is what the kept model predicts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from predgen.core import Prediction
from predgen.inference.facts import whole_decoding
from predgen.inference.trained import TrainedModel
from predgen.metrics.base import metrics_of
from predgen.metrics.measure import measure
from tiny_runs import tiny_base, tiny_data, tiny_run

N_VALIDATION, N_LOOKED = 120, 60


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base") / "llama")


@pytest.fixture
def predicted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Rows of each call that predicts."""
    counted: list[int] = []
    predict = TrainedModel.predict_encoded

    def count(self: TrainedModel, rows: Any, **asked: Any) -> list[Prediction]:
        counted.append(len(rows))
        return predict(self, rows, **asked)

    monkeypatch.setattr(TrainedModel, "predict_encoded", count)
    yield counted


@pytest.mark.parametrize("best", ["first", "last"])
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_no_row_is_predicted_again(base: Path, predicted: list[int], kind: str, best: str) -> None:
    # A rate of (almost) 0 leaves all looks equal, so that the first is kept; the last one is where there is no other.
    looks = {
        "first": {"learning_rate": 1e-30, "max_steps": 6, "eval_steps": 2},
        "last": {"max_steps": 3, "eval_steps": 9},
    }
    data = tiny_data(kind, 16, N_VALIDATION)
    trained = tiny_run(base, kind, data, decimals=1, as_shipped=True, calibrate=True, **looks[best])
    n_looks = 3 if best == "first" else 1
    assert predicted == [N_LOOKED] * n_looks + [N_VALIDATION - N_LOOKED]
    assert trained.report["best_step"] == {"first": 2, "last": 3}[best]
    assert trained.calibration is not None


@pytest.mark.parametrize("peft", ["lora", "adalora"])
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_figures_are_those_of_the_model_that_is_kept(base: Path, kind: str, peft: str) -> None:
    data = tiny_data(kind, 16, 30)
    trained = tiny_run(
        base, kind, data, decimals=1, peft=peft, as_shipped=True, max_steps=8, eval_steps=3, eval_rows=12
    )
    again = trained.predict_examples(data.validation, decoding=whole_decoding(trained.model))
    targets = [row.target.value for row in data.validation if row.target is not None]
    names = metrics_of(trained.config.metric, trained.task)
    values, told = [p.value for p in again], [p.probabilities for p in again]
    anew = measure(names, targets, values, told, trained.labels)
    for found in (trained.report["validation"], anew):
        found.pop("spearman", None)  # jumps where two predictions differ by rounding alone
    assert trained.report["validation"] == pytest.approx(anew, abs=1e-5)
    assert trained.validated == pytest.approx(values, abs=1e-5)


def test_rows_that_are_neither_looked_at_nor_calibrate_are_measured_too(base: Path, predicted: list[int]) -> None:
    data = tiny_data("classification", 16, N_VALIDATION)
    trained = tiny_run(base, "classification", data, max_steps=2, eval_rows=7, calibrate=False)
    assert predicted == [7, N_VALIDATION - 7]
    assert trained.validated is not None
    assert len(trained.validated) == trained.report["validation_rows"] == N_VALIDATION
