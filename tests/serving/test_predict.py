"""`/predict` and `/explain` over HTTP say what the same model says offline, and list everything that is wrong with a request."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from predgen.core import Decoding
from predgen.explanation.explain import explain
from predgen.inference.guarantees import Promised
from predgen.inference.trained import TrainedModel
from serving.conftest import faults, told
from tiny_runs import tiny_rows

TEXTS = [row.fields["text"] for row in tiny_rows(12, "classification", seed=3)]
CLOSE = 1e-5


def predictions(client: TestClient, model: str, rows: list[Any], **asked: Any) -> list[dict[str, Any]]:
    answer = told(client.post("/predict", json={"model": model, "rows": rows, **asked}))
    assert answer["model"] == model
    assert len(answer["predictions"]) == len(rows)
    found: list[dict[str, Any]] = answer["predictions"]
    return found


def test_labels_are_those_of_offline_predict(client: TestClient, labelled: TrainedModel) -> None:
    found = predictions(client, "moods", [*TEXTS[:6], *({"text": text, "other": 1} for text in TEXTS[6:])])
    offline = labelled.predict(TEXTS)
    assert [one["value"] for one in found] == [one.value for one in offline]
    assert [list(one["probabilities"]) for one in found] == [list(labelled.labels)] * len(TEXTS)
    np.testing.assert_allclose(
        [list(one["probabilities"].values()) for one in found], [one.probabilities for one in offline], atol=CLOSE
    )
    assert all(sum(one["probabilities"].values()) == pytest.approx(1) for one in found)


def test_numbers_are_those_of_offline_predict_with_their_distributions(
    client: TestClient, numbered: TrainedModel
) -> None:
    found = predictions(client, "points", TEXTS, quantiles=[0.05, 0.5])
    np.testing.assert_allclose([one["value"] for one in found], [p.value for p in numbered.predict(TEXTS)], atol=CLOSE)
    for one, offline in zip(found, numbered.predict(TEXTS, decoding=Decoding(distribution=True)), strict=True):
        assert offline.distribution is not None
        np.testing.assert_allclose(one["distribution"]["probabilities"], offline.distribution.probabilities, atol=CLOSE)
        np.testing.assert_allclose(one["distribution"]["mean"], offline.distribution.mean(), atol=CLOSE)
        assert one["quantiles"]["0.5"] == one["distribution"]["median"]
        assert one["quantiles"]["0.05"] <= one["quantiles"]["0.5"]
    assert "distribution" not in predictions(client, "points", TEXTS[:1], distribution=False)[0]


def test_sets_intervals_and_abstention_are_those_of_offline_predict(
    client: TestClient, labelled: TrainedModel, numbered: TrainedModel
) -> None:
    sets = predictions(client, "moods", TEXTS, coverage=0.8, min_confidence=0.6)
    assert [one["set"] for one in sets] == labelled.predict_set(TEXTS, 0.8)
    threshold = [max(p.probabilities or ()) < 0.6 for p in labelled.predict(TEXTS)]
    assert [one["abstained"] for one in sets] == threshold
    found = predictions(client, "points", TEXTS, coverage=0.8)
    ends = [(one["interval"]["lower"], one["interval"]["upper"]) for one in found]
    np.testing.assert_allclose(ends, numbered.predict_interval(TEXTS, 0.8), atol=CLOSE)
    guarantee = numbered.guarantee(Promised(0.8))
    assert guarantee.columns() == ("lower", "upper")


def test_another_decoding_is_asked_for_by_name(client: TestClient, numbered: TrainedModel) -> None:
    found = predictions(client, "points", TEXTS, decode="median")
    offline = numbered.predict(TEXTS, decoding=Decoding(how="median"))
    np.testing.assert_allclose([one["value"] for one in found], [one.value for one in offline], atol=CLOSE)


def test_many_clients_at_once_get_their_own_answers(client: TestClient, labelled: TrainedModel) -> None:
    texts = [f"{text} {i}" for i, text in enumerate(TEXTS * 2)]
    start = threading.Barrier(8)

    def ask(place: int) -> list[float]:
        if place < 8:
            start.wait(10)
        return list(predictions(client, "moods", [texts[place]])[0]["probabilities"].values())

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(len(texts))))
    offline = [labelled.predict([text])[0].probabilities for text in texts]
    np.testing.assert_allclose(found, offline, atol=CLOSE)


@pytest.mark.parametrize("model", ["moods", "points"])
def test_an_explanation_is_that_of_offline_explain(
    client: TestClient, labelled: TrainedModel, numbered: TrainedModel, model: str
) -> None:
    found = told(client.post("/explain", json={"model": model, "row": {"text": TEXTS[0]}}))
    [offline] = explain(labelled if model == "moods" else numbered, [TEXTS[0]])
    assert [word["text"] for word in found["words"]] == [one.part.of({"text": TEXTS[0]}) for one in offline.left_out]
    np.testing.assert_allclose([w["drop"] for w in found["words"]], [one.drop for one in offline.left_out], atol=CLOSE)
    assert found["unit"] == offline.unit
    chosen = client.post("/explain", json={"model": "moods", "row": TEXTS[0], "label": "low"})
    assert told(chosen)["answer"] == "low"


def test_all_faults_of_a_request_are_told_at_once(client: TestClient) -> None:
    body = {"model": "moods", "rows": ["good", {"text": None}, {"txt": "x"}], "coverage": 2, "decode": None}
    found = faults(client.post("/predict", json=body))
    assert [place for place, _ in found] == [(), ("rows", 1), ("rows", 2)]
    assert ["coverage" in found[0][1], "row 2" in found[1][1], "'txt'" in found[2][1]] == [True] * 3


@pytest.mark.parametrize(
    ("body", "places"),
    [
        ({}, [("rows",)]),
        ({"rows": [], "model": 3, "tempreature": 1}, [("model",), ("rows",), ("tempreature",)]),
        ({"model": "moods", "rows": [1, ["a"]], "quantiles": [2]}, [("rows", 0), ("rows", 1), ("quantiles", 0)]),
        ({"model": "moods", "rows": ["a"], "quantiles": [0.5]}, [()]),
        ({"model": "moods", "rows": ["a"], "decode": "medain"}, [()]),
        ({"model": "points", "rows": ["a"], "max_error": 0.1}, [()]),
        ({"model": "points", "rows": [{"text": "\ud800"}]}, [("rows", 0)]),
        ({"rows": ["a"]}, [("model",)]),
    ],
)
def test_what_is_wrong_is_named_where_it_stands(
    client: TestClient, body: dict[str, Any], places: list[tuple[Any, ...]]
) -> None:
    answer = client.post("/predict", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert [place for place, _ in faults(answer)] == places


def test_a_label_that_the_model_has_not_is_named(client: TestClient) -> None:
    found = faults(client.post("/explain", json={"model": "moods", "row": {"text": ""}, "label": "hgih"}))
    assert found[0][0] == ("label",)
    assert "'high'" in found[0][1]


def test_an_unknown_model_is_not_found_and_near_names_are_told(client: TestClient) -> None:
    answer = client.post("/predict", json={"model": "mods", "rows": ["a"]})
    assert answer.status_code == 404
    assert "'moods'" in answer.json()["detail"]


@pytest.mark.parametrize(
    "content", [b"{", b"", b"[]", b"\xff\xfe", b"\x80", b"[" * 100_000, b'{"rows": [' + b"9" * 5000 + b"]}"]
)
def test_a_malformed_body_is_refused(client: TestClient, content: bytes) -> None:
    answer = client.post("/predict", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert "Traceback" not in answer.text
