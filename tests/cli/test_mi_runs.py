"""`predgen mi RUN...`: from saved runs to tables and pictures, going on, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cli_runs import Runs, flat, predgen, refused, reviews, write_csv
from predgen.analysis.estimators.ksg import Ksg

METHODS = ("predictor", "generator", "predgen")
PROMPT = "{text}:"


def short(path: Path, n: int, **rows: int) -> Path:
    """Write reviews of two words: every token of a prompt is a row of a heat map, whose drawing takes longest."""
    kept = [{**row, "text": row["text"].removeprefix("number ").replace(" was", "")} for row in reviews(n, **rows)]
    return write_csv(path, kept)


@pytest.fixture(scope="module")
def three(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A run of each method on labels."""
    folder = tmp_path_factory.mktemp("three")
    data = short(folder / "reviews.csv", 40)
    for method in METHODS:
        result = runs.train(
            "--data", data, "--prompt", PROMPT, "--target", "label", "--kind", "classification",
            "--method", method, "--out", folder / method,
        )  # fmt: skip
        assert result.exit_code == 0, result.output
    return [folder / method for method in METHODS]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows that no run has seen."""
    return short(tmp_path_factory.mktemp("data") / "new.csv", 40, seed=3, start=100)


@pytest.fixture(scope="module")
def out(three: list[Path], data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished analysis."""
    folder = tmp_path_factory.mktemp("out") / "mi"
    sizes = ("--components", "3", "--sweep", "1,2,3")
    result = predgen(
        "mi", *three, "--data", data, "--out", folder, "--estimators", "ksg", *sizes, "--processing", "--heatmap", "2"
    )
    assert result.exit_code == 0, result.output
    assert "## Differences at 3 components" in result.stdout
    return folder


def test_tables_and_pictures_are_written(out: Path) -> None:
    names = {path.name for path in out.iterdir() if path.is_file()}
    pictures = ("figure2", "figure7", "heatmap-generator-2", "heatmap-predgen-2")
    wanted = {"mi.md", "mi.json", "heatmap-generator-2.json", "heatmap-predgen-2.json"}
    assert names == wanted | {f"{name}.{ending}" for name in pictures for ending in ("png", "svg")}
    found = json.loads((out / "mi.json").read_text())
    assert [run["run"] for run in found["runs"]] == list(METHODS)
    assert {(c["method"], c["components"], c["what"]) for c in found["cells"]} == {
        (method, k, what)
        for method in METHODS
        for k in (1, 2, 3)
        for what in ("trained", "random weights", "shuffled labels")
    }
    assert {c["rows"] for c in found["cells"]} == {40}
    assert found["entropy_nats"] == {"label": pytest.approx(0.6931, abs=1e-4)}
    assert {(d["first"], d["second"]) for d in found["differences"]} == {
        ("predgen", "generator"),
        ("generator", "predictor"),
        ("predgen", "predictor"),
    }
    assert {c["run"] for c in found["processing"]} == set(METHODS)
    page = (out / "mi.md").read_text()
    for text in (
        "| predgen |",
        "## Over the number of components",
        "## What functions of Z leave",
        "H(Y) of label: 0.693",
    ):
        assert text in page
    heat = json.loads((out / "heatmap-predgen-2.json").read_text())
    assert [answer["text"] for answer in heat["answers"]] == ["bad", "good"]


def test_the_same_call_measures_nothing_again(
    out: Path, three: list[Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mi"
    shutil.copytree(out, folder)
    page = (out / "mi.md").read_text()

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("measured again")

    sizes = ("--components", "3", "--sweep", "1,2,3")
    call = ("mi", *three, "--data", data, "--out", folder, "--estimators", "ksg", *sizes, "--processing")
    with monkeypatch.context() as patch:
        patch.setattr(Ksg, "estimate", fail)
        patch.setattr("predgen.analysis.runs.represent", fail)
        patch.setattr("predgen.analysis.processing.processed", fail)
        result = predgen(*call)
        assert result.exit_code == 0, result.output
    assert (folder / "mi.md").read_text() == page
    message = refused(predgen(*call, "--answer-tokens", "1"))
    assert "was made with other settings (answer_tokens 5 -> 1). Give those again, or choose another `out`" in message
    other = short(tmp_path / "other.csv", 40, seed=4, start=200)
    message = refused(predgen("mi", *three, "--data", other, "--out", folder, "--estimators", "ksg"))
    assert "was made with other settings (rows " in message


def test_heatmaps_alone_estimate_nothing(three: list[Path], data: Path, tmp_path: Path) -> None:
    result = predgen("mi", *three[:2], "--data", data, "--out", tmp_path / "mi", "--heatmap", "1", "--no-compare")
    assert result.exit_code == 0, result.output
    assert "1 heatmaps in" in flat(result.stderr)  # a predictor writes nothing
    assert {path.suffix for path in (tmp_path / "mi").iterdir()} == {".png", ".svg", ".json"}
    message = refused(
        predgen("mi", three[0], "--data", data, "--out", tmp_path / "no", "--heatmap", "1", "--no-compare")
    )
    assert "but none of these runs writes; give a generator or predgen run." in message
    message = refused(
        predgen("mi", three[1], "--data", data, "--out", tmp_path / "no", "--heatmap", "41", "--no-compare")
    )
    assert message.startswith("error: `heatmap` asks for row 41, but there are rows 1 to 40.")


def test_several_runs_and_seeds_are_brought_together(three: list[Path], data: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(three[2], again)
    manifest = json.loads((again / "predgen.json").read_text())
    manifest["report"]["seconds"] = 1.0
    (again / "predgen.json").write_text(json.dumps(manifest))
    result = predgen(
        "mi", three[2], again, "--data", data, "--out", tmp_path / "mi", "--estimators", "ksg", "--components", "2",
        "--seeds", "0,1",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "mi" / "mi.json").read_text())
    assert {c["runs"] for c in found["cells"]} == {2}
    assert len(found["estimates"]) == 2 * 2 * 3
    assert "One method only." in (tmp_path / "mi" / "mi.md").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--estimators", "kgs"), "unknown mutual information estimator 'kgs'. Did you mean 'ksg'?"),
        (("--sweep", "1,x"), "--sweep is '1,x'; give whole numbers separated by commas"),
        (("--sweep", "0,2"), "`components` is 0, but at least 1 component is needed"),
        (("--no-compare",), "--no-compare leaves nothing to do without --heatmap"),
        (("--answer-tokens", "0"), "`answer_tokens` (m_max) is 0, but a representation needs the state of at least 1"),
        (("--components", "40"), "`components` is 40, but 36 training rows of 32 numbers"),
        (("--split", "test"), "give either `split` (of the run's task) or `data` (a file), not both"),
    ],
)
def test_what_cannot_be_measured_is_said(
    three: list[Path], data: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    call = ("mi", *three, "--data", data, "--out", tmp_path / "mi", *options)
    if "--estimators" not in options:
        call = (*call, "--estimators", "ksg")
    assert message in refused(predgen(*call))


def test_runs_of_two_tasks_need_two_files(runs: Runs, data: Path, tmp_path: Path) -> None:
    call = ("mi", runs.label, runs.score, "--data", data, "--out", tmp_path, "--estimators", "ksg", "--components", "2")
    message = refused(predgen(*call))
    assert "run 'label-run' is of task 'label', but 'score-run' of 'score': one file (--data" in message
    message = refused(predgen("mi", runs.label, runs.label, "--data", data, "--out", tmp_path))
    assert "is given twice; name each run once." in message


def test_too_few_rows_are_said(three: list[Path], tmp_path: Path) -> None:
    few = short(tmp_path / "few.csv", 12, start=100)
    message = refused(predgen("mi", three[0], "--data", few, "--out", tmp_path / "mi", "--estimators", "ksg"))
    assert message.startswith("error: estimator 'ksg' needs at least 20 rows, but there are 12 to measure on.")


def test_constant_representations_are_said(runs: Runs, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "first"
    result = runs.train(
        "--data", runs.data, "--prompt", PROMPT, "--target", "label", "--kind", "classification",
        "--method", "predictor", "--pooling", "first", "--out", folder,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    message = refused(predgen("mi", folder, "--data", data, "--out", tmp_path / "mi", "--estimators", "ksg"))
    assert "training rows have the same representation (trained), so it tells nothing about the answer." in message


def test_runs_and_self_check_exclude_each_other(three: list[Path], tmp_path: Path) -> None:
    assert "give the folders of trained models and --out, or --self-check." in refused(predgen("mi"))
    assert "give the folders of trained models and --out, or --self-check." in refused(predgen("mi", three[0]))
    for call in (("mi", three[0], "--self-check"), ("mi", "--self-check", "--out", tmp_path)):
        assert "--self-check measures no runs and writes no folder" in refused(predgen(*call))


def test_json_prints_what_is_written(three: list[Path], data: Path, tmp_path: Path) -> None:
    call = ("mi", three[0], "--data", data, "--out", tmp_path, "--estimators", "ksg", "--components", "2", "--json")
    result = predgen(*call)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == json.loads((tmp_path / "mi.json").read_text())
