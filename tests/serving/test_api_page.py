"""The page at `/docs` says what `/openapi.json` says, and loads nothing from elsewhere."""

import shutil
import subprocess
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from html_pages import read_page
from predgen.serving.api_page import kind_of
from predgen.serving.app import make_app
from predgen.serving.settings import ServeSettings

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def client() -> TestClient:
    return TestClient(make_app([], ServeSettings(api_key="key")))


def test_every_path_key_status_and_shape_is_on_the_page(client: TestClient) -> None:
    described = client.get("/openapi.json", headers={"Authorization": "Bearer key"}).json()
    answer = client.get("/docs")  # needs no key
    page = read_page(answer.text)
    assert answer.status_code == 200
    asked = [f"{method.upper()} {path}" for path, methods in described["paths"].items() for method in methods]
    assert [e.text for e in page.all("h2")] == [*asked, "Shapes"]
    shapes = described["components"]["schemas"]
    assert {e.text for e in page.all("h3")} == {"Takes", "Answers", *shapes}
    rows = [e.text for e in page.all("tr")]
    for shape in shapes.values():
        for name, key in shape["properties"].items():
            needed = "yes" if name in shape.get("required", ()) else "no"
            assert any(row.startswith(name) and needed in row and key.get("description", "") in row for row in rows), (
                name
            )
    assert any(row.startswith("422") and row.endswith("Faults") for row in rows)
    assert any(row.startswith("questions") for row in rows), "keys that stand in a path itself"


def test_its_links_lead_somewhere_and_it_loads_nothing(client: TestClient) -> None:
    answer = client.get("/docs")
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src")
    page = read_page(answer.text)
    assert not [e for e in page.all() if "src" in e.attributes or e.name in ("link", "script")]
    places = {e.attributes["id"] for e in page.all() if "id" in e.attributes}
    outside = {e.attributes["href"] for e in page.all("a")} - {f"#{place}" for place in places}
    assert outside == {"openapi.json", "./"}


def test_kinds_are_said_in_words_and_escaped() -> None:
    assert str(kind_of({"type": "number", "minimum": 0, "maximum": 1})) == "number from 0 to 1"
    assert str(kind_of({"additionalProperties": {"type": "string"}, "type": "object"})) == "object of string"
    assert str(kind_of({"properties": {"a": {}, "<b>": {}}, "type": "object"})) == "object with a, &lt;b&gt;"
    assert str(kind_of({"enum": ["<x>", 1]})) == "<code>&#39;&lt;x&gt;&#39;</code> or <code>1</code>"
    assert str(kind_of({})) == "anything"


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")
def test_a_phone_shows_it_without_scrolling_sideways(client: TestClient, tmp_path: Path) -> None:
    probe = (
        "<script>document.title = document.documentElement.scrollWidth - document.documentElement.clientWidth</script>"
    )
    page = client.get("/docs").text
    policy = page.split('content="')[1].split('"')[0]
    (tmp_path / "page.html").write_text(page.replace(policy, "").replace("</body>", f"{probe}</body>"))
    (tmp_path / "frame.html").write_text(
        "<!DOCTYPE html><iframe id=f style='width:390px;height:800px' src='page.html'></iframe>"
        "<script>f.onload = () => { document.body.append('wider by ' + f.contentDocument.title); }</script>"
    )
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--allow-file-access-from-files",
        "--virtual-time-budget=5000",
    ]
    done = subprocess.run(
        [
            str(CHROMIUM),
            *flags,
            f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom",
            (tmp_path / "frame.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "wider by 0" in done.stdout
