"""`predgen ls`, `--version`, and what they do not import."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import LlamaConfig

import predgen as library
from cli_runs import Runs, flat, predgen, refused
from predgen import registries
from predgen.cli.ls import LISTS
from tiny_models import tiny_model

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
        "mi_estimators",
        "decodings",
        "baselines",
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


def test_peft_methods_say_what_they_compute_and_which_settings_they_have() -> None:
    entries = {entry["name"]: entry for entry in json.loads(predgen("ls", "peft", "--json").stdout)}
    assert list(entries) == [*"lora adalora rocoft dora melora lora_fa moslora propulsion none full".split()]
    assert entries["melora"]["settings"] == {"rank": 1, "adapt_layers": None, "alpha": 16.0, "melora_blocks": 8}
    assert entries["moslora"]["trained_per_layer"] == "r (i + o) + r^2"
    assert "trainable_parameters" not in entries["lora"]
    assert "W[rows]" in flat(predgen("ls", "peft").stdout)  # and not taken for the table's own markup


def test_peft_methods_are_counted_on_a_given_model(runs: Runs) -> None:
    entries = json.loads(predgen("ls", "peft", "--json", "--model", str(runs.base)).stdout)
    counts = {entry["name"]: entry["trainable_parameters"] for entry in entries}
    # One layer of q, o 32 -> 32; k, v 32 -> 16; gate, up 32 -> 64; down 64 -> 32: 256 outputs, 512 inputs and outputs.
    outputs, both = 256, 2 * 64 + 2 * 48 + 3 * 96
    assert counts["propulsion"] == outputs
    assert counts["lora"] == 8 * both
    assert counts["rocoft"] == 3 * outputs
    assert counts["melora"] == both
    assert (counts["none"], counts["full"]) == (
        0,
        sum(p.numel() for p in tiny_model("llama", 99, layers=1).parameters()),
    )
    assert [entry["note"] for entry in entries] == [None] * len(entries)
    assert f"{8 * both:,}" in flat(predgen("ls", "peft", "--model", str(runs.base)).stdout)


def test_peft_method_that_does_not_fit_the_model_says_why(tmp_path: Path) -> None:
    LlamaConfig(hidden_size=36, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2).save_pretrained(
        tmp_path
    )
    entries = json.loads(predgen("ls", "peft", "--json", "--model", str(tmp_path)).stdout)
    melora = next(entry for entry in entries if entry["name"] == "melora")
    assert melora["trainable_parameters"] is None
    assert "`melora_blocks` is 8, which does not divide both widths" in melora["note"]
    assert all(entry["note"] is None for entry in entries if entry["name"] != "melora")


def test_model_that_cannot_be_counted_is_named(tmp_path: Path) -> None:
    assert refused(predgen("ls", "peft", "--model", str(tmp_path))).startswith(f"error: base model '{tmp_path}' cannot")
    assert refused(predgen("ls", "tasks", "--model", "embedded")).startswith(
        "error: `--model` belongs to `predgen ls peft`"
    )


def test_aliases_are_listed() -> None:
    losses = {entry["name"]: entry["aliases"] for entry in json.loads(predgen("ls", "losses", "--json").stdout)}
    assert losses["wdal"] == ["multiplicative"]


def test_table_names_everything() -> None:
    said = flat(predgen("ls", "methods").stdout)
    assert all(name in said for name in registries.methods)


@pytest.mark.parametrize("what", LISTS)
@pytest.mark.parametrize("columns", [50, 80, 100])
def test_narrow_terminal_breaks_lines_between_words_only(
    what: str, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    said = predgen("ls", what).stdout
    assert max(map(len, said.splitlines())) <= columns
    assert "…" not in said
    words = set(said.replace("│", " ").split())
    for entry in json.loads(predgen("ls", what, "--json").stdout):
        told = [
            entry["summary"],
            *map(str, entry.get("metrics", ())),
            entry.get("licence") or "",
            entry.get("hub") or "",
        ]
        missing = {word for text in told for word in text.split()} - words - {word.rstrip(",") for word in words}
        assert not missing


@pytest.mark.parametrize("what", LISTS)
def test_wide_terminal_shows_a_row_per_entry(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    said = predgen("ls", what).stdout.splitlines()
    assert len([line for line in said if line.startswith("│")]) == len(LISTS[what])


def test_tasks_at_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = predgen("ls", "tasks").stdout.splitlines()
    start = said.index("wassa: emotion intensity of tweets, 0..1")
    assert said[start + 1 : start + 3] == [
        "  kind regression · scale 0, 1 · metrics mse, mae, rmse, pearson, spearman, r2 ·",
        "  licence not stated · version 1 · hub no copy, give --data-dir",
    ]
    assert [line.partition(":")[0] for line in said if not line.startswith(" ")] == list(registries.tasks)
    assert len(said) < 100


def test_tasks_say_where_they_lie_on_the_hub() -> None:
    on_hub = {entry["name"]: entry["hub"] for entry in json.loads(predgen("ls", "tasks", "--json").stdout)}
    assert on_hub["obqa"] == "allenai/openbookqa main"
    assert on_hub["addsub"] == "HuggingFaceTB/math_tasks data/mawps/addsub.jsonl"
    assert [name for name, place in on_hub.items() if place is None] == ["wassa"]


def test_near_match_of_a_wrong_list() -> None:
    message = refused(predgen("ls", "taks"))
    assert message.startswith("error: nothing is called 'taks'. Did you mean 'tasks'?")


def test_version() -> None:
    result = predgen("--version")
    assert (result.exit_code, result.stdout) == (0, f"predgen {library.__version__}\n")


LIGHT = """
import sys
from predgen.cli.main import app
for words in (["--help"], ["train", "--help"], ["ls", "peft"], ["ls", "tasks", "--json"]):
    try:
        app(words)
    except SystemExit as end:
        assert not end.code, words
"""


def test_light_commands_do_not_import_torch() -> None:
    script = f"{LIGHT}print('heavy:', {HEAVY})"
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


def test_ls_alone_lists_the_lists() -> None:
    result = predgen("ls", "--json")
    assert result.exit_code == 0, result.output
    assert {entry["name"]: entry["entries"] for entry in json.loads(result.stdout)} == {
        n: len(r) for n, r in LISTS.items()
    }
    assert "losses" in predgen("ls").stdout


def test_model_without_a_list_is_refused() -> None:
    assert "--model" in refused(predgen("ls", "--model", "embedded"))


def test_completion_can_be_installed() -> None:
    assert "--install-completion" in flat(predgen("--help").output)
