"""What needs no model is checked before torch is imported."""

import json
import subprocess
import sys
from pathlib import Path

from cli_runs import write_csv

SCRIPT = """
import contextlib, io, json, sys
from predgen.cli.main import app
found = []
for words in json.loads(sys.argv[1]):
    sys.argv = ["predgen", *words]
    code, said = None, io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            app()
        except SystemExit as end:
            code = end.code
    found.append([code, "torch" in sys.modules, said.getvalue()])
print(json.dumps(found))
"""
TRAIN = ("train", "--out", "run", "--kind", "regression")


MISTAKES: list[tuple[tuple[str, ...], str]] = [
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
    (("serve", "./nowhere"), "nowhere"),
    (("evaluate", ".", "--json", "no/where.json"), "where.json"),
]  # fmt: skip


def test_mistakes_are_told_before_anything_heavy(tmp_path: Path) -> None:
    write_csv(tmp_path / "in.csv", [{"text": "a", "score": "1"}])
    write_csv(tmp_path / "other.csv", [{"text": "a", "points": "1"}])
    command = [sys.executable, "-c", SCRIPT, json.dumps([words for words, _ in MISTAKES])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    for (words, named), (code, has_torch, said) in zip(MISTAKES, found, strict=True):
        assert (code, has_torch) == (2, False), words
        assert named in said, words
    assert not (tmp_path / "run").exists()
