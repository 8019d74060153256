"""`predgen predict`: the file that comes out, and going on after Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

import predgen as library
from cli_runs import PROMPT, Runs, flat, predgen, refused, reviews, write_csv
from predgen.core import Decoding
from predgen.data.sources import read_rows


def test_probabilities_beside_the_input(runs: Runs, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", reviews(10, seed=2))
    result = predgen("predict", runs.label, source, "-o", tmp_path / "out.csv", "--proba")
    assert result.exit_code == 0, result.output
    rows = list(read_rows(tmp_path / "out.csv"))
    assert list(rows[0]) == ["text", "label", "score", "prediction", "p(bad)", "p(good)"]
    assert [row["text"] for row in rows] == [row["text"] for row in reviews(10, seed=2)]
    for row in rows:
        assert float(row["p(bad)"]) + float(row["p(good)"]) == pytest.approx(1)
    assert f"10 rows in {tmp_path / 'out.csv'}" in flat(result.stderr)
    assert result.stdout == ""


def test_input_needs_no_target(runs: Runs, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", [{"text": row["text"]} for row in reviews(6)])
    assert predgen("predict", runs.score, source, "-o", tmp_path / "out.jsonl", "--batch-size", "4").exit_code == 0
    predictions = library.load(runs.score).predict(source)
    assert [row["prediction"] for row in read_rows(tmp_path / "out.jsonl")] == pytest.approx(
        [p.value for p in predictions]
    )


def test_output_is_checked_before_the_model_is_loaded(runs: Runs, tmp_path: Path) -> None:
    none = tmp_path / "no-such-run"
    (tmp_path / "out.csv").write_text("mine")
    message = refused(predgen("predict", none, runs.data, "-o", tmp_path / "out.csv"))
    assert message == f"error: `out` {str(tmp_path / 'out.csv')!r} exists. Choose another file, or give --overwrite."
    message = refused(predgen("predict", none, runs.data, "-o", tmp_path / "out.csv", "--overwrite"))
    assert message.startswith(f"error: {str(none)!r} holds no saved model: there is no predgen.json.")
    assert (tmp_path / "out.csv").read_text() == "mine"
    assert predgen("predict", runs.score, runs.data, "-o", tmp_path / "out.csv", "--overwrite").exit_code == 0


def test_probabilities_of_numbers_are_refused(runs: Runs, tmp_path: Path) -> None:
    message = refused(predgen("predict", runs.score, runs.data, "-o", tmp_path / "out.csv", "--proba"))
    assert (
        message
        == "error: `proba` needs a classifier, but this model predicts numbers; use --distribution or --quantiles."
    )


@pytest.mark.usefixtures("forked_python")
def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(runs: Runs, tmp_path: Path) -> None:
    # Two windows; after the first one the state is on the disk.
    source = write_csv(tmp_path / "in.csv", [{"text": "a fine day " * 3 + str(i)} for i in range(2100)])
    command = [
        sys.executable,
        "-m",
        "predgen",
        "predict",
        str(runs.score),
        str(source),
        "-o",
        str(tmp_path / "out.csv"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),  # a background shell ignores it
    )
    log, end = tmp_path / "out.csv.progress.json", time.monotonic() + 120
    while not log.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "interrupted: give the same command again to go on." in flat(said)
    assert "Traceback" not in said
    done = predgen(*command[3:])
    assert done.exit_code == 0, done.output
    assert "2100 rows in" in flat(done.stderr)
    assert "2048 of them from an earlier call" in flat(done.stderr)
    assert [row["text"] for row in read_rows(tmp_path / "out.csv")] == [row["text"] for row in read_rows(source)]


# Points, distributions and quantiles


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_quantiles_and_distribution_columns(runs: Runs, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"out{suffix}"
    given = ("--decode", "median", "--quantiles", "0.05, 0.5,0.95", "--distribution")
    result = predgen("predict", runs.score, runs.data, "-o", out, *given)
    assert result.exit_code == 0, result.output
    rows = list(read_rows(out))
    added = ["prediction", "q(0.05)", "q(0.5)", "q(0.95)", "distribution"]
    assert list(rows[0]) == ["text", "label", "score", *added]
    for row in rows:
        cell = json.loads(row["distribution"]) if suffix == ".csv" else row["distribution"]
        assert sum(cell["probabilities"]) == pytest.approx(1.0)
        assert float(row["q(0.05)"]) <= float(row["q(0.5)"]) <= float(row["q(0.95)"])
        assert float(row["prediction"]) == float(row["q(0.5)"])
        assert float(row["prediction"]) in cell["support"]


def test_full_vocabulary_adds_the_legal_mass(runs: Runs, tmp_path: Path) -> None:
    given = ("--full-vocabulary", "--proba", "--decode", "argmax")
    result = predgen("predict", runs.label, runs.data, "-o", tmp_path / "out.csv", *given)
    assert result.exit_code == 0, result.output
    rows = list(read_rows(tmp_path / "out.csv"))
    assert list(rows[0])[3:] == ["prediction", "p(bad)", "p(good)", "legal_mass"]
    assert all(0 < float(row["legal_mass"]) < 1 for row in rows)
    assert all(row["prediction"] == ("good" if float(row["p(good)"]) > 0.5 else "bad") for row in rows)


def test_every_decoding_of_numbers(runs: Runs, tmp_path: Path) -> None:
    found = {}
    for how in ("greedy", "argmax", "mean", "median", "best"):
        result = predgen("predict", runs.score, runs.data, "-o", tmp_path / f"{how}.csv", "--decode", how)
        assert result.exit_code == 0, result.output
        found[how] = [float(row["prediction"]) for row in read_rows(tmp_path / f"{how}.csv")]
    assert found["best"] == found["mean"] != found["median"]  # the run's metric is the squared error
    model = library.load(runs.score)
    assert found["greedy"] == [p.value for p in model.predict(runs.data, decoding=Decoding("greedy"))]


@pytest.mark.parametrize(
    ("run", "given", "message"),
    [
        (
            "label",
            ("--quantiles", "0.5"),
            "distributions and quantiles need a regression model, but this is a classification",
        ),
        ("label", ("--distribution",), "distributions and quantiles need a regression model"),
        (
            "label",
            ("--decode", "mean"),
            "`decode` 'mean' is not for a classification model; allowed here: greedy, argmax.",
        ),
        ("score", ("--quantiles", "0.5,2"), "quantile level 2.0 is outside 0..1"),
        ("score", ("--quantiles", "a,b"), "--quantiles is 'a,b'; give shares separated by commas"),
        ("score", ("--decode", "modus"), "unknown decoding 'modus'."),
        ("score", ("--decode", "free"), "`decode` 'free' reads what a generator wrote, but this is a predgen model."),
    ],
)
def test_what_a_run_cannot_be_asked_for_is_refused(
    runs: Runs, tmp_path: Path, run: str, given: tuple[str, ...], message: str
) -> None:
    said = refused(predgen("predict", getattr(runs, run), runs.data, "-o", tmp_path / "out.csv", *given))
    assert said.startswith(f"error: {message}")
    assert list(tmp_path.iterdir()) == []


def test_distributions_of_a_predictor_are_refused(runs: Runs, tmp_path: Path) -> None:
    given = ("--data", runs.data, "--prompt", PROMPT, "--target", "score", "--kind", "regression")
    assert runs.train(*given, "--method", "predictor", "--out", tmp_path / "run").exit_code == 0
    for flags in (("--distribution",), ("--quantiles", "0.5"), ("--decode", "mean"), ("--full-vocabulary",)):
        said = refused(predgen("predict", tmp_path / "run", runs.data, "-o", tmp_path / "out.csv", *flags))
        assert "a predictor writes nothing" in said
    assert predgen("predict", tmp_path / "run", runs.data, "-o", tmp_path / "out.csv").exit_code == 0
