"""Calibration, sets, intervals and abstention on the command line."""

import json
from pathlib import Path

import pytest

from cli_runs import PROMPT, Runs, flat, predgen, refused, reviews, write_csv
from predgen.data.sources import read_rows


@pytest.fixture(scope="module")
def calibrated(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose validation file has 120 rows."""
    folder = tmp_path_factory.mktemp("calibrated")
    validation = write_csv(folder / "validation.csv", reviews(120, seed=1, start=100))
    given = ("--prompt", PROMPT, "--target", "label", "--kind", "classification", "--validation-data", validation)
    result = runs.train("--data", runs.data, *given, "--out", folder / "run")
    assert result.exit_code == 0, result.output
    said = flat(result.stderr)
    assert "Calibrated on 60 rows that chose no checkpoint: temperature" in said
    assert "60 of 120 validation rows are looked at (`calibrate` has the others)" in said
    return folder / "run"


def test_sets_and_marks_are_columns(calibrated: Path, runs: Runs, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    result = predgen("predict", calibrated, runs.data, "-o", out, "--coverage", "0.9", "--min-confidence", "0.5")
    assert result.exit_code == 0, result.output
    assert "Rows of confidence 0.5 and above are answered" in flat(result.stderr)
    rows = list(read_rows(out))
    assert list(rows[0])[3:] == ["prediction", "set", "abstained"]
    assert all(row["prediction"] in json.loads(row["set"]) for row in rows)
    assert {row["abstained"] for row in rows} == {"false"}, "of two labels one has half"


def test_calibrating_by_a_column_and_predicting_by_it(calibrated: Path, tmp_path: Path) -> None:
    more = write_csv(tmp_path / "more.csv", [{**row, "tone": "ab"[i % 2]} for i, row in enumerate(reviews(90, 3, 500))])
    result = predgen("calibrate", calibrated, "--data", more, "--by", "tone")
    assert result.exit_code == 0, result.output
    assert "on 90 rows, temperature" in flat(result.stderr)
    result = predgen("predict", calibrated, more, "-o", tmp_path / "o.jsonl", "--coverage", "0.9", "--by", "tone")
    assert result.exit_code == 0, result.output
    assert all(row["prediction"] in row["set"] for row in read_rows(tmp_path / "o.jsonl"))
    result = predgen("predict", calibrated, more, "-o", tmp_path / "p.jsonl", "--coverage", "0.99", "--by", "tone")
    assert "Too few calibration rows for coverage 0.99 in 2 groups, such as 'a'" in flat(result.stderr)
    message = refused(
        predgen("predict", calibrated, more, "-o", tmp_path / "q.csv", "--coverage", "0.9", "--by", "text")
    )
    assert "`by` is 'text', but the model was calibrated by 'tone'" in message


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--coverage", "1.5"), "`coverage` is 1.5, but must lie between 0 and 1"),
        (("--coverage", "0.9", "--conformal", "cqr"), "`conformal` is 'cqr', but this model allows"),
        (("--max-error", "0.00001"), "cannot be promised"),
        (("--max-error", "0.1", "--min-confidence", "0.9"), "give one of them"),
        (("--coverage", "0.9", "--decode", "greedy"), "leave out `decode`"),
    ],
)
def test_what_cannot_be_promised_is_one_line(
    calibrated: Path, runs: Runs, tmp_path: Path, given: tuple[str, ...], message: str
) -> None:
    assert message in refused(predgen("predict", calibrated, runs.data, "-o", tmp_path / "out.csv", *given))


def test_a_run_that_is_not_calibrated_says_so(runs: Runs, tmp_path: Path) -> None:
    for run in (runs.label, runs.score):
        message = refused(predgen("predict", run, runs.data, "-o", tmp_path / "out.csv", "--coverage", "0.9"))
        assert "needs a calibrated model, but this one is not" in message
    message = refused(predgen("calibrate", runs.label, "--data", runs.data))
    assert "40 calibration rows" in message or "trained on" in message
    message = refused(predgen("evaluate", runs.label, "--data", runs.data, "--with-trained-rows", "--permute-options"))
    assert "prompts that list options" in message


def test_no_calibrate_leaves_it_out(runs: Runs, tmp_path: Path) -> None:
    validation = write_csv(tmp_path / "validation.csv", reviews(120, seed=1, start=100))
    given = ("--prompt", PROMPT, "--target", "score", "--kind", "regression", "--validation-data", validation)
    result = runs.train("--data", runs.data, *given, "--no-calibrate", "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    data = json.loads((tmp_path / "run" / "predgen.json").read_text())
    assert data["calibration"] is None
    assert data["report"]["selection"]["rows"] == 120
    assert "calibration" not in data["report"]


def test_evaluation_shows_what_saying_nothing_gains(calibrated: Path, tmp_path: Path) -> None:
    data, out = write_csv(tmp_path / "test.csv", reviews(30, 5, 900)), tmp_path / "out.json"
    result = predgen("evaluate", calibrated, "--data", data, "--json", out)
    assert result.exit_code == 0, result.output
    assert "the 50% most confident rows:" in flat(result.stdout)
    found = json.loads(out.read_text())
    assert {"brier", "ece", "aurc", "set_coverage", "set_size"} <= set(found["uncertainty"])
    assert len(found["abstention"]) == 20
