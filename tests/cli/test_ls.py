"""`predgen ls`, `--version`, and what they do not import."""

import json
import subprocess
import sys

import pytest

import predgen as library
from cli_runs import flat, predgen, refused
from predgen import registries
from predgen.cli.ls import LISTS

HEAVY = "[name for name in ('torch', 'transformers', 'peft', 'sklearn', 'pandas') if name in sys.modules]"


@pytest.mark.parametrize("what", LISTS)
def test_json_holds_everything_registered(what: str) -> None:
    result = predgen("ls", what, "--json")
    assert result.exit_code == 0, result.output
    entries = json.loads(result.stdout)
    assert [entry["name"] for entry in entries] == list(LISTS[what])
    assert all(entry["summary"] == LISTS[what].summary(entry["name"]) for entry in entries)


def test_every_named_list_is_there() -> None:
    assert set(LISTS) == {
        "tasks",
        "methods",
        "peft",
        "losses",
        "sampling",
        "directors",
        "metrics",
        "schedules",
        "presets",
    }


def test_tasks_say_what_they_are() -> None:
    tasks = {entry["name"]: entry for entry in json.loads(predgen("ls", "tasks", "--json").stdout)}
    assert set(tasks) == set(registries.tasks)
    sick = tasks["sick"]
    assert (sick["kind"], sick["scale"], sick["licence"], sick["version"]) == (
        "regression",
        [1.0, 5.0],
        "CC BY-NC-SA 3.0",
        1,
    )
    assert sick["metrics"][0] == "mse"
    assert tasks["sst2"]["labels"] == ["negative", "positive"]


def test_aliases_are_listed() -> None:
    losses = {entry["name"]: entry["aliases"] for entry in json.loads(predgen("ls", "losses", "--json").stdout)}
    assert losses["wdal"] == ["multiplicative"]


def test_table_names_everything() -> None:
    said = flat(predgen("ls", "methods").stdout)
    assert all(name in said for name in registries.methods)


def test_narrow_terminal_shows_the_whole_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "90")
    said = predgen("ls", "tasks").stdout
    assert all(f" {name} " in said for name in registries.tasks)
    assert "…" not in said


def test_near_match_of_a_wrong_list() -> None:
    message = refused(predgen("ls", "taks"))
    assert message.startswith("error: nothing is called 'taks'. Did you mean 'tasks'?")


def test_version() -> None:
    result = predgen("--version")
    assert (result.exit_code, result.stdout) == (0, f"predgen {library.__version__}\n")


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["ls", "peft"], ["ls", "tasks", "--json"]])
def test_light_commands_do_not_import_torch(arguments: list[str]) -> None:
    script = f"import sys\nfrom predgen.cli.main import app\ntry:\n    app({arguments!r})\nexcept SystemExit as end:\n    assert not end.code\nprint('heavy:', {HEAVY})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "heavy: []"


def test_closed_pipe_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m predgen ls tasks --json | head -c 1",
        shell=True,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("[", "")
