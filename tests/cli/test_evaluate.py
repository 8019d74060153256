"""`predgen evaluate`: table, JSON, splits and files."""

import json
import shutil
from pathlib import Path

import pytest

from cli_runs import Runs, flat, predgen, refused, reviews, write_csv
from predgen.evaluation import evaluate, rows_to_measure
from predgen.inference.trained import load
from predgen.saved.manifest import read_manifest


def test_validation_of_a_file_run_as_measured_in_training(runs: Runs, tmp_path: Path) -> None:
    result = predgen("evaluate", runs.score, "--split", "validation", "--json", tmp_path / "out.json")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out.json").read_text())
    report = read_manifest(runs.score).report
    assert (found["rows"], found["split"]) == (report["validation_rows"], "validation")
    # Training measured the adapter beside the weights; the command folds it into them, which rounds otherwise.
    beside, folded = (load(runs.score, merge_adapter=merged) for merged in (False, True))
    rows = rows_to_measure(beside, split="validation")
    assert evaluate(beside, rows).metrics == pytest.approx(report["validation"])
    assert found["metrics"] == pytest.approx(evaluate(folded, rows).metrics)
    assert all(len(ends) == 2 for ends in found["intervals"].values())
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]


def test_file_is_shown_as_a_table(runs: Runs, tmp_path: Path) -> None:
    rows = [*reviews(12, seed=5, start=100), {"text": "fine " * 300, "label": "good", "score": "50"}]
    data = write_csv(tmp_path / "test.csv", rows)
    said = flat(predgen("evaluate", runs.score, "--data", data, "--batch-size", "5").stdout)
    assert "13 rows, 95 % bootstrap intervals over rows" in said
    assert "mae" in said
    assert "1 rows truncated" in said
    assert "1 rows out of range" in said


def test_undefined_figures_are_null(runs: Runs, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "one.csv", reviews(1, start=100))  # no correlation over one row
    result = predgen("evaluate", runs.score, "--data", data, "--json", tmp_path / "out.json")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "out.json").read_text())["metrics"]["pearson"] is None
    assert "not defined" in flat(result.stdout)


def test_moved_base_is_found_where_it_is_said_to_be(runs: Runs, tmp_path: Path) -> None:
    base, run = tmp_path / "base", tmp_path / "run"
    shutil.copytree(runs.base, base)
    shutil.copytree(runs.score, run)
    manifest = json.loads((run / "predgen.json").read_text())
    manifest["base"]["name"] = str(tmp_path / "old-place")
    (run / "predgen.json").write_text(json.dumps(manifest))
    data = write_csv(tmp_path / "test.csv", reviews(4, start=100))
    message = refused(predgen("evaluate", run, "--data", data))
    assert "needs its base model" in message
    assert str(tmp_path / "old-place") in message
    assert "--base" in message or "`base`" in message
    assert predgen("evaluate", run, "--data", data, "--base", base).exit_code == 0


def test_split_or_file_is_needed(runs: Runs) -> None:
    assert refused(predgen("evaluate", runs.score)).startswith("error: give either `split`")
    message = refused(predgen("evaluate", runs.score, "--split", "test"))
    assert message.startswith("error: `split` is 'test'")
    assert "validation" in message


def test_json_folder_is_checked_before_measuring(runs: Runs, tmp_path: Path) -> None:
    message = refused(predgen("evaluate", runs.score, "--data", runs.data, "--json", tmp_path / "none" / "out.json"))
    assert message.endswith("lies in a folder that does not exist; make it first.")


def test_free_decoding_is_for_generators(runs: Runs, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "test.csv", reviews(4, start=100))
    message = refused(predgen("evaluate", runs.score, "--data", data, "--decode", "free"))
    assert message.startswith("error: `decode` 'free' reads what a generator wrote, but this is a predgen model.")


def test_rows_that_were_trained_on_are_refused(runs: Runs, tmp_path: Path) -> None:
    message = refused(predgen("evaluate", runs.score, "--data", runs.data))
    assert message.startswith(
        f"error: 36 of 40 rows of {str(runs.data)!r} are rows that this run was trained on, such as row"
    )
    assert message.endswith("or measure on these knowingly with `with_trained_rows` (--with-trained-rows).")
    all_rows = write_csv(tmp_path / "all.csv", [*reviews(40), *reviews(10, start=100)])
    result = predgen("evaluate", runs.score, "--data", all_rows, "--with-trained-rows")
    assert result.exit_code == 0, result.output
    assert "36 rows trained on" in flat(result.stdout)  # 4 of 40 were held out
    held_out = {row.fields["text"] for row in rows_to_measure(load(runs.score), split="validation")}
    trained = next(row for row in reviews(40) if row["text"] not in held_out)
    spelled = {**trained, "text": f" {trained['text'].upper()}  "}
    data = write_csv(tmp_path / "one.csv", [*reviews(9, start=100), spelled])
    assert "1 of 10 rows of" in refused(predgen("evaluate", runs.score, "--data", data))


def test_decode_measures_what_is_written(runs: Runs, tmp_path: Path) -> None:
    found = {}
    data = write_csv(tmp_path / "new.csv", reviews(12, start=100))
    for how in ("mean", "median", "best"):
        out = tmp_path / f"{how}.json"
        result = predgen("evaluate", runs.score, "--data", data, "--decode", how, "--json", out)
        assert result.exit_code == 0, result.output
        found[how] = json.loads(out.read_text())
        assert found[how]["decode"] == how
    assert found["best"]["metrics"] == found["mean"]["metrics"] != found["median"]["metrics"]
    message = refused(predgen("evaluate", runs.label, "--data", data, "--decode", "median"))
    assert message.startswith(
        "error: `decode` 'median' is not for a classification model; allowed here: greedy, argmax."
    )
