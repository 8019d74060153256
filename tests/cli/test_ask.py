"""`predgen predict --ask`: questions about the rows of a file, of a base or of a trained model."""

from pathlib import Path

import pytest

import predgen as library
from cli_runs import Runs, predgen, refused, reviews, write_csv
from predgen import YesNo
from predgen.data.sources import read_rows
from predgen.questions.answered import YesNoAnswer

ASKED = ("Is it good?", "Is it long?")
FLAGS = [flag for text in ASKED for flag in ("--ask", text)]
ADDED = [name for text in ASKED for name in (text, f"p({text})")]


def probabilities(model: Path, states: list[str], question: str) -> list[float]:
    found = []
    for answers in library.ask(model, states, {"x": YesNo(question)}):
        assert isinstance(answers["x"], YesNoAnswer)
        found.append(answers["x"].probability)
    return found


def test_a_base_answers_questions_about_whole_rows(runs: Runs, tmp_path: Path) -> None:
    rows = [{"text": row["text"], "note": "" if i else "so"} for i, row in enumerate(reviews(5))]
    source = write_csv(tmp_path / "in.csv", rows)
    result = predgen("predict", runs.base, source, "-o", tmp_path / "out.csv", *FLAGS)
    assert result.exit_code == 0, result.output
    found = list(read_rows(tmp_path / "out.csv"))
    assert list(found[0]) == ["text", "note", *ADDED]
    states = [f"text: {row['text']}\nnote: {row['note']}" for row in rows]
    for question in ASKED:
        told = [float(row[f"p({question})"]) for row in found]
        assert told == pytest.approx(probabilities(runs.base, states, question), abs=1e-6)
        assert [row[question] for row in found] == ["yes" if p >= 0.5 else "no" for p in told]


def test_a_trained_model_predicts_and_answers_questions_about_its_prompts_columns(runs: Runs, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", reviews(5))
    assert predgen("predict", runs.label, source, "-o", tmp_path / "plain.jsonl", "--proba").exit_code == 0
    result = predgen("predict", runs.label, source, "-o", tmp_path / "out.jsonl", "--proba", *FLAGS)
    assert result.exit_code == 0, result.output
    plain, found = (list(read_rows(tmp_path / name)) for name in ("plain.jsonl", "out.jsonl"))
    assert list(found[0]) == [*plain[0], *ADDED]
    assert [{name: row[name] for name in plain[0]} for row in found] == plain
    told = [row[f"p({ASKED[0]})"] for row in found]
    assert told == pytest.approx(probabilities(runs.label, [row["text"] for row in reviews(5)], ASKED[0]), abs=1e-6)


def test_what_a_base_cannot_give_and_columns_that_are_there_are_refused(runs: Runs, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", [{"text": "one", ASKED[0]: "two"}])
    assert "--proba" in refused(predgen("predict", runs.base, source, "-o", tmp_path / "a.csv", *FLAGS, "--proba"))
    assert repr(ASKED[0]) in refused(predgen("predict", runs.base, source, "-o", tmp_path / "a.csv", *FLAGS))
    twice = ("--ask", ASKED[1], "--ask", ASKED[1])
    assert "--ask 2" in refused(predgen("predict", runs.base, source, "-o", tmp_path / "a.csv", *twice))
    blank = refused(predgen("predict", runs.base, source, "-o", tmp_path / "a.csv", "--ask", " "))
    assert "visible character" in blank
    assert not (tmp_path / "a.csv").exists()
