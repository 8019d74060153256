"""Training on files of decisions: the exact loss, what is learned, and what is written."""

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from predgen.asking.asker import Asker, Case
from predgen.asking.judging import judge
from predgen.asking.learning import DecisionModel, collate_cases, decisions_config, train_decisions
from predgen.asking.learning import _Run as Run
from predgen.errors import ConfigError, DataError
from predgen.questions.decisions import Decision, read_decisions
from predgen.questions.kinds import Choice, NumberQuestion, YesNo
from predgen.sampling.draws import SamplingPlan
from predgen.terminal import PlainConsole
from tiny_runs import tiny_base

PLAN = SamplingPlan(0.0, 0, 0)
TOOL = Path(__file__).parents[2] / "tools" / "make_decisions.py"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Decision]:
    """The 60 cases that the project makes."""
    spec = importlib.util.spec_from_file_location("make_decisions", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    path = tmp_path_factory.mktemp("cases") / "cases.jsonl"
    path.write_text("".join(json.dumps(module.case(i)) + "\n" for i in range(module.N_CASES)), encoding="utf-8")
    return read_decisions(path)


def settings(base: Path, **more: Any) -> Any:
    return decisions_config({"model": str(base), "max_steps": 2, "batch_size": 4, "learning_rate": 0.01, **more})


def few(cases: list[Decision]) -> list[Decision]:
    return [one for one in cases[:12] if one.answers]


@pytest.mark.parametrize("max_tree_nodes", [256, 3])
def test_the_loss_is_the_cross_entropy_of_what_an_asker_answers(
    base: Path, cases: list[Decision], tmp_path: Path, max_tree_nodes: int
) -> None:
    run = Run(settings(base), tmp_path, None, PlainConsole(quiet=True))
    known = few(cases)
    model = DecisionModel(run.base.lm, max_tree_nodes)
    batch = collate_cases([run._row(i, one) for i, one in enumerate(known)], run.asker.pad_id)
    losses = model(batch, PLAN, "example")
    told = run.asker.answer([Case(one.state, {n: one.questions[n] for n in one.answers}) for one in known])
    expected, weights = [], []
    for one, answered in zip(known, told, strict=True):
        of_each = [
            -math.fsum(g * math.log(p) for g, p in zip(gold, answered.probabilities[name], strict=True) if g)
            for name, gold in one.answers.items()
        ]
        expected.append(math.fsum(of_each) / len(of_each))
        weights.append(len(of_each))
    torch.testing.assert_close(losses.writer, torch.tensor(expected), atol=1e-4, rtol=1e-5)
    assert batch.weight.tolist() == weights
    total = math.fsum(w * e for w, e in zip(weights, expected, strict=True))
    assert float(losses.total.detach()) == pytest.approx(total, rel=1e-5)
    losses.total.backward()
    assert any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.parameters())


def test_a_trained_base_answers_what_it_was_trained_to_answer(
    base: Path, cases: list[Decision], tmp_path: Path
) -> None:
    question = {
        "side": Choice("Which side?", ["left", "right"]),
        "sure": YesNo("Are you sure?"),
        "n": NumberQuestion("How many?", 0, 3, 1),
    }
    gold = {"side": (0.0, 1.0), "sure": (0.75, 0.25), "n": (0.0, 0.0, 1.0, 0.0)}
    lines = [Decision(i + 1, f"row {i}", question, gold) for i in range(24)]
    before = judge(Asker.load(base), lines).to_dict()["metrics"]
    trained = train_decisions(settings(base, max_steps=30), lines, tmp_path / "run", validation=lines[:4])
    after = judge(trained, lines).to_dict()["metrics"]
    assert after["kl"]["value"] < 0.5 * before["kl"]["value"]
    again = Asker.load(tmp_path / "run")  # a base as any other
    ours, theirs = (one.ask(["row 3"], question)[0] for one in (trained, again))
    assert ours["side"].probabilities == pytest.approx(theirs["side"].probabilities, abs=1e-5)
    report = json.loads((tmp_path / "run" / "decisions.json").read_text())
    assert report["cases"] == 24
    assert report["questions"] == 72
    assert report["validation_cases"] == 4
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    looks = [line["eval_kl"] for line in log if "eval_kl" in line]
    assert report["validation"]["kl"] == pytest.approx(min(looks), abs=1e-4)
    assert not (tmp_path / "run" / "checkpoints").exists()
    with pytest.raises(ConfigError, match="not empty"):
        train_decisions(settings(base), lines, tmp_path / "run")


def test_the_commands_train_and_score_a_file(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import runpy
    import sys

    from typer.testing import CliRunner

    from predgen.cli.main import app

    path, run = tmp_path / "cases.jsonl", tmp_path / "run"
    monkeypatch.setattr(sys, "argv", [str(TOOL), str(path)])
    runpy.run_path(str(TOOL), run_name="__main__")
    call = CliRunner().invoke
    trained = call(
        app, ["train", str(path), "--model", str(base), "--max-steps", "2", "--limit", "20", "--out", str(run)]
    )
    assert trained.exit_code == 0, trained.output
    scored = call(app, ["evaluate", str(run), str(path), "--json", str(tmp_path / "figures.json")])
    assert scored.exit_code == 0, scored.output
    found = json.loads((tmp_path / "figures.json").read_text())
    assert found["counts"]["cases"] == 60
    assert {"accuracy", "kl", "brier", "ece_top_label", "ece_class_wise"} <= found["metrics"].keys()
    assert all(math.isfinite(figure["value"]) for figure in found["metrics"].values())


def test_what_does_not_go_with_a_file_of_decisions_is_refused(
    base: Path, cases: list[Decision], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="`director`"):
        decisions_config({"model": str(base), "director": "linear"})
    with pytest.raises(ConfigError, match="`prompt`"):
        decisions_config({"model": str(base), "prompt": "{text}"})
    assert decisions_config({"peft": "lora", "rank": 4}).peft_settings()["rank"] == 4
    unanswered = [Decision(1, "x", {"a": YesNo("Is it?")}, {})]
    with pytest.raises(DataError, match="no case has an answer"):
        train_decisions(settings(base), unanswered, tmp_path / "run")
