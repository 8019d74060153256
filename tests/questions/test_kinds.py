from collections.abc import Callable, Mapping
from decimal import Decimal

import numpy as np
import pytest
from transformers.decision.template_utils import Question as TheirQuestion

from predgen.errors import ConfigError, QuestionError
from predgen.questions.answered import NumberAnswer, ScoreAnswer, answer_to
from predgen.questions.kinds import Choice, Described, NumberQuestion, Score, TypedQuestion, YesNo, answers_of
from predgen.questions.reading import as_questions, read_question, read_questions
from predgen.questions.wording import label_questions, question_text, row_text, state_text, written_answers


def faults_of(make: Callable[[], object]) -> dict[str, str]:
    """Key -> what is said of it."""
    with pytest.raises(QuestionError) as caught:
        make()
    return dict(caught.value.faults)


@pytest.mark.parametrize(
    ("make", "where", "what"),
    [
        (lambda: YesNo("  "), "instructions", "'  '"),
        (lambda: YesNo("Is it?", false=" "), "false", "' '"),
        (lambda: Choice("Which?", ["a"]), "options", "1 entries"),
        (lambda: Choice("Which?", "ab"), "options", "0 entries"),
        (lambda: Choice("Which?", [f"{i}" for i in range(256)]), "options", "256 entries"),
        (lambda: Choice("Which?", ["a b", "c", "a  b"]), "options.2", "stands at 0"),
        (lambda: Choice("Which?", [True, False, True]), "options.2", "stands at 0"),
        (lambda: Choice("Which?", ["a", ""]), "options.1", "''"),
        (lambda: Choice("Which?", {"a": "", "b": None}), "options.0.description", "''"),
        (lambda: NumberQuestion("How many?", 0, float("inf"), 1), "maximum", "inf"),
        (lambda: NumberQuestion("How many?", 0, 10, 0), "step", "0"),
        (lambda: NumberQuestion("How many?", 10, 10, 1), "maximum", "10"),
        (lambda: NumberQuestion("How many?", 0, 1, 0.3), "maximum", "0.3"),
        (lambda: NumberQuestion("How many?", 0, 1e4, 1), "step", "10,001 numbers"),
    ],
)
def test_a_question_that_cannot_be_asked_says_which_key_is_wrong(
    make: Callable[[], object], where: str, what: str
) -> None:
    assert what in faults_of(make)[where]


def test_all_faults_of_all_questions_are_told_at_once() -> None:
    data = {
        "urgent": {"type": "noul", "instruction": "Is it?"},
        "team": {"type": "choice", "instructions": "Which?", "criteria": {"a": None}},
        "age": {"type": "number", "instructions": "How old?", "maximum": 9},
        "mood": {"type": "scroe"},
        "fine": {"type": "noul", "instructions": "Is it fine?"},
        "kind": 3,
        "blank": {"type": "noul", "instructions": "Is it?", "criteria": {"true": " "}},
        "types": {"type": "score", "instructions": 5, "criteria": ["low", True, "low"], "level": []},
        "both": {"type": "number", "instructions": "How old?", "minimum": True, "maximum": 1, "step": None},
    }
    found = faults_of(lambda: read_questions(data))
    assert [*found] == [
        "urgent.instruction",
        "urgent.instructions",
        "team.criteria",
        "age.minimum",
        "age.step",
        "mood.type",
        "kind",
        "blank.criteria.true",
        "types.level",
        "types.instructions",
        "types.criteria.1",
        "types.criteria.2",
        "both.minimum",
        "both.step",
    ]
    assert "score" in found["mood.type"]
    assert "instructions" in found["urgent.instruction"]  # a near name


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"type": "noul", "instructions": "Is it?", "criteria": {"true": "yes!"}}, YesNo("Is it?", true="yes!")),
        ({"type": "predicate", "instructions": "Is it?", "name": "x"}, YesNo("Is it?")),
        (
            {"type": "choice", "instructions": "Which?", "criteria": {"a": "A", "b": None}},
            Choice("Which?", {"a": "A", "b": None}),
        ),
        (
            {
                "type": "choice",
                "instructions": "Which?",
                "choices": [{"value": True}, {"value": "true", "description": "T"}],
            },
            Choice("Which?", [Described(True), Described("true", "T")]),
        ),
        ({"type": "score", "instructions": "How?", "criteria": ["low", "high"]}, Score("How?", ["low", "high"])),
        (
            {
                "type": "score",
                "instructions": "How?",
                "levels": [{"label": "low"}, {"label": "high", "description": "H"}],
            },
            Score("How?", {"low": None, "high": "H"}),
        ),
        (
            {"type": "number", "instructions": "How?", "minimum": 0, "maximum": 2, "step": 1},
            NumberQuestion("How?", 0, 2),
        ),
    ],
)
def test_both_protocols_are_read(data: Mapping[str, object], expected: TypedQuestion) -> None:
    assert read_question(data) == expected
    assert read_questions({"x": data}) == as_questions({"x": expected}) == as_questions({"x": data})


@pytest.mark.parametrize(
    "data",
    [
        {"type": "choice", "instructions": "Which?", "choices": [{"value": "a", "weight": 1}, {"value": "b"}]},
        {"type": "score", "instructions": "How?", "levels": ["low", "high"]},
        {"type": "noul", "instructions": "Is it?", "criteria": {"yes": "so"}},
    ],
)
def test_parts_with_keys_that_nobody_reads_are_refused(data: Mapping[str, object]) -> None:
    assert faults_of(lambda: read_question(data))


PROBABILITIES = ([0.1, 0.2, 0.7], [1 / 3] * 3, [0.0, 1.0, 0.0], [0.4, 0.2, 0.4], [0.5, 0.1, 0.4])


@pytest.mark.parametrize("probabilities", PROBABILITIES)
def test_answers_are_those_of_another_implementation(probabilities: list[float]) -> None:
    theirs = TheirQuestion("x", "score", "How?", ["0", "1", "2"], ["A", "B", "C"], ["low", "mid", "high"])
    expected = theirs.answer(probabilities)
    ours = answer_to(Score("How?", ["low", "mid", "high"]), probabilities).to_dict()
    assert ours.keys() == expected.keys()
    assert ours["legend"] == expected["legend"]
    assert ours["score"] == pytest.approx(expected["score"], abs=1e-12)
    assert ours["confidence"] == pytest.approx(expected["confidence"], abs=1e-12)
    assert ours["probabilities"] == pytest.approx(expected["probabilities"])
    theirs = TheirQuestion("x", "choice", "Which?", ["a", "b", "c"], ["A", "B", "C"], [None] * 3)
    expected = theirs.answer(probabilities)
    ours = answer_to(Choice("Which?", ["a", "b", "c"]), probabilities).to_dict()
    assert (ours["choice"], ours["type"]) == (expected["choice"], "choice")
    assert ours["confidence"] == pytest.approx(expected["confidence"], abs=1e-12)
    theirs = TheirQuestion("x", "noul", "Is it?", ["true", "false"], ["Yes", "No"], [None] * 2)
    assert answer_to(YesNo("Is it?"), probabilities[:2]).to_dict() == theirs.answer(probabilities[:2])


def test_confidence_by_hand() -> None:
    # n = 4, p_max = 0.7: (0.7 - 0.25) / 0.75 = 0.6
    assert answer_to(Choice("?", "a b c d".split()), [0.7, 0.1, 0.1, 0.1]).confidence == pytest.approx(0.6)  # type: ignore[union-attr]
    # levels 0..2, best 2: E|l - 2| = 2 * 0.1 + 1 * 0.2 = 0.4; uniform around the middle: (1 + 0 + 1) / 3; 1 - 0.4 * 3 / 2 = 0.4
    found = answer_to(Score("?", ["a", "b", "c"]), [0.1, 0.2, 0.7])
    assert isinstance(found, ScoreAnswer)
    assert found.confidence == pytest.approx(0.4)
    assert found.score == pytest.approx(1.6)
    assert found.level == 2


def test_numbers_have_points_quantiles_and_an_interval() -> None:
    question = NumberQuestion("How many?", -1.0, 1.0, 0.5)
    assert question.numbers == tuple(map(Decimal, ("-1.0", "-0.5", "0.0", "0.5", "1.0")))
    found = answer_to(question, [0.1, 0.2, 0.4, 0.05, 0.25])
    assert isinstance(found, NumberAnswer)
    told = found.to_dict([0.05, 0.9], coverage=0.6)
    assert told["value"] == told["median"] == told["mode"] == 0.0
    assert told["mean"] == pytest.approx(np.dot([-1, -0.5, 0, 0.5, 1], [0.1, 0.2, 0.4, 0.05, 0.25]))
    assert told["quantiles"] == {"0.05": -1.0, "0.9": 1.0}
    assert told["interval"] == {"coverage": 0.6, "lower": -0.5, "upper": 1.0}  # 0.2 and 0.8 of 0.1 0.3 0.7 0.75 1
    with pytest.raises(ConfigError, match=r"1\.5"):
        found.interval(1.5)


def test_options_are_worded_in_one_order_and_written_in_their_own_words() -> None:
    one, other = (
        Choice("Which?", {"tech": None, "sales": "prices"}),
        Choice("Which?", {"sales": "prices", "tech": None}),
    )
    assert question_text(one) == question_text(other) == "Which?\nOptions:\n- sales: prices\n- tech"
    assert written_answers(one) == ["tech", "sales"]
    assert written_answers(NumberQuestion("How?", 0, 1, 0.25)) == ["0.00", "0.25", "0.50", "0.75", "1.00"]
    assert question_text(NumberQuestion("How?", 0, 1, 0.25)).endswith("A number from 0.00 to 1.00, in steps of 0.25.")
    assert question_text(YesNo("Is it?", true="so")) == "Is it?\nyes: so"
    assert [one.value for one in answers_of(YesNo("Is it?"))] == ["yes", "no"]


def test_states_are_text_or_json_and_rows_are_lines() -> None:
    assert state_text("as it is ") == "as it is "
    assert state_text([1, {"ü": None}]) == '[1, {"ü": null}]'
    assert row_text({"text": "one"}) == "one"
    assert row_text({"a": "one", "b": 2}) == "a: one\nb: 2"
    assert faults_of(lambda: state_text({"x": float("nan")}))["state"]


def test_labels_become_questions() -> None:
    assert label_questions(["a", "b"], "Is {label} meant?")["b"] == YesNo("Is b meant?")
    assert faults_of(lambda: label_questions(["a"], "Is it?"))["question"]
    assert faults_of(lambda: label_questions(["a", " "]))["labels.1"]
