"""The table of what calibration is worth: made run by run, from kept models, and gone on with."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from cli_runs import reviews, write_csv
from tiny_experiments import make_files, run_plan, tiny_plan

TOOL = Path(__file__).parents[2] / "tools" / "uncertainty_table.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("uncertainty_table", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_runs_are_measured_once_and_stand_in_the_table(tool: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("mapie")
    files = make_files(tmp_path)
    files["validation_data"] = str(write_csv(tmp_path / "validation.csv", reviews(120, 1, 100)))
    plan = tiny_plan(files, target="label", methods=["predictor"], keep_models=True)
    run_plan(plan, tmp_path / "EXP")
    tool.measure_all(tmp_path / "EXP", tmp_path / "OUT")
    [path] = (tmp_path / "OUT").glob("*.json")
    found = json.loads(path.read_text())
    assert found["calibration_rows"] == 60
    assert set(found["coverage"]) == set(found["mapie"]) == {"0.8", "0.9", "0.95"}
    assert set(found["before"]) == set(found["after"]) == {"nll", "brier", "ece"}
    assert [len(shares) for shares in found["resplits"].values()] == [tool.RESPLITS] * 3
    # Halves of 60 + 30 rows and so: over ten of them coverage is not far from what was asked for.
    assert abs(sum(found["resplits"]["0.9"]) / tool.RESPLITS - 0.9) < 0.1
    assert all(0 <= share <= 1 for share in found["error"].values())
    path.write_text(json.dumps({**found, "rows": -1}))
    tool.measure_all(tmp_path / "EXP", tmp_path / "OUT")
    assert json.loads(path.read_text())["rows"] == -1, "what is there is not made again"
    lines = tool.table([found, {**found, "seed": 1}]).splitlines()
    assert len(lines) == 4  # heads, rule, the method, MAPIE
    assert lines[2].startswith("| (file) | predictor | 2 |") or lines[2].split("|")[2].strip() == "predictor"
    assert lines[3].split("|")[2].strip() == "predictor, MAPIE"
    assert len({line.count("|") for line in lines}) == 1
