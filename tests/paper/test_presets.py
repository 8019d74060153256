"""Published settings per task: what the paper gives, what it does not, and what overrides them."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from cli_runs import flat, predgen, refused
from predgen import registries
from predgen.cli.options import settings
from predgen.components import defaults_of
from predgen.config import config_from
from predgen.errors import ConfigError
from predgen.paper.presets import paper
from tiny_models import save_tiny
from tokenizers_for_tests import char_level

TABLE3 = Path(registries.__file__).parent / "assets" / "paper" / "table3_hyperparameters.csv"
OURS = {  # our task -> the paper's name, written down a second time
    "clear": "CLEAR",
    "humicroedit": "Humicroedit",
    "lcp_single": "LCP",
    "lcp_multi": "LCP",
    "sick": "SICK",
    "stsb": "stsb",
    "wassa": "WASSA",
    "boolq": "BoolQ",
    "piqa": "PIQA",
    "siqa": "SIQA",
    "hellaswag": "HellaSwag",
    "winogrande": "WinoGrande",
    "arc_easy": "ARC-e",
    "arc_challenge": "ARC-c",
    "obqa": "OBQA",
}


@pytest.mark.parametrize("task", registries.tasks)
def test_every_task_has_settings_that_hold_together(task: str) -> None:
    preset = paper(task)
    config = config_from(preset.settings, {"task": task})
    assert {name: getattr(config, name) for name in preset.settings} == preset.settings
    assert not preset.published.keys() & preset.defaults.keys()
    assert {"rank", "max_length"} <= preset.defaults.keys()
    director = registries.directors.get(preset.settings["director"])
    assert registries.tasks.get(task).kind in director.kinds


@pytest.mark.parametrize(("task", "name"), OURS.items())
def test_row_of_table_3(task: str, name: str) -> None:
    with TABLE3.open(encoding="utf-8", newline="") as file:
        (row,) = (row for row in csv.DictReader(file) if row["Dataset"] == name)
    published = paper(task).published
    figures = ("learning_rate", "batch_size", "gradient_accumulation", "epochs", "warmup_steps")
    columns = ("Learning Rate", "Batch Size", "Grad. Accum. Steps", "Epochs", "Warmup Steps")
    assert [published[figure] for figure in figures] == [float(row[column]) for column in columns]
    assert published["max_steps_for_sampling"] == int(row["Max Steps for Sampling"])
    assert (published["loss"], published["sampling"], published["lr_schedule"]) == ("wdal", "sequence", "cosine")


def test_every_row_of_table_3_is_used() -> None:
    with TABLE3.open(encoding="utf-8", newline="") as file:
        assert {row["Dataset"] for row in csv.DictReader(file)} == set(OURS.values())


def test_what_table_3_lacks_is_not_called_published() -> None:
    figures = {"learning_rate", "batch_size", "gradient_accumulation", "epochs", "warmup_steps", "lr_schedule"}
    for task in ("sst2", "gsm8k", "math_10k", "svamp"):
        assert figures <= paper(task).defaults.keys()
    assert {name: paper("sst2").settings[name] for name in figures} == {
        name: paper("boolq").settings[name] for name in figures
    }
    assert paper("gsm8k").published["max_steps_for_sampling"] == 1000  # Figure 4


def test_word_problems_take_what_llm_adapters_trains_math_10k_with() -> None:
    settings = paper("math_10k").settings  # written down a second time
    assert (settings["learning_rate"], settings["epochs"], settings["warmup_steps"]) == (3e-4, 3.0, 100)
    assert settings["batch_size"] * settings["gradient_accumulation"] == 16
    assert paper("math_10k").defaults == paper("gsm8k").defaults


@pytest.mark.parametrize("peft", registries.peft_methods)
def test_every_peft_method_comes_with_the_settings_of_its_own_paper(peft: str) -> None:
    preset = paper("sick", peft)
    config = config_from(preset.settings, {"task": "sick", "peft": peft})
    assert config.peft_settings() == defaults_of(registries.peft_methods, peft)
    assert preset.published == paper("sick").published


def test_alias_and_unknown_task() -> None:
    assert paper("arc_e") == paper("arc_easy")
    assert paper("arc_e").task == "arc_easy"
    with pytest.raises(ConfigError, match=r"unknown task 'stbs'\. Did you mean 'stsb'"):
        paper("stbs")
    with pytest.raises(ConfigError, match=r"unknown PEFT method 'rocof'\. Did you mean 'rocoft'"):
        paper("stsb", "rocof")


def test_description_tells_the_three_kinds_apart() -> None:
    said = paper("sick").described({"epochs": 1.0, "rank": 4, "seed": 3})
    in_paper, not_in_paper, overridden = said.splitlines()[1:]
    assert in_paper.startswith(
        "  in the paper: learning_rate 0.002, batch_size 6, gradient_accumulation 4, warmup_steps 200"
    )
    assert not_in_paper == "  not in the paper: peft lora, alpha 16.0, max_length 512"
    assert overridden == "  overridden: rank 4, epochs 1.0"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("base"), char_level())


def sick_folder(folder: Path) -> Path:
    """Twenty training and five trial rows, scored 1 to 5."""
    names = "pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment\n"
    lines = [f"{i}\tmen {i} sing\tnobody {i} sings\t{1 + i % 5}\tNEUTRAL\n" for i in range(30)]
    parts = {"SICK_train.txt": lines[:20], "SICK_trial.txt": lines[20:25], "SICK_test_annotated.txt": lines[25:]}
    for name, part in parts.items():
        (folder / name).write_text(names + "".join(part))
    return folder


def config_of(run: Path) -> Any:
    return json.loads((run / "predgen.json").read_text(encoding="utf-8"))["config"]


@pytest.mark.parametrize("in_yaml", [False, True])
def test_train_starts_from_the_preset_and_flags_win(base: Path, tmp_path: Path, in_yaml: bool) -> None:
    folder = sick_folder(tmp_path)
    flags = [
        "--task",
        "sick",
        "--data-dir",
        folder,
        "--model",
        base,
        "--max-steps",
        "1",
        "--rank",
        "2",
        "--out",
        tmp_path / "run",
    ]
    (tmp_path / "run.yaml").write_text("preset: paper\nbatch_size: 2\n")
    chosen = ["--config", tmp_path / "run.yaml"] if in_yaml else ["--preset", "paper", "--batch-size", "2"]
    result = predgen("train", *chosen, *flags)
    assert result.exit_code == 0, result.output
    said = flat(result.stderr)
    assert "preset 'paper' for sick: in the paper: learning_rate 0.002, gradient_accumulation 4, epochs 10.0" in said
    assert "not in the paper: peft lora, alpha 16.0, max_length 512" in said
    assert "overridden: rank 2, batch_size 2" in said
    config = config_of(tmp_path / "run")
    assert (config["batch_size"], config["rank"], config["gradient_accumulation"]) == (2, 2, 4)
    assert (config["warmup_steps"], config["loss"], config["director"]) == (200, "wdal", "ordered")


def test_flag_for_another_peft_method_needs_no_further_flags(capsys: pytest.CaptureFixture[str]) -> None:
    config, _ = settings(None, {"task": "sick", "peft": "rocoft", "rank": 5}, "paper")
    assert config.peft_settings() == {
        "rank": 5,
        "adapt_layers": None,
        "rocoft_axis": "column",
        "rocoft_selection": "first",
    }
    said = flat(capsys.readouterr().err)
    assert "not in the paper: rocoft_axis column, rocoft_selection first, max_length 512" in said
    assert "overridden: peft rocoft, rank 5" in said


def test_preset_needs_a_task(tmp_path: Path) -> None:
    given = ("--data", "x.csv", "--prompt", "{a}", "--target", "b", "--kind", "regression", "--out", tmp_path / "run")
    message = refused(predgen("train", "--preset", "paper", *given))
    assert message == "error: preset 'paper' has settings per task, so give --task (`predgen ls tasks`)."
    message = refused(predgen("train", "--preset", "papper", "--task", "sick", "--out", tmp_path / "run"))
    assert message.startswith("error: unknown preset 'papper'. Did you mean 'paper'?")


def test_warmup_counts_optimizer_steps(base: Path, tmp_path: Path) -> None:
    folder = sick_folder(tmp_path)
    flags = ["--task", "sick", "--data-dir", folder, "--model", base, "--batch-size", "5", "--lr-schedule", "linear"]
    steps = ["--max-steps", "6", "--warmup-steps", "4", "--learning-rate", "0.4"]
    result = predgen("train", *flags, *steps, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    rates = [
        line["learning_rate"]
        for line in map(json.loads, (tmp_path / "run" / "log.jsonl").read_text().splitlines())
        if "learning_rate" in line
    ]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.2])  # 4 steps up, 2 down
