"""What needs no model is checked before torch is imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from cli_runs import write_csv

SCRIPT = """
import sys
from predgen.cli.main import app
sys.argv = ["predgen", *sys.argv[1:]]
try:
    app()
except SystemExit as end:
    print("torch" in sys.modules, end.code)
"""
TRAIN = ("train", "--out", "run", "--kind", "regression")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ((*TRAIN, "--data", "no.csv", "--prompt", "{text}", "--target", "score"), "no.csv"),
        ((*TRAIN, "--data", "in.csv", "--prompt", "{txt}", "--target", "score"), "txt"),
        ((*TRAIN, "--data", "in.csv", "--prompt", "{text}", "--target", "scor"), "scor"),
        ((*TRAIN, "--data", "in.csv", "--validation-data", "other.csv", "--prompt", "{text}", "--target", "score"), "score"),
        (("train", "--task", "sick", "--data-dir", "nowhere", "--out", "run"), "nowhere"),
        (("validate", "--data", "in.csv", "--prompt", "{txt}", "--target", "score", "--kind", "regression"), "txt"),
        (("predict", "nowhere", "in.csv", "-o", "out.csv"), "nowhere"),
        (("predict", ".", "in.csv", "-o", "out.xyz"), ".xyz"),
        (("predict", ".", "in.csv", "-o", "out.csv", "--quantiles", "half"), "half"),
        (("predict", ".", "no.csv", "-o", "out.csv"), "no.csv"),
        (("explain", "nowhere", "in.csv", "-o", "out.html"), "nowhere"),
        (("explain", ".", "no.csv", "-o", "out.html"), "no.csv"),
        (("explain", ".", "in.csv", "-o", "in.csv"), "in.csv"),
        (("evaluate", ".", "--data", "no.csv"), "no.csv"),
        (("evaluate", "nowhere"), "nowhere"),
        (("evaluate", ".", "--json", "no/where.json"), "where.json"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_before_anything_heavy(words: tuple[str, ...], named: str, tmp_path: Path) -> None:
    write_csv(tmp_path / "in.csv", [{"text": "a", "score": "1"}])
    write_csv(tmp_path / "other.csv", [{"text": "a", "points": "1"}])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.splitlines()[-1:] == ["False 2"], done.stderr
    assert named in done.stderr
    assert not (tmp_path / "run").exists()
