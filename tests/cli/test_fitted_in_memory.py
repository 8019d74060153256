"""Models fitted on rows in memory: what the saved folder says, and `evaluate`, `mi` and `predict` on files."""

import json
from pathlib import Path

import pandas as pd
import pytest

import predgen as library
from cli_runs import PROMPT, predgen, refused, reviews, write_csv
from predgen import PredGenClassifier, PredGenRegressor
from tiny_runs import tiny_base

SEEN = pd.DataFrame(reviews(24))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_base(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def fitted(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of texts whose labels are a named series."""
    model = PredGenClassifier(base, prompt=PROMPT.replace("\\n", "\n"), max_steps=2, validation_fraction=0)
    return model.fit(SEEN["text"], SEEN["label"]).save(tmp_path_factory.mktemp("fitted") / "run")


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows that no model has seen; the column `verdict` holds the labels, too."""
    rows = [{**row, "verdict": row["label"]} for row in reviews(24, seed=3, start=100)]
    return write_csv(tmp_path_factory.mktemp("new") / "new.csv", rows)


def test_saved_model_says_where_its_rows_and_targets_came_from(fitted: Path) -> None:
    manifest = json.loads((fitted / "predgen.json").read_text())
    assert manifest["config"]["data"] is None
    assert manifest["report"]["rows_from"] == "rows in memory, read from no file"
    assert manifest["config"]["target"] == manifest["task"]["target"] == "label"
    card = (fitted / "README.md").read_text()
    assert "rows in memory" in card
    assert "Predicts label (one of: bad, good)" in card
    assert '{"text": "..."}' in card
    assert "of fit" not in card


def test_rows_and_a_configuration_train_what_a_file_trains(base: str, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "rows.csv", reviews(24))
    config = library.RunConfig(model=base, prompt=PROMPT, target="label", kind="classification", max_steps=2)
    models = [library.train(config, data=rows) for rows in (SEEN, reviews(24), file)]
    rows = SEEN.head(4).to_dict("records")
    assert len({tuple(p.probabilities or () for p in model.predict(rows)) for model in models}) == 1
    assert [model.report["rows_from"].split(",")[0] for model in models] == [
        "rows in memory",
        "rows in memory",
        "a file of the user's",
    ]
    assert models[-1].config.data == str(file)


@pytest.mark.parametrize("target", [(), ("--target", "verdict")])
def test_evaluate_measures_on_a_file(fitted: Path, new: Path, tmp_path: Path, target: tuple[str, ...]) -> None:
    out = tmp_path / "out.json"
    result = predgen("evaluate", fitted, "--data", new, *target, "--json", out)
    assert result.exit_code == 0, result.output
    rows = pd.read_csv(new)
    model = library.load(fitted)
    right = [p.value for p in model.predict(rows)] == rows["label"]
    assert json.loads(out.read_text())["metrics"]["accuracy"] == right.mean()


def test_a_target_without_a_name_is_called_by_the_kind_of_answer(base: str, tmp_path: Path) -> None:
    model = PredGenRegressor(base, max_steps=1, validation_fraction=0)
    run = model.fit(SEEN["text"].tolist(), SEEN["score"].astype(float).tolist()).save(tmp_path / "run")
    assert library.load(run).task.target == "score"
    table = SEEN[["text", "label", "score"]].rename(columns={"label": "score", "score": "points"})
    renamed = model.fit(table[["text", "score"]], table["points"].to_numpy(dtype=float))
    assert renamed.trained_.task.target == "target_1"  # no name of a column


def test_unknown_columns_and_lost_rows_are_named(fitted: Path, new: Path, tmp_path: Path) -> None:
    other = write_csv(tmp_path / "other.csv", [{"text": "a", "lable": "good"}])
    message = refused(predgen("evaluate", fitted, "--data", other))
    assert all(part in message for part in ("other.csv", "'label'", "'lable'", "--target"))
    assert "'verdikt'" in refused(predgen("evaluate", fitted, "--data", new, "--target", "verdikt"))
    assert "'text'" in refused(predgen("evaluate", fitted, "--data", new, "--target", "text"))
    assert "--data" in refused(predgen("evaluate", fitted, "--split", "validation"))
    assert "--training-data" in refused(predgen("mi", fitted, "--data", new, "--out", tmp_path / "mi"))


def test_mi_fits_on_the_training_rows_out_of_a_file(fitted: Path, new: Path, tmp_path: Path) -> None:
    rows = [*reviews(24), *reviews(10, seed=4, start=300)]  # others beside them are left alone
    given = ("--data", new, "--target", "verdict", "--estimators", "ksg", "--components", "2")
    whole = write_csv(tmp_path / "whole.csv", [{"text": row["text"]} for row in rows])
    result = predgen("mi", fitted, *given, "--training-data", whole, "--out", tmp_path / "mi")
    assert result.exit_code == 0, result.output
    (run,) = json.loads((tmp_path / "mi" / "mi.json").read_text())["runs"]
    assert (run["task"], run["fit_rows"], run["rows"]) == ("label", 24, 24)
    part = write_csv(tmp_path / "part.csv", rows[:20])
    message = refused(predgen("mi", fitted, *given, "--training-data", part, "--out", tmp_path / "mi2"))
    assert "20 of the 24" in message


def test_models_of_the_first_version_are_measured_too(fitted: Path, new: Path, tmp_path: Path) -> None:
    """They name a file that never was, and a target that no file has."""
    old = library.load(fitted).save(tmp_path / "old")
    manifest = json.loads((old / "predgen.json").read_text())
    manifest["config"] |= {"data": "(in memory)", "target": "target of fit"}
    manifest["task"]["target"] = "target of fit"
    (old / "predgen.json").write_text(json.dumps(manifest))
    assert library.load(old).config.data is None
    assert "--target" in refused(predgen("evaluate", old, "--data", new))
    assert predgen("evaluate", old, "--data", new, "--target", "label").exit_code == 0
