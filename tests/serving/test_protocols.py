"""`/v1/systemone` and `/v1/decisions`: shapes, trained targets, bases, refusals, all faults at once; by the real client, too."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest
from starlette.testclient import TestClient

import predgen
from predgen import Choice, NumberQuestion, Score, YesNo
from predgen.asking.asker import Asker
from predgen.core import Decoding
from predgen.errors import ConfigError
from predgen.inference.guarantees import Promised
from predgen.inference.trained import TrainedModel
from predgen.serving.app import make_app
from predgen.serving.bases import ServedBase, check_base_settings
from predgen.serving.served import ServedModel
from predgen.serving.settings import ServeSettings
from serving.conftest import ServedRuns, faults, running, told

STATE = "a dull book and no tea"
CLOSE = 1e-5
QUESTIONS: dict[str, Any] = {
    "urgent": {"type": "noul", "instructions": "Is it urgent?", "criteria": {"true": "now", "false": None}},
    "team": {
        "type": "choice",
        "instructions": "Which team?",
        "criteria": {"sales": "contracts", "tech support": None, "hr": None},
    },
    "mood": {"type": "score", "instructions": "How good?", "criteria": ["bad", "so so", "very good"]},
    "age": {"type": "number", "instructions": "How old?", "minimum": 0, "maximum": 5, "step": 0.5},
}
TYPED = {
    "urgent": YesNo("Is it urgent?", "now"),
    "team": Choice("Which team?", {"sales": "contracts", "tech support": None, "hr": None}),
    "mood": Score("How good?", ["bad", "so so", "very good"]),
    "age": NumberQuestion("How old?", 0, 5, 0.5),
}


@pytest.fixture(scope="module")
def asker(served_runs: ServedRuns) -> Asker:
    return Asker.load(served_runs.labels.parent / "base")


@pytest.fixture(scope="module")
def client(served_runs: ServedRuns, asker: Asker) -> Iterator[TestClient]:
    with TestClient(make_app([*served_runs.models(), ServedBase(asker, "base")], ServeSettings())) as found:
        yield found


@pytest.fixture(scope="module")
def official(served_runs: ServedRuns, asker: Asker) -> Iterator[openai.OpenAI]:
    """The vendor's own client, and a server that listens."""
    app = make_app([*served_runs.models(), ServedBase(asker, "base")], ServeSettings(api_key="key"))
    with running(app) as address, openai.OpenAI(base_url=f"{address}/v1", api_key="key", max_retries=0) as found:
        yield found


def systemone(client: TestClient, model: str, state: Any, questions: dict[str, Any]) -> dict[str, Any]:
    answer = told(client.post("/v1/systemone", json={"model": model, "state": state, "questions": questions}))
    assert (answer["model"], answer["usage"]["output_tokens"]) == (model, 0)
    assert answer["usage"]["input_tokens"] > 0
    assert list(answer["answers"]) == list(questions)
    found: dict[str, Any] = answer["answers"]
    return found


def test_a_base_answers_as_ask_does_in_the_protocols_shapes(client: TestClient, asker: Asker) -> None:
    found = systemone(client, "base", STATE, QUESTIONS)
    [offline] = predgen.ask(asker, [STATE], TYPED)
    assert found["urgent"] == {"type": "noul", "noul": pytest.approx(offline["urgent"].probability, abs=CLOSE)}
    p = found["team"]["probabilities"]
    assert p == pytest.approx(dict(offline["team"].probabilities), abs=CLOSE)
    assert found["team"]["choice"] == max(p, key=p.get)
    assert found["team"]["confidence"] == pytest.approx(max(0, (max(p.values()) - 1 / 3) / (1 - 1 / 3)))
    levels = found["mood"]["probabilities"]
    assert list(levels) == ["0", "1", "2"]
    assert found["mood"]["legend"] == {"0": "bad", "1": "so so", "2": "very good"}
    assert found["mood"]["score"] == pytest.approx(levels["1"] + 2 * levels["2"])
    best = max(range(3), key=lambda level: levels[str(level)])
    off = sum(p * abs(int(level) - best) for level, p in levels.items())
    assert found["mood"]["confidence"] == pytest.approx(max(0, 1 - off / (2 / 3)))
    assert set(found["age"]) == {"type", "value", "mean", "median", "mode", "quantiles"}
    assert found["age"]["mean"] == pytest.approx(offline["age"].distribution.mean(), abs=CLOSE)
    assert found["age"]["quantiles"].keys() == {"0.05", "0.5", "0.95"}


def test_states_may_be_json(client: TestClient, asker: Asker) -> None:
    for state in ({"from": "Ann", "open": True}, ["a", {"b": None}]):
        found = systemone(client, "base", state, {"urgent": QUESTIONS["urgent"]})
        [offline] = predgen.ask(asker, [state], {"urgent": TYPED["urgent"]})
        assert found["urgent"]["noul"] == pytest.approx(offline["urgent"].probability, abs=CLOSE)


@pytest.mark.parametrize(
    ("name", "question"),
    [
        ("answer", {}),
        ("answer", {"type": "choice"}),
        ("other", {"type": "choice", "instructions": "High or low?", "criteria": {"high": "much", "low": None}}),
        ("answer", {"type": "score", "instructions": "How high?", "criteria": ["low", "high"]}),
    ],
)
def test_a_trained_model_answers_its_question_as_it_predicts(
    client: TestClient, labelled: TrainedModel, name: str, question: dict[str, Any]
) -> None:
    found = systemone(client, "moods", {"text": STATE}, {name: question})[name]
    offline = dict(zip(labelled.labels, labelled.predict([STATE])[0].probabilities or (), strict=True))
    if found["type"] == "score":
        assert found["score"] == pytest.approx(offline["high"], abs=CLOSE)
    else:
        assert found["probabilities"] == pytest.approx(offline, abs=CLOSE)
    assert found == systemone(client, "moods", STATE, {name: question})[name]


def test_a_trained_model_of_numbers_gives_quantiles_and_a_calibrated_interval(
    client: TestClient, numbered: TrainedModel
) -> None:
    found = systemone(client, "points", STATE, {"answer": {"type": "number"}})["answer"]
    [offline] = numbered.predict([STATE], decoding=Decoding(distribution=True))
    assert offline.distribution is not None
    np.testing.assert_allclose(
        [found["mean"], found["median"], found["quantiles"]["0.95"]],
        [offline.distribution.mean(), offline.distribution.median(), offline.distribution.quantile(0.95)],
        atol=CLOSE,
    )
    [(lower, upper)] = numbered.predict_interval([STATE], 0.9)
    assert found["interval"] == {
        "coverage": 0.9,
        "lower": pytest.approx(lower, abs=CLOSE) if math.isfinite(lower) else None,
        "upper": pytest.approx(upper, abs=CLOSE) if math.isfinite(upper) else None,
    }


def test_the_official_client_reads_every_kind_of_answer(official: openai.OpenAI, asker: Asker) -> None:
    found = official.decisions.create(
        model="base",
        input=[{"role": "user", "content": [{"type": "input_text", "text": STATE}]}],
        questions=[
            {"type": "predicate", "instructions": "Is it urgent?", "name": "urgent"},
            {
                "type": "choice",
                "instructions": "Is it?",
                "choices": [{"value": True}, {"value": "true"}, {"value": "no", "description": "never"}],
            },
            {
                "type": "score",
                "instructions": [{"type": "input_text", "text": "How good?"}],
                "levels": [{"label": "bad"}, {"label": "fine"}],
            },
            {"type": "number", "instructions": "How old?", "minimum": 0, "maximum": 3, "step": 1, "name": "age"},  # type: ignore[list-item]
        ],
        prompt_cache_key="k",
        safety_identifier="s",
    )
    predicate, choice, score, number = found.answers
    asked = {"q": YesNo("Is it urgent?")}
    [offline] = predgen.ask(asker, [STATE], asked)
    assert predicate.type == "predicate"
    assert (predicate.name, predicate.probability) == ("urgent", pytest.approx(offline["q"].probability, abs=CLOSE))
    assert choice.type == "choice"
    assert choice.name is None
    assert [one.value for one in choice.probabilities] == [True, "true", "no"]
    assert [type(one.value) for one in choice.probabilities] == [bool, str, str]
    assert sum(one.probability for one in choice.probabilities) == pytest.approx(1)
    assert score.type == "score"
    assert [(one.value, one.label) for one in score.probabilities] == [(0, "bad"), (1, "fine")]
    assert score.score == pytest.approx(score.probabilities[1].probability)
    assert number.to_dict()["type"] == "number"
    assert 0 <= number.to_dict()["mean"] <= 3
    assert found.usage.total_tokens == found.usage.input_tokens > 0
    assert [model.id for model in official.models.list()] == ["moods", "points", "base"]


def test_the_official_client_asks_a_trained_model(official: openai.OpenAI, labelled: TrainedModel) -> None:
    offline = labelled.predict([STATE])[0]
    for given in (STATE, [{"role": "user", "content": [{"type": "input_json", "data": {"text": STATE}}]}]):
        found = official.decisions.create(
            model="moods",
            input=given,  # type: ignore[arg-type]
            questions=[{"type": "choice", "instructions": "?", "choices": [{"value": one} for one in labelled.labels]}],
        )
        assert found.answers[0].type == "choice"
        assert found.answers[0].choice == offline.value
        probabilities = [one.probability for one in found.answers[0].probabilities]
        np.testing.assert_allclose(probabilities, offline.probabilities, atol=CLOSE)


def test_conversations_and_tools_are_read(official: openai.OpenAI, asker: Asker) -> None:
    found = official.decisions.create(
        model="base",
        input=[
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "Where is it?"},
            {"type": "function_call", "call_id": "1", "name": "find", "arguments": '{"id": 7}'},
            {"type": "function_call_output", "call_id": "1", "output": "lost"},
        ],
        questions=[{"type": "predicate", "instructions": "Is it lost?"}],
    )
    state = 'system: Be short.\nuser: Where is it?\ncall: find({"id": 7})\nresult: lost'
    [offline] = predgen.ask(asker, [state], {"q": YesNo("Is it lost?")})
    assert found.answers[0].type == "predicate"
    assert found.answers[0].probability == pytest.approx(offline["q"].probability, abs=CLOSE)


def test_the_official_client_raises_its_own_errors(official: openai.OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match="instructions"):
        official.decisions.create(model="base", input="x", questions=[{"type": "predicate"}])  # type: ignore[typeddict-item]
    with pytest.raises(openai.NotFoundError, match="bse"):
        official.decisions.create(model="bse", input="x", questions=[{"type": "predicate", "instructions": "?"}])


def test_the_official_client_needs_the_key(official: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError):
        official.with_options(api_key="other").models.list()


def test_a_model_that_is_not_sure_refuses(served_runs: ServedRuns, asker: Asker) -> None:
    sure = Promised(min_confidence=1.0)
    models = [ServedModel.read(served_runs.labels, refusing=sure), ServedBase(asker, "base", 1.0)]
    asked = {"type": "choice", "instructions": "?", "choices": [{"value": "low"}, {"value": "high"}], "name": "q"}
    number = {"type": "number", "instructions": "?", "minimum": 0, "maximum": 2, "step": 1}
    with TestClient(make_app(models, ServeSettings())) as client:
        for model, questions in (("moods", [asked]), ("base", [asked, number])):
            found = told(client.post("/v1/decisions", json={"model": model, "input": STATE, "questions": questions}))
            assert found["answers"][0] == {"type": "refusal", "name": "q"}
        assert found["answers"][1]["type"] == "number"
    with pytest.raises(ConfigError, match="`max_error`"):
        check_base_settings(0.05)


BAD_SYSTEM_ONE: list[tuple[Any, list[tuple[Any, ...]]]] = [
    ({}, [("state",), ("questions",)]),
    ({"state": 3, "questions": {}, "stat": 1}, [("state",), ("questions",), ("stat",)]),
    ({"state": "x", "questions": {"a": {"type": "noul"}, "b": {"type": "chioce"}, "c": 5}, "assets": {"i": 1}},
     [("questions", "c"), ("assets",), ("questions", "a", "instructions"), ("questions", "b", "type")]),
    ({"state": "x", "questions": {"a.b": {"type": "choice", "instructions": " ", "criteria": {"x": 1}, "choices": [], "why": 1}}},
     [("questions", "a.b", "choices"), ("questions", "a.b", "why")]),
    ({"state": "x", "questions": {"a": {"type": "choice", "instructions": " ", "criteria": {"x": 1}}}},
     [("questions", "a", "criteria", "x"), ("questions", "a", "instructions"), ("questions", "a", "criteria")]),
    ({"state": "x", "questions": {"a": {"type": "number", "instructions": "?", "minimum": 2, "maximum": 1, "step": 1}}},
     [("questions", "a", "maximum")]),
    ({"state": "x", "questions": {str(i): {"type": "noul", "instructions": "?"} for i in range(65)}}, [("questions",)]),
    ({"state": "x", "questions": {"a": {"type": "predicate", "instructions": "?"}}}, [("questions", "a", "type")]),
    ({"state": "x", "questions": {"a": {}}}, [("questions", "a", "type")]),
]  # fmt: skip


@pytest.mark.parametrize(("body", "places"), BAD_SYSTEM_ONE)
def test_all_faults_of_a_systemone_request_are_told(
    client: TestClient, body: dict[str, Any], places: list[tuple[Any, ...]]
) -> None:
    found = [place for place, _ in faults(client.post("/v1/systemone", json={"model": "base", **body}))]
    assert sorted(found, key=str) == sorted(places, key=str)


BAD_DECISIONS: list[tuple[Any, list[tuple[Any, ...]]]] = [
    ({}, [("input",), ("questions",)]),
    ({"input": "x", "questions": [{"type": "predicate", "instructions": "?", "criteria": {}}, {"type": "noul", "instructions": "?"}, 7]},
     [("questions", 0, "criteria"), ("questions", 1, "type"), ("questions", 2)]),
    ({"input": "x", "questions": [{"type": "choice", "instructions": "?", "choices": [{"value": "a"}, {"value": "a"}, {"value": 3}]}]},
     [("questions", 0, "choices", 1), ("questions", 0, "choices", 2, "value")]),
    ({"input": [{"type": "function_call_output", "call_id": "9", "output": "x"}], "questions": [{"type": "predicate", "instructions": ""}]},
     [("input", 0, "call_id"), ("questions", 0, "instructions")]),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}], "questions": [{"type": "predicate", "instructions": "?"}]},
     [("input", 0, "content", 0)]),
    ({"input": "x", "questions": [], "temperature": 0}, [("questions",), ("temperature",)]),
]  # fmt: skip


@pytest.mark.parametrize(("body", "places"), BAD_DECISIONS)
def test_all_faults_of_a_decisions_request_are_told(
    client: TestClient, body: dict[str, Any], places: list[tuple[Any, ...]]
) -> None:
    found = [place for place, _ in faults(client.post("/v1/decisions", json={"model": "base", **body}))]
    assert sorted(found, key=str) == sorted(places, key=str)


def test_a_trained_model_refuses_what_it_was_not_trained_for(client: TestClient) -> None:
    others = {
        "answer": {"type": "choice", "instructions": "?", "criteria": {"high": None, "middle": None}},
        "b": {"type": "noul", "instructions": "Is it?"},
        "c": {"type": "number", "instructions": "?", "minimum": 0, "maximum": 1, "step": 1},
    }
    body = {"model": "moods", "state": {"txt": "a"}, "questions": others}
    found = faults(client.post("/v1/systemone", json=body))
    assert {place[:2] for place, _ in found} == {("questions", name) for name in others} | {("state",)}
    assert all("high, low" in text or "'text'" in text for _, text in found)
    body = {"model": "points", "state": [1], "questions": {"answer": {"type": "choice"}, "x": QUESTIONS["age"]}}
    found = faults(client.post("/v1/systemone", json=body))
    assert {place[:2] for place, _ in found} == {("questions", "answer"), ("questions", "x"), ("state",)}


def test_a_base_predicts_no_rows(client: TestClient) -> None:
    [(place, text)] = faults(client.post("/predict", json={"model": "base", "rows": ["a"]}))
    assert (place, "/v1/systemone" in text) == (("model",), True)


def test_a_question_too_long_for_the_model_is_the_questions_fault(client: TestClient) -> None:
    body = {"model": "base", "state": "x", "questions": {"a": {"type": "noul", "instructions": "why " * 400}}}
    [(place, _)] = faults(client.post("/v1/systemone", json=body))
    assert place[:2] == ("questions", "a")


def test_openapi_describes_both_protocols(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path, key in (("/v1/systemone", "state"), ("/v1/decisions", "input")):
        schema = paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert {key, "questions"} <= {*schema["required"]}
        assert "$ref" not in str(schema)
