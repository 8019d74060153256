"""A base model that cannot run trees: everything works token by token, and says so."""

import re
from pathlib import Path
from typing import Any

import pytest

import predgen as library
from cli_runs import PROMPT, Runs, flat, predgen, refused, reviews, write_csv
from predgen.core import Decoding
from predgen.data.sources import read_rows
from predgen.saved.manifest import read_manifest
from tiny_models import save_bloom
from tiny_runs import tiny_data, tiny_run
from tokenizers_for_tests import char_level


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bloom(tmp_path_factory.mktemp("bloom"), char_level())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_csv(tmp_path_factory.mktemp("data") / "reviews.csv", reviews(10))


@pytest.mark.parametrize(
    ("target", "kind", "settings"),
    [
        ("label", "classification", ("--p-min", "0.5")),
        ("score", "regression", ("--decimals", "1", "--max-tree-nodes", "5", "--p-min", "0.5")),
        ("score", "regression", ("--decimals", "0", "--director", "expected", "--p-min", "0.5")),
        ("label", "classification", ("--sampling", "marginal")),
    ],
)
def test_base_without_trees_trains_predicts_and_evaluates(
    base: Path, data: Path, tmp_path: Path, target: str, kind: str, settings: tuple[str, ...]
) -> None:
    run, out = tmp_path / "run", tmp_path / "out.csv"
    given = ("--model", base, "--max-steps", "1", "--batch-size", "4", "--rank", "2")
    given += ("--data", data, "--prompt", PROMPT, "--target", target, "--kind", kind)
    result = predgen("train", *given, *settings, "--out", run)
    assert result.exit_code == 0, result.output
    engine = read_manifest(run).report["engine"]
    assert engine.startswith("level by level, on copied caches: ")
    said = flat(result.stderr)
    assert f"Answers: {engine}." in said
    if "; " in engine:  # its cost: known before the first step
        assert said.index(f"Answers: {engine}.") < said.index("Trained on")
    predicted = predgen("predict", run, data, "-o", out)
    assert predicted.exit_code == 0, predicted.output
    assert f"Answers: {engine}." in flat(predicted.stderr)
    measured = predgen("evaluate", run, "--data", data, "--with-trained-rows")
    assert measured.exit_code == 0, measured.output
    assert "Answers: level by level" in flat(measured.stderr)
    model = library.load(run)
    assert model.model.engine == engine
    rows = list(read_rows(out))
    values = [p.value for p in model.predict(data)]
    if kind == "classification":
        assert [row["prediction"] for row in rows] == values
    else:  # the command merges the adapter, which rounds differently
        assert [float(row["prediction"]) for row in rows] == pytest.approx(values, abs=1e-5)
    if kind == "regression":
        for prediction in model.predict(data, decoding=Decoding("mean", True, 0.1)):
            assert prediction.distribution.probabilities.sum() == pytest.approx(1.0)
            assert prediction.distribution.unexpanded <= 0.1


@pytest.mark.parametrize("method", ["generator", "predgen"])
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("classification", {}),
        ("regression", {"decimals": 2}),
        ("regression", {"decimals": 2, "max_tree_nodes": 3}),
        ("classification", {"sampling": "marginal"}),
    ],
)
def test_what_answers_cost_without_trees_is_said_before_they_are_paid_for(
    base: Path, method: str, kind: str, settings: dict[str, Any]
) -> None:
    model = tiny_run(base, kind, tiny_data(kind, 8), method=method, max_steps=1, **settings)
    forwards: list[int] = []
    hook = model.model.backbone.decoder.register_forward_pre_hook(lambda *_: forwards.append(1))
    for text in ("a dull book", "good wine and an old song", "no tea"):
        forwards.clear()
        model.predict([{"text": text}])
        said = re.search(r"one forward .* up to (\d+) steps", model.model.engine)
        assert len(forwards) == 1 if said is None else 1 < len(forwards) <= 1 + int(said[1])
    hook.remove()


def test_base_with_trees_says_so_in_training_and_nothing_after_it(runs: Runs, tmp_path: Path) -> None:
    report = read_manifest(runs.score).report
    assert report["engine"] == "tree pass"
    result = predgen("predict", runs.score, runs.data, "-o", tmp_path / "out.csv")
    assert "Answers:" not in result.stderr


def test_parallel_sampling_needs_a_base_that_copies_its_cache(base: Path, tmp_path: Path) -> None:
    rows = [{"text": f"{i} and {i}", "result": str(2 * i)} for i in range(12)]
    data = write_csv(tmp_path / "sums.csv", rows)
    given = ("--model", base, "--data", data, "--prompt", PROMPT, "--target", "result", "--kind", "math")
    message = refused(predgen("train", *given, "--sampling", "parallel", "--out", tmp_path / "run"))
    assert message.startswith("error: `sampling` 'parallel' needs a base model that can go on from a copied cache")
    assert not (tmp_path / "run" / "predgen.json").exists()
