"""Models of MLflow: its own loader loads and calls them, and their answers are the columns of `predgen predict`."""

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cli_runs import predgen, refused
from predgen.config import RunConfig
from predgen.errors import ConfigError, DataError
from predgen.exporting.mlflow_model import write_mlflow
from predgen.exporting.pyfunc import Answering
from predgen.inference.stream import predict_file
from predgen.inference.trained import TrainedModel
from predgen.training.run import train_targets
from tiny_runs import tiny_base, tiny_data, tiny_run

ROWS = pd.DataFrame({"text": ["no tea", "a dull book, 12", "Grün"], "other": [1, 2, 3]}, index=[5, 7, 9])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("bases") / "base")


@pytest.fixture(scope="module")
def moods(base: Path) -> TrainedModel:
    return tiny_run(base, "classification", tiny_data("classification", 8), max_steps=2)


@pytest.fixture(scope="module")
def points(base: Path) -> TrainedModel:
    return tiny_run(base, "regression", tiny_data("regression", 8), max_steps=2, decimals=1)


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """MLflow, asking nobody."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("DO_NOT_TRACK", "true")
    pytest.importorskip("mlflow")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own code
        import mlflow.pyfunc

        yield mlflow


def predicted(trained: TrainedModel, folder: Path, **options: Any) -> pd.DataFrame:
    """The columns that `predgen predict` adds to the rows."""
    ROWS.to_csv(folder / "rows.csv", index=False)
    predict_file(trained, folder / "rows.csv", folder / "out.csv", **options)
    return pd.read_csv(folder / "out.csv").drop(columns=list(ROWS.columns))


@pytest.mark.parametrize(("which", "options"), [("moods", {"proba": True}), ("points", {"quantiles": (0.05, 0.95)})])
def test_answers_are_the_columns_of_predict(
    request: pytest.FixtureRequest, tmp_path: Path, which: str, options: dict[str, Any]
) -> None:
    trained = request.getfixturevalue(which)
    told = Answering(trained, **options).predict(ROWS)
    expected = predicted(trained, tmp_path, **options)
    assert list(told.index) == [5, 7, 9]
    pd.testing.assert_frame_equal(told.reset_index(drop=True), expected, check_dtype=False, rtol=1e-6)
    assert list(Answering(trained, **options).predict(ROWS[:0]).columns) == list(expected.columns)
    with pytest.raises(DataError, match="'text'"):
        Answering(trained, **options).predict(ROWS[["other"]])


def test_several_targets_have_their_columns(base: Path) -> None:
    targets: list[Any] = ["mood:classification", "stars:regression"]
    rows = [{"text": f"row {i}", "mood": "ab"[i % 2], "stars": i % 3} for i in range(8)]
    config = RunConfig(prompt="{text}", targets=targets, method="generator", model=str(base), max_steps=1)
    told = Answering(train_targets(config, data=rows), proba=True).predict(ROWS)
    assert sorted(told.columns) == ["mood_prediction", "p(mood=a)", "p(mood=b)", "stars_prediction"]
    assert len(told) == len(ROWS)


@pytest.mark.slow
def test_mlflow_loads_and_calls_it_without_the_base_and_without_pickles(
    mlflow: Any, moods: TrainedModel, points: TrainedModel, base: Path, tmp_path: Path
) -> None:
    for trained, options in ((moods, {"proba": True}), (points, {"quantiles": [0.05, 0.95]})):
        folder = tmp_path / trained.model.setup.kind
        write_mlflow(trained, folder, **options)
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert {path.suffix for path in files} <= {".safetensors", ".json", ".yaml", ".txt", ".md", ""}
        assert not any(str(base) in path.read_text("utf-8", errors="ignore") for path in files)
        hidden = base.with_name("hidden")
        base.rename(hidden)  # another machine has no such folder
        try:
            loaded = mlflow.pyfunc.load_model(str(folder))
        finally:
            hidden.rename(base)
        told = loaded.predict(ROWS[["text"]])
        pd.testing.assert_frame_equal(told, Answering(trained, **options).predict(ROWS), rtol=1e-5)
        assert loaded.metadata.get_input_schema().input_names() == ["text"]
        assert loaded.metadata.get_output_schema().input_names() == list(told.columns)
        assert list(loaded.predict(loaded.input_example).columns) == list(told.columns)
        with pytest.raises(mlflow.exceptions.MlflowException, match="text"):
            loaded.predict(ROWS[["other"]])
    plain = mlflow.pyfunc.load_model(str(tmp_path / "classification"), model_config={"proba": False})
    assert list(plain.predict(ROWS[["text"]]).columns) == ["prediction"]


def test_mlflow_that_is_not_installed_is_named_with_its_extra(
    moods: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setattr("predgen.exporting.mlflow_model.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"predgen\[mlflow\]"):
        write_mlflow(moods, tmp_path / "made")
    moods.save(tmp_path / "run")
    assert "predgen[mlflow]" in refused(predgen("export", tmp_path / "run", "--to", "mlflow"))
