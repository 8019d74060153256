"""What a server refuses, and what it tells of itself: limits, keys, failures, figures, log; and clients that do not wait."""

import asyncio
import json
import logging
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from predgen.errors import ConfigError
from predgen.inference.trained import TrainedModel
from predgen.serving.app import make_app
from predgen.serving.logs import EVENTS, JsonLog
from predgen.serving.served import ServedModel
from predgen.serving.settings import ServeSettings, check_names
from serving.conftest import ServedRuns, faults, told

ROW = {"model": "moods", "rows": ["a dull book"]}
WAIT_S = 10


@pytest.fixture(scope="module")
def models(served_runs: ServedRuns) -> list[ServedModel]:
    return served_runs.models()


@contextmanager
def serving(models: list[ServedModel], **settings: Any) -> Iterator[TestClient]:
    with TestClient(make_app(models, ServeSettings(**settings)), raise_server_exceptions=False) as client:
        yield client


class Held:
    """A model that waits for permission, and counts its rows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.may_run, self.began, self.rows = threading.Event(), threading.Event(), 0
        real = TrainedModel.predict_encoded

        def predict(trained: TrainedModel, rows: Any, **asked: Any) -> Any:
            self.began.set()
            assert self.may_run.wait(WAIT_S)
            self.rows += len(rows)
            return real(trained, rows, **asked)

        monkeypatch.setattr(TrainedModel, "predict_encoded", predict)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    return Held(monkeypatch)


def test_a_body_too_large_is_refused_whether_or_not_it_says_its_length(models: list[ServedModel]) -> None:
    text = json.dumps({"model": "moods", "rows": ["word " * 100]}).encode()
    json_type = {"Content-Type": "application/json"}
    with serving(models, max_body=len(text) - 1) as client:
        assert client.post("/predict", content=text, headers=json_type).status_code == 413
        in_pieces = iter([text[:100], text[100:]])
        assert client.post("/predict", content=in_pieces, headers=json_type).status_code == 413
    with serving(models, max_body=len(text)) as client:
        told(client.post("/predict", content=text, headers=json_type))


def test_too_many_rows_are_refused(models: list[ServedModel]) -> None:
    with serving(models, max_rows=2) as client:
        [(place, text)] = faults(client.post("/predict", json={**ROW, "rows": ["a"] * 3}))
        assert (place, "3 rows" in text, "2" in text) == (("rows",), True, True)
        told(client.post("/predict", json={**ROW, "rows": ["a"] * 2}))


def test_a_full_queue_says_when_to_come_back_and_others_are_answered(models: list[ServedModel], held: Held) -> None:
    with serving(models, max_rows=2, max_queue=2) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/predict", json={**ROW, "rows": ["a", "b"]})
        assert held.began.wait(WAIT_S)
        refused = client.post("/predict", json=ROW)
        assert refused.status_code == 503
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert client.get("/health").status_code == 200
        held.may_run.set()
        assert len(told(first.result(WAIT_S))["predictions"]) == 2
        told(client.post("/predict", json=ROW))


def test_what_takes_too_long_is_answered_504_and_not_run_later(models: list[ServedModel], held: Held) -> None:
    with serving(models, timeout=0.2) as client, ThreadPoolExecutor(2) as pool:
        first = pool.submit(client.post, "/predict", json=ROW)
        assert held.began.wait(WAIT_S)
        second = pool.submit(client.post, "/predict", json={**ROW, "rows": ["b"] * 5})
        assert [first.result(WAIT_S).status_code, second.result(WAIT_S).status_code] == [504, 504]
        held.may_run.set()
        time.sleep(0.05)
        assert told(client.post("/predict", json={**ROW, "rows": ["c"] * 3}))["usage"]["input_tokens"] > 0
    assert held.rows == 1 + 3  # the one that had begun, and the last


@pytest.mark.parametrize("path", ["/predict", "/explain", "/v1/models", "/metrics", "/openapi.json", "/nowhere"])
def test_a_key_is_asked_for(models: list[ServedModel], path: str) -> None:
    with serving(models, api_key="secret") as client:
        for given in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "secret"},
            {"Authorization": "Bearer s\xe9"},
        ):
            refused = client.get(path, headers=[(k, v.encode("latin-1")) for k, v in given.items()])
            assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert client.get("/health").status_code == 200
        assert client.get(path, headers={"Authorization": "Bearer secret"}).status_code in (200, 404, 405)


def test_a_failure_tells_the_log_what_it_does_not_tell_the_client(
    models: list[ServedModel], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise RuntimeError("cannot read /secret/place")

    monkeypatch.setattr(EVENTS, "propagate", True)
    monkeypatch.setattr(TrainedModel, "predict_encoded", fails)
    with serving(models) as client:
        answer = client.post("/predict", json=ROW)
    assert answer.status_code == 500
    assert answer.headers["X-Request-ID"] in answer.json()["detail"]
    assert not any(word in answer.text for word in ("secret", "Traceback", "RuntimeError", ".py"))
    [failed] = [json.loads(JsonLog().format(r)) for r in caplog.records if r.levelno == logging.ERROR]
    assert "/secret/place" in failed["error"]
    assert failed["id"] == answer.headers["X-Request-ID"]


def test_figures_are_read_back_by_prometheus_own_parser(models: list[ServedModel]) -> None:
    with serving(models) as client:
        for _ in range(3):
            told(client.post("/predict", json={**ROW, "rows": ["a", "b"]}))
        client.post("/predict", json={})
        client.get("/no/such/place/4711")
        text = client.get("/metrics").text
    found = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["predgen_requests_total", (("path", "/predict"), ("status", "200"))] == 3
    assert found["predgen_requests_total", (("path", "/predict"), ("status", "422"))] == 1
    assert found["predgen_requests_total", (("path", "other"), ("status", "404"))] == 1
    assert found["predgen_rows_total", (("model", "moods"),)] == 6
    assert found["predgen_batch_seconds_count", (("model", "moods"),)] == 3
    assert found["predgen_waiting_rows", ()] == 0
    assert "4711" not in text


def test_the_log_has_one_json_object_a_line_and_no_row(
    models: list[ServedModel], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(EVENTS, "propagate", True)
    with caplog.at_level(logging.INFO), serving(models) as client:
        answer = client.post("/predict", json={**ROW, "rows": ["tea\n\x1b[31m"]})
        client.get("/%0aforged")
    lines = [JsonLog().format(record) for record in caplog.records if record.name == EVENTS.name]
    assert not any("\n" in line or "tea" in line for line in lines)
    first, second = map(json.loads, lines)
    assert (first["status"], first["rows"], first["model"]) == (200, 1, "moods")
    assert first["id"] == answer.headers["X-Request-ID"]
    assert (second["status"], second["path"]) == (404, "/\nforged")


def asgi_call(app: Any, events: list[dict[str, Any]], then_wait: bool) -> tuple[list[dict[str, Any]], threading.Event]:
    """Call an app with what a connection brings; returns what it sent, and a switch that ends the connection."""
    sent: list[dict[str, Any]] = []
    ends = threading.Event()

    async def receive() -> dict[str, Any]:
        if events:
            return events.pop(0)
        while then_wait and not ends.is_set():
            await asyncio.sleep(0.01)
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"host", b"x")]
    scope = {"type": "http", "method": "POST", "path": "/predict", "raw_path": b"/predict", "headers": headers}
    scope |= {"query_string": b"", "root_path": "", "scheme": "http", "server": ("x", 1), "client": ("1.2.3.4", 5)}
    threading.Thread(
        target=lambda: asyncio.run(app(scope | {"http_version": "1.1", "asgi": {}}, receive, send))
    ).start()
    return sent, ends


def until(condition: Any) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_a_client_asked_that_has_gone_is_not_run(models: list[ServedModel], held: Held) -> None:
    with serving(models) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/predict", json=ROW)
        assert held.began.wait(WAIT_S)
        batcher = client.app.state.server.batcher  # type: ignore[attr-defined]
        body = json.dumps({**ROW, "rows": ["b"] * 7}).encode()
        sent, ends = asgi_call(client.app, [{"type": "http.request", "body": body, "more_body": False}], then_wait=True)
        until(lambda: batcher.n_items == 8)
        ends.set()
        until(lambda: batcher.n_items == 1)
        held.may_run.set()
        told(first.result(WAIT_S))
        until(lambda: 'status="499"' in client.get("/metrics").text)
    assert (held.rows, sent) == (1, [])


def test_a_body_that_does_not_come_is_not_waited_for(models: list[ServedModel]) -> None:
    with serving(models, timeout=0.2) as client:
        part = {"type": "http.request", "body": b'{"rows": [', "more_body": True}
        sent, ends = asgi_call(client.app, [part], then_wait=True)
        until(lambda: sent)
        ends.set()
        assert sent[0]["status"] == 408
        sent, _ = asgi_call(client.app, [part], then_wait=False)  # it breaks off
        until(lambda: 'status="499"' in client.get("/metrics").text)
        assert sent == []


def test_a_folder_that_is_replaced_changes_nothing_but_is_told(served_runs: ServedRuns, tmp_path: Path) -> None:
    run = shutil.copytree(served_runs.labels, tmp_path / "moods")
    with serving([ServedModel.read(run)]) as client:
        before = told(client.post("/predict", json=ROW))
        assert told(client.get("/v1/models"))["data"][0]["folder"] == "as loaded"
        for path in run.rglob("*.safetensors"):
            path.write_bytes(b"\0" * path.stat().st_size)  # in place, where a mapping of the file would show it
        (run / "predgen.json").write_text("{}", encoding="utf-8")
        assert told(client.get("/v1/models"))["data"][0]["folder"] == "changed"
        assert told(client.post("/predict", json=ROW)) == before
        shutil.rmtree(run)
        assert told(client.get("/v1/models"))["data"][0]["folder"] == "gone"
        assert told(client.post("/predict", json=ROW)) == before


def test_health_says_when_the_models_thread_is_gone(models: list[ServedModel]) -> None:
    with serving(models) as client:
        assert told(client.get("/health")) == {"status": "ok"}
        client.app.state.server.batcher.stop(WAIT_S)  # type: ignore[attr-defined]
        assert client.get("/health").status_code == 503
        assert client.post("/predict", json=ROW).status_code == 503


def test_openapi_describes_what_is_taken_and_given(models: list[ServedModel]) -> None:
    with serving(models, api_key="k") as client:
        found = client.get("/openapi.json", headers={"Authorization": "Bearer k"}).json()
    assert set(found["paths"]) >= {"/predict", "/explain", "/v1/models", "/health", "/metrics"}
    assert set(found["paths"]["/predict"]["post"]["responses"]) >= {"200", "401", "404", "413", "422", "503", "504"}
    assert found["paths"]["/predict"]["post"]["security"] == [{"HTTPBearer": []}]
    assert "rows" in found["components"]["schemas"]["PredictRequest"]["required"]


def test_settings_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`max_rows` is 10, but `max_queue` 9"):
        ServeSettings(max_rows=10, max_queue=9)
    with pytest.raises(ConfigError, match="`port` is 70000"):
        ServeSettings(port=70000)
    with pytest.raises(ConfigError, match="`api_key`"):
        ServeSettings(api_key=" ")
    for parent in "ab":
        (tmp_path / parent / "moods").mkdir(parents=True)
    with pytest.raises(ConfigError, match="'moods'"):
        check_names([str(tmp_path / "a" / "moods"), str(tmp_path / "b" / "moods")])
