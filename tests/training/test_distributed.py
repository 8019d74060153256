"""Several processes train one model: one of them speaks, all stop together, and any number of them goes on."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cli_runs import PROMPT, refused, reviews, write_csv
from cli_runs import predgen as command
from predgen.errors import ConfigError
from predgen.training.checkpoints import checkpoints, last_checkpoint, noted_rows_of_step
from predgen.training.loop import trainable_state
from tiny_runs import RESUMABLE, tiny_base, tiny_data, tiny_run
from training.test_resume import cut

SETTINGS: dict[str, Any] = {**RESUMABLE, "optimizer": "sgd"}  # Adam amplifies rounding
SHARDED = Path(__file__).with_name("sharded_weights.py")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base"))


def launched(*arguments: str | Path) -> "subprocess.Popen[str]":
    """Start two processes of a module or a script on this machine, without a GPU."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)]
    tests = Path(__file__).parents[1]
    paths = os.pathsep.join([str(tests), str(tests.parent / "src")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [*words, *map(str, arguments)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_a_step_may_be_shared_out_anew(base: Path, tmp_path: Path) -> None:
    whole = tiny_run(base, "classification", tiny_data("classification", 16, 6), tmp_path / "whole", **SETTINGS)
    out = tmp_path / "out"
    cut(base, out, 5, **SETTINGS)
    kept = last_checkpoint(out / "checkpoints")
    assert kept is not None
    assert noted_rows_of_step(kept) == 4
    other = {**SETTINGS, "batch_size": 4, "gradient_accumulation": 1}
    resumed = tiny_run(base, "classification", tiny_data("classification", 16, 6), out, resume=True, **other)
    assert resumed.report["optimizer_steps"] == whole.report["optimizer_steps"] == 8
    first, second = trainable_state(whole.model), trainable_state(resumed.model)
    assert first.keys() == second.keys()
    assert max(float((first[name] - second[name]).abs().max()) for name in first) < 1e-5


def test_a_step_of_other_rows_is_refused(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    cut(base, out, 3, **SETTINGS)
    with pytest.raises(ConfigError, match=r"4 rows an optimizer step.*are 2"):
        tiny_run(
            base,
            "classification",
            tiny_data("classification", 16, 6),
            out,
            resume=True,
            **{**SETTINGS, "batch_size": 1},
        )


@pytest.mark.parametrize("variable", ["ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"])
def test_launchers_that_shard_weights_are_refused(
    base: Path, tmp_path: Path, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "true")
    data = write_csv(tmp_path / "in.csv", reviews(8))
    given = ("--model", base, "--data", data, "--prompt", PROMPT, "--target", "label", "--kind", "classification")
    message = refused(command("train", *given, "--out", tmp_path / "out"))
    assert variable in message
    assert not (tmp_path / "out").exists()


def train_words(base: Path, data: Path, out: Path, batch: int) -> list[str | Path]:
    """A command of 40 steps, with a look and a checkpoint after every fifth."""
    given = ["train", "--model", base, "--data", data, "--prompt", PROMPT, "--target", "label", "--rank", "2"]
    given += ["--kind", "classification", "--max-steps", "40", "--eval-steps", "5", "--optimizer", "sgd"]
    return [*given, "--learning-rate", "0.01", "--batch-size", str(batch), "--out", out]


def losses(run: Path) -> dict[int, float]:
    """Loss of each optimizer step."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


@pytest.mark.slow
def test_two_processes_that_are_ended_go_on_as_one(base: Path, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "in.csv", reviews(41))
    alone, out = tmp_path / "alone", tmp_path / "two"
    assert command(*train_words(base, data, alone, 4)).exit_code == 0
    process = launched("-m", "predgen", *train_words(base, data, out, 2))
    end = time.monotonic() + 200
    while not checkpoints(out / "checkpoints"):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)  # which the launcher hands on to both
    said, _ = process.communicate(timeout=120)
    kept = last_checkpoint(out / "checkpoints")
    assert kept is not None, said
    done = int(kept.name.partition("-")[2])
    assert 5 <= done < 40, said
    result = command(*train_words(base, data, out, 2), "--resume")
    assert "4 rows an optimizer step" in refused(result)
    result = command(*train_words(base, data, out, 4), "--resume")
    assert result.exit_code == 0, result.output
    found, expected = losses(out), losses(alone)
    assert sorted(found) == sorted(expected) == list(range(1, 41))
    assert max(abs(found[step] - expected[step]) for step in expected) < 1e-5


@pytest.mark.slow
def test_two_processes_speak_once(base: Path, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "in.csv", reviews(41))
    process = launched("-m", "predgen", *train_words(base, data, tmp_path / "two", 2))
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert said.count("Trained on") == 1
    assert said.count("Saved in") == 1


@pytest.mark.slow
@pytest.mark.parametrize("peft", ["lora", "full"])
def test_models_compute_the_same_on_sharded_weights(base: Path, peft: str) -> None:
    """FSDP2 of torch itself: what keeps it out is what is read of weights between steps, not the forward."""
    process = launched(SHARDED, base, peft)
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 0, said
    found = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
    assert found["sharded"] == pytest.approx(found["alone"], rel=1e-5)
    assert found["gradients_differ_by"] < 1e-4 * found["largest_gradient"]
