"""Models of several targets are calibrated question by question, and promise sets, intervals and abstention of each."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import predgen
from predgen.cli.main import app
from predgen.errors import ConfigError, DataError, SavedModelError
from predgen.evaluation import calibrate_on
from predgen.inference.guarantees import Promised
from predgen.inference.target_columns import PredictingTargets
from predgen.target_evaluation import calibrate_targets, calibrate_targets_folder
from predgen.training.run import train_targets
from target_cases import rows, settings
from tiny_runs import tiny_base

TARGETS: list[Any] = ["mood:classification", {"name": "stars", "kind": "regression", "decimals": 0}, "tags:multilabel"]
NAMES = ("mood", "stars", "tags[a]", "tags[b]")


@pytest.fixture(scope="module")
def more() -> list[dict[str, Any]]:
    given = [{**row, "text": f"{row['text']} again", "shop": "xy"[i % 2]} for i, row in enumerate(rows(240))]
    return [{**row, "mood": "bad" if i % 7 == 0 and row["mood"] else row["mood"]} for i, row in enumerate(given)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, more: list[dict[str, Any]]) -> Path:
    """A trained model, calibrated on more rows."""
    folder = tmp_path_factory.mktemp("run")
    train_targets(settings(tiny_base(folder / "base"), "generator", TARGETS), folder / "run", data=rows())
    (folder / "more.jsonl").write_text("".join(json.dumps(row) + "\n" for row in more))
    assert predgen.load_targets(folder / "run")["mood"].calibration is None
    told = CliRunner().invoke(app, ["calibrate", str(folder / "run"), "--data", str(folder / "more.jsonl")])
    assert told.exit_code == 0, told.output
    return folder / "run"


def test_each_question_is_calibrated_as_its_model_alone(run: Path, more: list[dict[str, Any]]) -> None:
    model = predgen.load_targets(run)
    assert {name: part.calibration.rows for name, part in model.parts.items() if part.calibration} == {
        "mood": 160,
        "stars": 240,
        "tags[a]": 180,
        "tags[b]": 180,
    }
    for name in ("mood", "stars"):
        alone = predgen.load(run, target=name)
        together = model[name].calibration
        assert alone.calibration == together
        calibrate_on(alone, [row for row in more if row[name] != ""])
        assert alone.calibration is not None
        assert together is not None
        assert alone.model.temperature == pytest.approx(together.temperature, rel=1e-3)
        for score, values in alone.calibration.scores.items():
            assert values == pytest.approx(together.scores[score], abs=1e-3)
    assert model.report["targets"]["mood"]["calibration"]["rows"] == 160


def test_promises_are_kept_per_target_as_the_model_of_that_target_keeps_them(
    run: Path, more: list[dict[str, Any]], tmp_path: Path
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"text": row["text"]}) + "\n" for row in more[:9]))

    def predicted(*options: str) -> list[dict[str, Any]]:
        out = tmp_path / "out.jsonl"
        promised = ["--coverage", "0.8", *options]
        told = CliRunner().invoke(app, ["predict", str(run), str(source), "-o", str(out), "--overwrite", *promised])
        assert told.exit_code == 0, told.output
        return [json.loads(line) for line in out.read_text().splitlines()]

    all_of_them = predicted("--min-confidence", "0.6")
    labels = [name for name in NAMES if name != "stars"]
    added = {f"{name}_{column}" for name in labels for column in ("set", "abstained")} | {"stars_lower", "stars_upper"}
    assert added <= all_of_them[0].keys()
    assert "stars_abstained" not in all_of_them[0]
    for told, alone in zip(all_of_them, predicted("--target", "mood", "--min-confidence", "0.6"), strict=True):
        assert told["mood_set"] == alone["set"]
        assert told["mood_abstained"] == alone["abstained"]
        assert told["mood_prediction"] == alone["prediction"]
    for told, alone in zip(all_of_them, predicted("--target", "stars"), strict=True):
        assert [told["stars_lower"], told["stars_upper"]] == pytest.approx([alone["lower"], alone["upper"]], abs=1e-4)
        assert told["stars_lower"] <= told["stars_prediction"] <= told["stars_upper"]


def test_one_target_may_be_calibrated_and_groups_are_kept(run: Path, more: list[dict[str, Any]]) -> None:
    model = predgen.load_targets(run)
    before = {name: part.calibration for name, part in model.parts.items()}
    found = calibrate_targets(model, more, targets=["mood"], by="shop")
    assert list(found) == ["mood"]
    record = model["mood"].calibration
    assert record is not None
    assert record.by == "shop"
    assert set(record.groups) == {"x", "y"}
    assert model["stars"].calibration == before["stars"]


def test_what_cannot_be_promised_or_calibrated_names_its_target(
    run: Path, more: list[dict[str, Any]], tmp_path: Path
) -> None:
    model = predgen.load_targets(run)
    with pytest.raises(ConfigError, match=r"no target 'moods'.*'mood'"):
        calibrate_targets(model, more, targets=["moods"])
    with pytest.raises(DataError, match=r"target 'mood'.*at least"):
        calibrate_targets(model, more[:60])
    with pytest.raises(ConfigError, match="`conformal`"):
        PredictingTargets(model, promised=Promised(coverage=0.9, conformal="lac"))
    with pytest.raises(ConfigError, match=r"target 'mood'.*`by`"):
        PredictingTargets(model, promised=Promised(coverage=0.9, by="shop"))
    other = model.save(tmp_path / "other")
    data = json.loads((other / "predgen.json").read_text())
    data["questions"][0]["calibration"]["temperature"] = 2.0
    (other / "predgen.json").write_text(json.dumps(data))
    with pytest.raises(SavedModelError, match="damaged"):
        calibrate_targets_folder(other, more)
