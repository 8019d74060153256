"""The demonstration runs from nothing to table, picture and predictions, with the real base or without."""

import csv
import io
import json
from pathlib import Path

import pytest

from predgen.demo import run
from predgen.demo.run import BASELINE, METHOD, TASKS, run_demo
from predgen.errors import ModelError
from predgen.terminal import PlainConsole


@pytest.mark.usefixtures("shallow_embedded")
@pytest.mark.parametrize("has_base", [True, False])
def test_every_figure_is_measured_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_base: bool) -> None:
    monkeypatch.setattr(run, "N_ROWS", {"n_train": 16, "n_validation": 4, "n_test": 8})
    if not has_base:

        def get(name: str, **_: object) -> Path:
            raise ModelError(f"base {name!r} is out of reach.")

        monkeypatch.setattr(run, "get_base", get)
    said = io.StringIO()
    results = run_demo(tmp_path / "out", PlainConsole(file=said, width=200))
    cells = {(m.task, m.method, m.metric) for m in results}
    assert cells == {(t.name, method, metric) for t in TASKS for method in (BASELINE, METHOD) for metric in t.metrics}
    assert all(m.low <= m.value <= m.high for m in results)
    stored = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert [(m["task"], m["method"], m["metric"], m["value"]) for m in stored] == [
        (m.task, m.method, m.metric, m.value) for m in results
    ]
    assert (tmp_path / "out" / "results.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "out" / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows] == list(run.NEW_TEXTS)
    assert ("small embedded model" in said.getvalue()) is not has_base
    for row in rows:
        assert row["prediction"] in said.getvalue()
    if has_base:
        assert run_demo(tmp_path / "out", PlainConsole(quiet=True)) == results, "it can be repeated in its folder"
