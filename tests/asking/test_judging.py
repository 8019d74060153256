"""A whole file of decisions, from its making to its figures."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from cli_runs import predgen, refused
from predgen import Asker
from predgen.asking.asker import Case
from predgen.asking.judging import judge
from predgen.figures import number
from predgen.questions.decisions import read_decisions
from predgen.questions.kinds import NumberQuestion
from tiny_models import save_tiny
from tokenizers_for_tests import char_level

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def made() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_decisions", ROOT / "tools" / "make_decisions.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def cases(made: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.write(tmp_path_factory.mktemp("decisions") / "cases.jsonl")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("decisions") / "base", char_level())


def test_sixty_cases_are_read_as_they_are(cases: Path) -> None:
    decisions = read_decisions(cases)
    assert len(decisions) == 60
    assert {type(one.state) for one in decisions} == {str, dict}
    assert sorted({len(one.questions) for one in decisions}) == [2, 5]
    assert sum(one.missing for one in decisions) == 8  # every seventh case, from the seventh on
    shares = [p for one in decisions for p in one.answers.get("team", ())]
    assert any(0 < p < 1 for p in shares), "answers are soft"


def test_evaluate_asks_a_base_the_files_questions(base: Path, cases: Path, tmp_path: Path) -> None:
    result = predgen("evaluate", base, cases, "--json", tmp_path / "out.json")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["counts"] == {
        "cases": 60,
        "questions": 50 * 5 + 10 * 2 - 8,
        "questions_without_answer": 8,
        "states_truncated": 0,
    }
    assert [*found["metrics"]] == ["accuracy", "kl", "brier", "ece_top_label", "ece_class_wise"]
    assert {*found["by_question"]} == {"urgent", "team", "anger", "polite", "days"}
    assert [*found["by_question"]["days"]] == ["mae", "crps"]
    for name, figure in found["metrics"].items():
        assert figure["low"] <= figure["value"] <= figure["high"] or name.startswith("ece")
        assert number(figure["value"], 4) in result.stdout
    # Once more, by a plain loop over single questions.
    asker, scores = Asker.load(base), []
    for decision in read_decisions(cases)[:6]:
        for name, gold in decision.answers.items():
            if not isinstance(decision.questions[name], NumberQuestion):
                (told,) = asker.answer([Case(decision.state, {name: decision.questions[name]})])
                scores.append(float(((np.array(told.probabilities[name]) - np.array(gold)) ** 2).sum()))
    few = judge(asker, read_decisions(cases)[:6]).to_dict()
    assert few["metrics"]["brier"]["value"] == pytest.approx(np.mean(scores), abs=1e-6)


def test_what_a_file_of_decisions_cannot_go_with_is_refused(base: Path, cases: Path, tmp_path: Path) -> None:
    assert "decisions" in refused(predgen("evaluate", base, cases, "--split", "test"))
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text('{"state": "x", "questions": {"a": {"type": "noul", "instructions": "?"}}, "answers": {"a": 2}}\n')
    assert "line 1" in refused(predgen("evaluate", base, wrong))
    assert "no-such-file" in refused(predgen("evaluate", base, tmp_path / "no-such-file.jsonl"))
