"""The page in a real browser, where one is installed: its script runs, its filters work, nothing sticks out on a phone."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from report.conftest import Made

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--allow-file-access-from-files")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")

PROBE = """
<!DOCTYPE html><iframe id=f style="width:390px;height:800px" src="page.html"></iframe><pre id=said></pre>
<script>
const frame = document.getElementById("f");
frame.onload = () => {
  const page = frame.contentDocument, find = (id) => page.getElementById(id);
  const cards = () => page.querySelectorAll("#error-list article").length;
  const choose = (id, value) => { find(id).value = value; find(id).dispatchEvent(new Event("change")); };
  const said = {formHidden: find("error-filters").hidden, first: cards(), firstCount: find("error-count").value};
  const open = [...page.querySelectorAll("details:not([open])")];
  for (const one of open) one.open = true;
  const root = page.documentElement;
  said.sticksOut = root.scrollWidth - root.clientWidth;
  frame.contentWindow.dispatchEvent(new Event("resize"));
  const boxes = [...page.querySelectorAll(".scroll")];
  said.stops = boxes.filter((box) => box.tabIndex === 0).length;
  said.scrolling = boxes.filter((box) => box.scrollWidth > box.clientWidth).length;
  choose("error-task", "sick"); choose("error-variant", "generator");
  find("error-only").checked = true; find("error-only").dispatchEvent(new Event("change"));
  said.errors = cards(); said.errorCount = find("error-count").value;
  said.titles = [...page.querySelectorAll("#error-list h3")].map((e) => e.textContent);
  find("error-only").checked = false; choose("error-variant", "");
  while (!find("error-more").hidden) find("error-more").click();
  said.all = cards(); said.focused = page.activeElement.localName;
  document.getElementById("said").textContent = JSON.stringify(said);
};
</script>
"""


def dump(path: Path) -> tuple[str, str]:
    """The page after its scripts have run, and what the browser's console said."""
    command = [
        str(CHROMIUM),
        *FLAGS,
        "--enable-logging=stderr",
        "--virtual-time-budget=3000",
        "--dump-dom",
        path.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, "\n".join(said)


def test_script_and_filters_work_and_nothing_sticks_out_on_a_phone(sample: Made, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(sample.text, encoding="utf-8")
    (tmp_path / "probe.html").write_text(PROBE, encoding="utf-8")
    text, console = dump(tmp_path / "probe.html")
    assert console == ""
    match = re.search(r'<pre id="said">(.*?)</pre>', text, re.S)
    assert match is not None
    said: dict[str, Any] = json.loads(html.unescape(match[1]))
    sets = json.loads(sample.page.one("script", id="error-data").text)["sets"]
    assert (said["formHidden"], said["first"]) == (False, 20)
    assert said["firstCount"] == f"20 of {len(sets[0]['rows'])} rows shown"
    assert said["sticksOut"] <= 0
    assert said["stops"] == said["scrolling"] > 5, "boxes that scroll, and only they, are stops of the Tab key"
    [chosen] = [found for found in sets if (found["task"], found["variant"]) == ("sick", "generator")]
    errors = [row for row in chosen["rows"] if row[4]]
    assert said["errors"] == min(20, len(errors)) > 0
    assert said["errorCount"] == f"{said['errors']} of {len(errors)} rows shown"
    assert said["titles"] == [f"sick, row {row[0]} generator" for row in errors[:20]]
    assert said["all"] == sum(len(found["rows"]) for found in sets if found["task"] == "sick")
    assert said["focused"] == "li"
