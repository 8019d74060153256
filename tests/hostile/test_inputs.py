"""Hostile inputs and changed states: refused in a sentence, or read and answered rightly; never a traceback or a hang."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import predgen
from hostile.inputs import KINDS
from predgen.data.sources import read_rows
from predgen.errors import DataError

HERE = Path(__file__).parent


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "sizes"])
def test_inputs_are_rows_or_refused(kind: str, tmp_path: Path) -> None:
    for seed in range(12):
        folder = tmp_path / str(seed)
        folder.mkdir()
        path, rows = KINDS[kind](folder, random.Random(seed))
        try:
            found = list(read_rows(path))
        except (DataError, OSError):
            assert rows is None, (seed, path)
            continue
        assert rows is None or found == rows, seed


@pytest.mark.slow
def test_the_whole_campaign(tmp_path: Path) -> None:
    environment: dict[str, Any] = {
        **os.environ,
        "PYTHONPATH": str(Path(predgen.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(HERE / "input_campaign.py"), str(tmp_path), "--cases", "342"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["cases"] == 342
    assert all(sum(counts.values()) == 18 for counts in found["counts"].values())
    assert found["wrong"] == []
