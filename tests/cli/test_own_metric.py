"""A metric of a user's own module, declared by its value alone: chosen in training, with intervals in evaluate and report."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cli_runs import PROMPT, Runs, predgen, reviews
from predgen import lookup
from predgen.compare.plan_file import plan_from
from predgen.evaluation import rows_to_measure
from predgen.findings.make import findings
from predgen.inference.trained import load
from registered import registrations_undone
from tiny_experiments import run_plan

MODULE = """
import numpy as np

from predgen.core import FileSpec, TaskSpec
from predgen.metrics.base import Metric
from predgen.registries import metrics, tasks

MEDIAN_ERROR = Metric(
    "median_error",
    "regression",
    greater_is_better=False,
    function=lambda targets, predictions, probabilities, labels: float(np.median(np.abs(targets - predictions))),
)
STARS = TaskSpec(
    name="stars",
    kind="regression",
    prompt="{text} =",
    target="score",
    scale=(1.0, 9.0),
    metrics=("mse", "median_error"),
    files={"train": (FileSpec(("train.jsonl",), "jsonl"),)},
    group=("text",),
)
metrics.register("median_error", f"{__name__}:MEDIAN_ERROR", "median of |prediction - target|")
tasks.register("stars", f"{__name__}:STARS", "made-up reviews")
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module in the working directory, which nothing has imported yet; afterwards all is as before."""
    name = f"own_metric_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with registrations_undone(name):
        yield name


def test_own_metric_chooses_in_training_and_has_an_interval_in_evaluate(runs: Runs, own: str, tmp_path: Path) -> None:
    data = ("--data", runs.data, "--prompt", PROMPT, "--target", "score", "--kind", "regression")
    names = ("--import", own, "--metric", "median_error")
    trained = runs.train(*data, *names, "--method", "predictor", "--out", tmp_path / "run")
    assert trained.exit_code == 0, trained.output
    arguments = ("--split", "validation", "--import", own, "--json", tmp_path / "figures.json")
    measured = predgen("evaluate", tmp_path / "run", *arguments)
    assert measured.exit_code == 0, measured.output
    assert "median_error" in measured.output
    found = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert list(found["metrics"])[:2] == ["median_error", "mse"]  # the one that chooses comes first

    model = load(tmp_path / "run")
    rows = rows_to_measure(model, split="validation")
    errors = np.abs([row.target.value - p.value for row, p in zip(rows, model.predict_examples(rows), strict=True)])
    assert found["metrics"]["median_error"] == pytest.approx(np.median(errors))
    assert model.report["validation"]["median_error"] == pytest.approx(np.median(errors))
    generator = np.random.default_rng(0)
    draws = [np.median(errors[generator.integers(len(errors), size=len(errors))]) for _ in range(1000)]
    assert found["intervals"]["median_error"] == pytest.approx(np.percentile(draws, [2.5, 97.5]).tolist())


def test_own_metric_stands_in_compares_report_with_an_interval(runs: Runs, own: str, tmp_path: Path) -> None:
    lookup.import_modules([own])
    (tmp_path / "data" / "stars").mkdir(parents=True)
    lines = [json.dumps({"text": row["text"], "score": float(row["score"])}) for row in reviews(60)]
    (tmp_path / "data" / "stars" / "train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    settings = {"model": str(runs.base), "data_dir": str(tmp_path / "data"), "max_steps": 2, "batch_size": 4}
    plan = {"tasks": ["stars"], "methods": ["predictor"], "baselines": ["constant"], "seeds": [0], "settings": settings}
    records = run_plan(plan_from(plan), tmp_path / "exp")
    assert [record.error for record in records] == [None, None]
    for record in records:
        predictions = record.measurements[0].predictions
        value = np.median(np.abs(np.array(predictions.target) - predictions.value))
        entry = findings(tmp_path / "exp", n_resamples=50).entry("stars", record.variant)
        assert entry is not None
        figure = entry.metrics["median_error"]
        assert figure.value == pytest.approx(value)
        assert figure.low is not None
        assert figure.high is not None
        assert figure.low <= value <= figure.high
        assert figure.low < figure.high
    page = predgen("report", tmp_path / "exp", "--import", own)
    assert page.exit_code == 0, page.output
    assert "median_error" in (tmp_path / "exp" / "report.html").read_text(encoding="utf-8")
