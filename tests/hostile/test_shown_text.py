"""One set of hostile names, labels, columns and paths through the commands: shown as text, everywhere."""

import re
import unicodedata
from pathlib import Path

import pytest
from typer.testing import Result

from cli_runs import predgen, write_csv
from tiny_models import save_tiny
from tokenizers_for_tests import gpt2_like

TARGET = "[/label] `x`|<b>\x1b[31m\u202e"
LABELS = ("<script>alert(1)</script> [red]\x1b[2J", "=cmd()|`a` \u202ekood\x9b1m")


def harmless(result: Result) -> str:
    """What a command printed; nothing in it steers a terminal."""
    shown = result.stdout + result.stderr
    assert not [c for c in shown if unicodedata.category(c) == "Cc" and c not in "\n\t\r"], repr(shown)
    assert "\u202e" not in shown
    assert "Traceback" not in shown
    return shown


def test_every_command_shows_hostile_text_as_text(tmp_path: Path) -> None:
    base = save_tiny("llama", tmp_path / "base", gpt2_like())
    rows = [{"text": f"[red]row {i}\x1b[31m </script>", TARGET: LABELS[i % 2]} for i in range(40)]
    data, run = write_csv(tmp_path / "in[bold]\x1b[1m.csv", rows), tmp_path / "run[red]x\u202e"
    asked = ("--data", data, "--prompt", "{text} =", "--target", TARGET, "--kind", "classification", "--model", base)

    assert harmless(predgen("validate", *asked))
    trained = predgen("train", *asked, "--max-steps", "2", "--batch-size", "4", "--rank", "2", "--out", run)
    assert trained.exit_code == 0, trained.output
    assert "run[red]x\\u202e" in harmless(trained)

    card = (run / "README.md").read_text(encoding="utf-8")
    assert "<script>" not in card
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", card)

    evaluated = predgen("evaluate", run, "--data", data, "--with-trained-rows")
    assert evaluated.exit_code == 0, evaluated.output
    harmless(evaluated)
    out = tmp_path / "out[red]\x1b.csv"
    predicted = predgen("predict", run, data, "-o", out, "--proba")
    assert predicted.exit_code == 0, predicted.output
    assert "out[red]\\u001b.csv" in harmless(predicted).replace("\n", "")
    safe = predgen("predict", run, data, "-o", tmp_path / "safe.csv", "--safe-csv")
    assert safe.exit_code == 0, safe.output
    assert not re.search(r'(?m)(^|,)"?=', (tmp_path / "safe.csv").read_bytes().decode("utf-8"))
    assert LABELS[0] in out.read_bytes().decode("utf-8"), "a file holds what the rows hold"


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "report", "mi", "compare", "ls", "validate"])
def test_errors_show_hostile_names_as_text(command: str, tmp_path: Path) -> None:
    name = str(tmp_path / "no[/x]\x1b[31m\u202e\nerror: fine")
    arguments = {
        "train": ("--data", name, "--prompt", "{a}", "--target", "b", "--kind", "regression", "--out", tmp_path / "r"),
        "evaluate": (name,),
        "predict": (name, name, "-o", tmp_path / "o.csv"),
        "report": (name,),
        "mi": (name, "--data", name, "--out", tmp_path / "m"),
        "compare": ("--tasks", name, "--out", tmp_path / "e"),
        "ls": (name,),
        "validate": ("--data", name, "--prompt", "{a}", "--target", "b", "--kind", "regression"),
    }[command]
    result = predgen(command, *arguments)
    assert result.exit_code == 2, result.output
    shown = harmless(result)
    assert len([line for line in shown.splitlines() if line.startswith("error:")]) == 1
