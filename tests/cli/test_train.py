"""`predgen train`: forms that have to work, precedence of settings, Ctrl-C and resume."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from cli_runs import PROMPT, Runs, flat, predgen, refused, reviews, write_csv
from predgen.saved.manifest import read_manifest


def config_of(run: Path) -> dict[str, object]:
    """Settings that a run was trained with."""
    return yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))


def own(runs: Runs, target: str = "score", kind: str = "regression") -> tuple[str | Path, ...]:
    """Flags of a run on a user's file."""
    return ("--data", runs.data, "--prompt", PROMPT, "--target", target, "--kind", kind)


def sick_folder(folder: Path) -> Path:
    """A folder with SICK files as published, few rows."""
    names = "pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment\n"
    rows = [f"{i}\tmen {i} sing\tnobody {i} sings\t{1 + i % 5}\tNEUTRAL\n" for i in range(40)]
    folder.mkdir(exist_ok=True)
    for name, n in (("SICK_train.txt", 40), ("SICK_trial.txt", 8), ("SICK_test_annotated.txt", 10)):
        (folder / name).write_text(names + "".join(rows[:n]), encoding="utf-8")
    return folder


def test_task_run_with_every_usual_flag(runs: Runs, tmp_path: Path) -> None:
    out = tmp_path / "run"
    given = (
        f"train --task sick --data-dir {sick_folder(tmp_path / 'sick')} --model {runs.base} --method predgen --peft lora"
        f" --director value --loss wdal_shifted --sampling token --epochs 0.25 --seed 0 --out {out}"
    )
    result = predgen(*given.split())
    assert result.exit_code == 0, result.output
    data = read_manifest(out)
    assert (data.config["task"], data.setup.settings["director"], data.task.scale) == ("sick", "value", (1.0, 5.0))
    said = flat(result.stderr)
    assert f"Saved in {out}" in said
    assert f"predgen predict {out} new.csv -o predictions.csv" in said
    for split, n in (("validation", 8), ("test", 10)):
        measured = predgen(
            "evaluate", out, "--split", split, "--data-dir", tmp_path / "sick", "--json", tmp_path / "e.json"
        )
        assert measured.exit_code == 0, measured.output
        assert json.loads((tmp_path / "e.json").read_text())["rows"] == n


def test_backslash_n_of_a_prompt_is_a_line_break(runs: Runs) -> None:
    data = read_manifest(runs.label)
    assert data.task.prompt == "Review: {text}\nVerdict:"
    assert data.setup.labels == ("bad", "good")


def test_all_the_other_flags_arrive(runs: Runs, tmp_path: Path) -> None:
    flags = (
        "--max-tree-nodes 300 --reduction batch --sampling-schedule exponential --p-max 0.5 --decimals 1"
        " --limit 20 --no-bf16 --gradient-checkpointing --seed 3"
    )
    result = runs.train(*own(runs), *flags.split(), "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    config = config_of(tmp_path / "run")
    wanted = {
        "max_tree_nodes": 300,
        "reduction": "batch",
        "sampling_schedule": "exponential",
        "p_max": 0.5,
        "decimals": 1,
    }
    wanted |= {"limit": 20, "bf16": False, "gradient_checkpointing": True, "seed": 3, "max_steps": 2}
    assert {name: config[name] for name in wanted} == wanted
    assert read_manifest(tmp_path / "run").report["train_rows"] == 20


def test_flag_beats_yaml_beats_default(runs: Runs, tmp_path: Path) -> None:
    settings = {
        "data": str(runs.data),
        "prompt": PROMPT,
        "target": "score",
        "kind": "regression",
        "rank": 3,
        "p-max": 0.25,
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({**settings, "seed": 1, "out": str(tmp_path / "run")}))
    result = runs.train("--config", tmp_path / "run.yaml", "--seed", "2")  # `train` gives --rank 2
    assert result.exit_code == 0, result.output
    config = config_of(tmp_path / "run")
    assert (config["seed"], config["rank"], config["p_max"], config["p_min"]) == (2, 2, 0.25, 0.0)


def test_unknown_key_of_a_config_is_refused(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("task: sick\nlearning_rat: 0.1\n")
    message = refused(predgen("train", "--config", tmp_path / "run.yaml", "--out", tmp_path / "run"))
    assert message.startswith("error: unknown setting 'learning_rat'. Did you mean 'learning_rate'")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--director", "vlaue"], "error: unknown director 'vlaue'. Did you mean 'value'?"),
        (["--p-max", "1.5"], "error: `p_max` is 1.5, outside 0..1."),
        (["--pooling", "lsat"], "error: `pooling` is 'lsat'. Did you mean 'last'"),
        (["--task", "sick"], "error: give either `task`"),
        (["--resume", "--overwrite"], "error: --resume goes on with the run in the folder, --overwrite replaces it"),
        (
            ["--peft", "none", "--method", "generator"],
            "error: method 'generator' with peft 'none' has nothing to train",
        ),
        (["--prompt", "Score:"], "error: `prompt` 'Score:' has no field"),
    ],
)
def test_wrong_settings_name_the_way_out(runs: Runs, tmp_path: Path, flags: list[str], message: str) -> None:
    assert refused(runs.train(*own(runs), *flags, "--out", tmp_path / "run")).startswith(message)


def test_out_is_needed(runs: Runs) -> None:
    assert refused(runs.train(*own(runs))).startswith("error: `out` is missing: give --out FOLDER")


def test_folder_with_something_in_it_is_kept(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    message = refused(runs.train(*own(runs), "--out", tmp_path))
    assert (
        message
        == f"error: `out` {str(tmp_path)!r} is not empty. Choose another folder, or give --resume or --overwrite."
    )
    message = refused(runs.train(*own(runs), "--out", tmp_path, "--overwrite"))
    assert (
        message
        == f"error: `out` {str(tmp_path)!r} is not a predgen run, so it is not overwritten. Choose another folder."
    )
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_overwrite_replaces_a_run(runs: Runs, tmp_path: Path) -> None:
    for seed in ("0", "1"):
        assert runs.train(*own(runs), "--seed", seed, "--out", tmp_path / "run", "--overwrite").exit_code == 0
    assert config_of(tmp_path / "run")["seed"] == 1


def test_resume_needs_a_run_with_the_same_settings(runs: Runs, tmp_path: Path) -> None:
    message = refused(runs.train(*own(runs), "--out", tmp_path / "none", "--resume"))
    assert message == f"error: there is no run to resume in {str(tmp_path / 'none')!r}."
    message = refused(runs.train(*own(runs), "--seed", "5", "--out", runs.score, "--resume"))
    assert "was started with other settings (seed 0 -> 5); resume with the same ones." in message


def test_help_shows_every_setting_in_its_group(monkeypatch: pytest.MonkeyPatch) -> None:

    from predgen.config import all_settings

    monkeypatch.setenv("COLUMNS", "200")
    done = predgen("train", "--help")
    assert done.exit_code == 0, done.output
    for name, listed in all_settings().items():
        assert f"--{name.replace('_', '-')} " in done.stdout
        assert f"─ {listed.group} ─" in done.stdout
    assert "linear | ordered | value" in done.stdout or "linear | value | ordered" in done.stdout
    assert "predgen train --data my.csv" in done.stdout


def wait_for(condition: object, process: "subprocess.Popen[str]", seconds: float = 120) -> None:
    """Wait until a condition holds, or the process ends."""
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)


@pytest.mark.usefixtures("hears_ctrl_c", "forked_python")
def test_ctrl_c_saves_and_resume_completes(runs: Runs, tmp_path: Path) -> None:
    write_csv(tmp_path / "data.csv", reviews(40))
    flags = f"--model {runs.base} --data {tmp_path / 'data.csv'} --target score --kind regression --batch-size 2 --out {tmp_path / 'run'}"
    command = [sys.executable, "-m", "predgen", "train", *flags.split(), "--prompt", PROMPT, "--max-steps", "12"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "run" / "log.jsonl"
    wait_for(lambda: log.exists() and log.read_text().count("\n") >= 3, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "interrupted: stopped at optimizer step" in flat(said)
    assert "--resume" in said
    assert not (tmp_path / "run" / "predgen.json").exists()
    done = predgen(*command[3:], "--resume")
    assert done.exit_code == 0, done.output
    assert read_manifest(tmp_path / "run").report["optimizer_steps"] == 12
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines() if "loss" in json.loads(line)]
    assert steps == list(range(1, 13))  # no step was trained twice
