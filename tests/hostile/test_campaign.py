"""Folders of strangers: refused in a sentence, or the same predictions; never code, a traceback, a hang or other answers."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import predgen
from hostile.folders import MUTATIONS

HERE = Path(__file__).parent


def campaign(work: Path, cases: int) -> dict[str, Any]:
    """Run cases in a process of their own: there, types are checked by the product alone, as users have it."""
    environment = {**os.environ, "PYTHONPATH": str(Path(predgen.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / "campaign.py"), str(work), "--cases", str(cases)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_some_of_every_kind(tmp_path: Path) -> None:
    found = campaign(tmp_path, len(MUTATIONS))
    assert found["cases"] == len(MUTATIONS)
    assert found["wrong"] == []


@pytest.mark.slow
def test_the_whole_campaign(tmp_path: Path) -> None:
    found = campaign(tmp_path, 480)
    assert found["cases"] == 480
    assert all(sum(counts.values()) == 30 for counts in found["counts"].values())
    assert found["wrong"] == []
