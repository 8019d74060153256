"""The page at `/`, in a real browser where one is installed: it answers what is typed, by keyboard, and fits a phone."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from starlette.testclient import TestClient

from html_pages import read_page
from predgen.asking.asker import Asker
from predgen.inference.trained import TrainedModel
from predgen.serving.app import make_app
from predgen.serving.bases import ServedBase
from predgen.serving.page import serve_page
from predgen.serving.settings import ServeSettings
from serving.conftest import ServedRuns, running

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

PROBE = """
<!DOCTYPE html><iframe id=f style="width:390px;height:800px" src="/"></iframe><pre id=said></pre>
<script>
const frame = document.getElementById("f"), said = {};
const page = () => frame.contentDocument, find = (id) => page().getElementById(id);
const until = async (what) => { while (!what()) await new Promise((r) => setTimeout(r, 20)); };
const type = (id, text) => { find(id).value = text; find(id).dispatchEvent(new Event("input", { bubbles: true })); };
const enter = (id) => find(id).dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", ctrlKey: true, bubbles: true }));
const choose = (name) => { find("model").value = name; find("model").dispatchEvent(new Event("change")); };
const choices = () => [...page().querySelectorAll(".bars bdi")].map((e) => e.textContent);
const sticksOut = () => page().documentElement.scrollWidth - page().documentElement.clientWidth;
frame.onload = async () => {
  await until(() => find("key-form") && !find("key-form").hidden);
  said.keyFocused = page().activeElement.id;
  find("key").value = "key"; find("key-form").requestSubmit();
  await until(() => !find("row-form").hidden);
  said.focused = page().activeElement.id; said.models = [...find("model").options].map((e) => e.value);
  type("field-text", "a dull book <b>&</b>");
  await until(() => !find("answer").hidden);
  said.value = find("value").textContent; said.bars = choices(); said.set = find("interval").textContent;
  enter("field-text");
  await until(() => page().querySelector(".word"));
  said.words = [...page().querySelectorAll(".word")].map((e) => e.textContent); said.shown = page().querySelector(".spoken").textContent;
  said.wide = [sticksOut()];
  choose("points"); type("field-text", "good wine");
  await until(() => page().querySelector(".curve"));
  said.number = find("value").textContent; said.interval = find("interval").textContent;
  said.wide.push(sticksOut());
  choose("base"); type("field-state", "no tea"); type("field-question", "Which?");
  find("field-kind").value = "choice"; find("field-kind").dispatchEvent(new Event("change"));
  type("field-options", "a b\\nc"); enter("field-question");
  await until(() => !find("answer").hidden);
  said.choice = find("value").textContent; said.options = choices();
  type("field-options", "a b"); enter("field-question");
  await until(() => !find("trouble").hidden);
  said.trouble = find("trouble").textContent;
  said.wide.push(sticksOut());
  said.labels = [...page().querySelectorAll("textarea, select, input")].filter((e) => !e.labels.length).length;
  document.getElementById("said").textContent = JSON.stringify(said);
  document.title = "done";
};
</script>
"""


@pytest.fixture
def app(served_runs: ServedRuns) -> FastAPI:
    asker = Asker.load(served_runs.labels.parent / "base")
    return make_app([*served_runs.models(), ServedBase(asker, "base")], ServeSettings(api_key="key"))


def test_the_page_is_whole_needs_no_key_and_loads_nothing_from_elsewhere(app: FastAPI) -> None:
    with TestClient(app) as client:
        answer = client.get("/")
    assert (answer.status_code, answer.headers["X-Content-Type-Options"]) == (200, "nosniff")
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "connect-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    page = read_page(answer.text)
    assert not [e for e in page.all() if "src" in e.attributes or e.name == "link"]
    assert [e.attributes["href"] for e in page.all("a")] == ["#main", "openapi.json"]


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")
def test_a_typed_row_is_answered_by_keyboard_and_on_a_phone(
    app: FastAPI, labelled: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, headers = serve_page()
    allowed = headers["Content-Security-Policy"].replace("frame-ancestors 'none'", "frame-ancestors 'self'")
    page = next(route for route in app.routes if getattr(route, "path", "") == "/")
    app.router.routes.remove(page)  # the same page, which the probe may look into
    app.add_api_route("/", lambda: HTMLResponse(text, headers={"Content-Security-Policy": allowed}))
    app.add_api_route("/health", lambda: HTMLResponse(PROBE))
    app.router.routes.insert(0, app.router.routes.pop())
    with running(app) as address:
        command = [
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--enable-logging=stderr",
        ]
        command += [f"--user-data-dir={tmp_path}", "--timeout=20000", "--virtual-time-budget=8000", "--dump-dom"]
        done = subprocess.run([*command, f"{address}/health"], capture_output=True, text=True, timeout=60, check=False)
    console = [
        line for line in done.stderr.splitlines() if "CONSOLE" in line and "401" not in line and "422" not in line
    ]
    assert console == []
    match = re.search(r'<pre id="said">(.+?)</pre>', done.stdout, re.S)
    assert match is not None, done.stdout[-2000:]
    said: dict[str, Any] = json.loads(html.unescape(match[1]))
    row = "a dull book <b>&</b>"
    assert (said["keyFocused"], said["focused"]) == ("key", "field-text")
    assert said["models"] == ["moods", "points", "base"]
    assert said["value"] == labelled.predict([row])[0].value
    assert sorted(said["bars"]) == sorted(labelled.labels)
    assert said["set"].startswith("90 % set: ")
    assert (said["words"][:3], said["shown"]) == (["a", "dull", "book"], row)
    assert re.match(r"-?\d", said["number"])
    assert said["interval"].startswith("90 % interval: ")
    assert sorted(said["options"]) == ["a b", "c"]
    assert said["choice"] in said["options"]
    assert "criteria" in said["trouble"]
    assert max(said["wide"]) <= 0
    assert said["labels"] == 0
