"""Files of decisions: what is read, what contradicts itself, and how answers are judged."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import log_loss

from predgen.errors import DataError, QuestionError
from predgen.metrics.probabilities import BRIER, ECE
from predgen.questions.decisions import gold_of, read_decisions
from predgen.questions.kinds import Choice, NumberQuestion, Score, TypedQuestion, YesNo
from predgen.questions.measures import Judged, crps_of, ece_class_wise, ece_top_label, figures_of, kl_of, mae_of

URGENT, TEAM = YesNo("Is it urgent?"), Choice("Which team?", ["sales", "tech", True])
ANGER, DAYS = Score("How angry?", ["calm", "1", "angry"]), NumberQuestion("How many days?", 0, 2, 0.5)


@pytest.mark.parametrize(
    ("question", "answer", "expected"),
    [
        (URGENT, True, (1, 0)),
        (URGENT, "no", (0, 1)),
        (URGENT, 0.25, (0.25, 0.75)),
        (URGENT, {"type": "predicate", "probability": 0.25}, (0.25, 0.75)),
        (URGENT, {"noul": 1}, (1, 0)),
        (URGENT, {"probabilities": {"yes": 0.25, "no": 0.75}}, (0.25, 0.75)),
        (TEAM, "tech", (0, 1, 0)),
        (TEAM, True, (0, 0, 1)),
        (TEAM, {"type": "choice", "choice": "tech"}, (0, 1, 0)),
        (TEAM, {"probabilities": {"tech": 0.75, "sales": 0.25}}, (0.25, 0.75, 0)),
        (
            TEAM,
            {"probabilities": [{"value": True, "probability": 0.5}, {"value": "tech", "probability": 0.5}]},
            (0, 0.5, 0.5),
        ),
        (TEAM, {"probabilities": {"tech": 0.66, "sales": 0.333}}, (0.333 / 0.993, 0.66 / 0.993, 0)),
        (ANGER, "angry", (0, 0, 1)),
        (ANGER, 2, (0, 0, 1)),
        (ANGER, 1, (0, 1, 0)),  # the level whose text it is
        (ANGER, {"score": 0.5, "probabilities": {"0": 0.5, "1": 0.5}}, (0.5, 0.5, 0)),
        (ANGER, {"probabilities": [{"value": 0, "label": "calm", "probability": 1}]}, (1, 0, 0)),
        (DAYS, 1.5, (0, 0, 0, 1, 0)),
        (DAYS, {"type": "number", "value": 2}, (0, 0, 0, 0, 1)),
        (DAYS, {"probabilities": {"0.0": 0.25, "1": 0.75}}, (0.25, 0, 0.75, 0, 0)),
    ],
)
def test_answers_are_read_in_all_their_forms(
    question: TypedQuestion, answer: object, expected: Sequence[float]
) -> None:
    assert gold_of(question, answer) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("question", "answer", "what"),
    [
        (URGENT, 1.5, "1.5"),
        (URGENT, "maybe", "'maybe'"),
        (URGENT, {"type": "choice", "choice": "yes"}, "'choice'"),
        (TEAM, "Tech", "'sales', 'tech'"),
        (TEAM, "true", "'true'"),
        (TEAM, {"probabilities": {"sales": 0.5, "tech": 0.4}}, "0.9"),
        (TEAM, {"probabilities": {"sales": 1.5, "tech": -0.5}}, "-0.5"),
        (TEAM, {"choice": "sales", "probabilities": {"sales": 0.2, "tech": 0.8}}, "0.8"),
        (TEAM, {"probabilities": []}, "[]"),
        (ANGER, {"score": 1.2}, "missing"),
        (ANGER, 3, "3"),
        (DAYS, 0.25, "0.25"),
        (DAYS, True, "True"),
    ],
)
def test_answers_that_contradict_their_question_or_themselves_are_refused(
    question: TypedQuestion, answer: object, what: str
) -> None:
    with pytest.raises(QuestionError) as caught:
        gold_of(question, answer)
    assert what in str(caught.value)


def written(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


ASKED = {
    "urgent": {"type": "noul", "instructions": "Is it?"},
    "fine": {"type": "predicate", "instructions": "Is it fine?"},
}


def test_lines_have_their_own_questions_and_missing_answers_are_counted(tmp_path: Path) -> None:
    listed = [{"name": name, **question} for name, question in ASKED.items()]
    path = written(
        tmp_path / "cases.jsonl",
        {"state": "one", "questions": ASKED, "answers": {"urgent": True, "fine": None}, "id": 7},
        {"input": "two", "questions": listed, "answers": [{"name": "fine", "probability": 0.75}]},
        {"state": {"a": [1]}, "questions": [ASKED["urgent"]]},
    )
    found = read_decisions(path)
    assert [one.line for one in found] == [1, 2, 3]
    assert [one.state for one in found] == ["one", "two", {"a": [1]}]
    assert [[*one.questions] for one in found] == [["urgent", "fine"], ["urgent", "fine"], ["1"]]
    assert [dict(one.answers) for one in found] == [{"urgent": (1, 0)}, {"fine": (0.75, 0.25)}, {}]
    assert [one.missing for one in found] == [1, 1, 1]


def test_all_lines_that_contradict_themselves_are_named(tmp_path: Path) -> None:
    path = written(
        tmp_path / "cases.jsonl",
        {"state": "one", "questions": ASKED, "answers": {"urgent": 2, "fine": 3}},
        {"state": "two", "questions": ASKED, "answers": {"urgent": True, "other": True}},
        {"state": "fine", "questions": ASKED},
        {"questions": ASKED},
        {"state": "x", "questions": {"a": {"type": "noul"}}},
        {"state": "x", "questions": [{"name": "a", **ASKED["fine"]}, {"name": "a", **ASKED["fine"]}]},
    )
    with pytest.raises(DataError) as caught:
        read_decisions(path)
    message = str(caught.value)
    assert "5 of 6 lines" in message
    for part in (
        "line 1: `answers.urgent` is 2",
        "`answers.fine` is 3",
        "line 2: `answers.other`",
        "line 4: `state` is None",
    ):
        assert part in message
    assert "line 5: `questions.a.instructions`" in message
    assert "line 6: `questions.1` has the name 'a'" in message


def certain(place: int, size: int) -> tuple[float, ...]:
    return tuple(float(i == place) for i in range(size))


def test_figures_of_certain_answers_are_those_of_labels() -> None:
    rng = np.random.default_rng(0)
    labels = ["sales", "tech", "true"]
    told = rng.dirichlet([1, 1, 1], size=40)
    gold = rng.integers(3, size=40)
    judged = [
        Judged(i, "team", TEAM, tuple(p.tolist()), certain(int(g), 3))
        for i, (p, g) in enumerate(zip(told, gold, strict=True))
    ]
    targets, said = [labels[g] for g in gold], [labels[p.argmax()] for p in told]
    found = figures_of(judged, n_resamples=50)
    value = {name: figure["value"] for name, figure in found.items()}
    assert value["accuracy"] == pytest.approx(np.mean(np.array(targets) == np.array(said)))
    assert value["kl"] == pytest.approx(log_loss(gold, told, labels=[0, 1, 2]))
    assert value["brier"] == pytest.approx(BRIER(targets, said, told.tolist(), labels))
    assert value["ece_top_label"] == pytest.approx(ECE(targets, said, told.tolist(), labels))
    for figure in found.values():
        assert figure["low"] <= figure["high"]
        assert figure["low"] < figure["value"] + 0.05


def test_class_wise_error_is_the_mean_over_answers_of_all_their_bins() -> None:
    judged = [
        Judged(0, "x", URGENT, (0.92, 0.08), (1.0, 0.0)),
        Judged(1, "x", URGENT, (0.94, 0.06), (0.5, 0.5)),
        Judged(2, "x", URGENT, (0.35, 0.65), (0.0, 1.0)),
        Judged(3, "y", URGENT, (0.35, 0.65), (0.0, 1.0)),
    ]
    # x, yes: bin 0.9..1: |0.93 - 0.75| * 2 / 3 + bin 0.3..0.4: 0.35 / 3; x, no: the mirror image, its bins too; y: 0.35 twice
    of_x = (0.18 * 2 + 0.35) / 3
    assert ece_class_wise(judged)[0] == pytest.approx((2 * of_x + 2 * 0.35) / 4)
    # top: 0.92 and 0.94 (yes: 1 and 0.5), 0.65 twice (no: 1): (0.18 * 2 + 0.35 * 2) / 4
    assert ece_top_label(judged)[0] == pytest.approx((0.18 * 2 + 0.35 * 2) / 4)
    twice = np.array([[2.0, 0.0, 0.0, 0.0]])
    assert ece_class_wise(judged, twice)[0] == pytest.approx(0.08)


def test_soft_answers_and_numbers_are_judged_by_their_probabilities() -> None:
    soft = Judged(0, "x", URGENT, (0.5, 0.5), (0.25, 0.75))
    assert kl_of(soft) == pytest.approx(0.25 * np.log(0.5) + 0.75 * np.log(1.5))
    assert figures_of([soft], 2)["accuracy"]["value"] == 0.0  # the first of two equals, while the file says no
    days = Judged(0, "d", DAYS, (0.0, 0.5, 0.5, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0, 1.0))
    # F is 0, 1/2, 1, 1 on 0..0.5..1..1.5..2, the truth 2: (1/4 + 1 + 1) / 2
    assert crps_of(days) == pytest.approx(2.25 / 2)
    assert mae_of(days) == pytest.approx(1.5)
    assert [*figures_of([days], 2)] == ["mae", "crps"]
    assert figures_of([]) == {}
