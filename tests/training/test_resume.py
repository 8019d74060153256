"""A killed run goes on bit for bit; half checkpoints and changed settings are noticed."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tiny_runs import RESUMABLE, tiny_base, tiny_config, tiny_data, tiny_run
from transformers import TrainerCallback

from predgen.errors import ConfigError, TrainingError
from predgen.training import callbacks
from predgen.training.loop import checkpoints, last_checkpoint, trainable_state

KILLED = Path(__file__).with_name("killed_run.py")
@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base"))


class _Stop(TrainerCallback):
    """Raises after a step, like a machine that goes away."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: object, state: object, control: object, **kwargs: object) -> None:
        if state.global_step == self.step:  # type: ignore[attr-defined]
            raise RuntimeError("power cut")


@pytest.mark.parametrize("peft", ["lora", "adalora", "full"])
@pytest.mark.parametrize("stop_at", [3, 5])
def test_resumed_run_has_the_weights_of_an_uninterrupted_one(
    base: Path, tmp_path: Path, peft: str, stop_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**RESUMABLE, "peft": peft}
    whole = tiny_run(base, "classification", tiny_data("classification"), tmp_path / "whole", **settings)
    original = callbacks.LogFile
    with monkeypatch.context() as patch:
        patch.setattr(callbacks, "LogFile", lambda path: _Stop(stop_at))
        with pytest.raises(RuntimeError, match="power cut"):
            tiny_run(base, "classification", tiny_data("classification"), tmp_path / "cut", **settings)
    assert callbacks.LogFile is original
    kept = last_checkpoint(tmp_path / "cut" / "checkpoints")
    assert kept is not None
    assert kept.name == f"checkpoint-{stop_at - 1}"
    torch.manual_seed(99)  # whatever the new process did before
    resumed = tiny_run(base, "classification", tiny_data("classification"), tmp_path / "cut", resume=True, **settings)
    first, second = trainable_state(whole.model), trainable_state(resumed.model)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[n], second[n]) for n in first)
    assert whole.report["optimizer_steps"] == resumed.report["optimizer_steps"] == 12


def test_run_killed_by_the_system_resumes_bit_for_bit(base: Path, tmp_path: Path) -> None:
    whole = tiny_run(base, "regression", tiny_data("regression", 64), tmp_path / "whole", **RESUMABLE)
    paths = os.pathsep.join([str(KILLED.parents[1]), str(KILLED.parents[2] / "src")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, str(KILLED), str(base), str(tmp_path / "killed")], env=environment)
    deadline = time.monotonic() + 120
    while len(checkpoints(tmp_path / "killed" / "checkpoints")) < 2:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    resumed = tiny_run(base, "regression", tiny_data("regression", 64), tmp_path / "killed", resume=True, **RESUMABLE)
    first, second = trainable_state(whole.model), trainable_state(resumed.model)
    assert all(torch.equal(first[n], second[n]) for n in first)


def test_half_checkpoint_is_not_resumed_from(tmp_path: Path) -> None:
    for step, files in ((2, ["trainer_state.json"]), (10, ["trainer_state.json"]), (12, [])):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        for name in files:
            (folder / name).write_text("{}")
    found = last_checkpoint(tmp_path)
    assert found is not None
    assert found.name == "checkpoint-10"


def test_resume_with_other_settings_is_refused_by_name(base: Path, tmp_path: Path) -> None:
    tiny_run(base, "regression", tiny_data("regression"), tmp_path / "run", max_steps=1)
    with pytest.raises(ConfigError, match=r"started with other settings \(rank 2 -> 3\)"):
        tiny_run(base, "regression", tiny_data("regression"), tmp_path / "run", max_steps=1, rank=3, resume=True)
    with pytest.raises(ConfigError, match="no run to resume"):
        tiny_run(base, "regression", tiny_data("regression"), tmp_path / "nothing", resume=True)


def test_folder_in_use_is_refused_and_a_strange_one_never_emptied(base: Path, tmp_path: Path) -> None:
    from predgen.training.run import train

    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.txt").write_text("cat")
    config, data = tiny_config(base, "regression", max_steps=1), tiny_data("regression")
    with pytest.raises(ConfigError, match="is not empty"):
        train(config, tmp_path / "photos", data=data)
    with pytest.raises(ConfigError, match="not a predgen run"):
        train(config, tmp_path / "photos", data=data, overwrite=True)
    assert (tmp_path / "photos" / "cat.txt").read_text() == "cat"
    with pytest.raises(ConfigError, match="is a file"):
        train(config, tmp_path / "photos" / "cat.txt", data=data)


def test_checkpoint_of_other_settings_is_noticed(base: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="power cut"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks, "LogFile", lambda path: _Stop(3))
        tiny_run(base, "regression", tiny_data("regression"), tmp_path / "run", **RESUMABLE)
    kept = tmp_path / "run" / "checkpoints" / "checkpoint-2"
    shutil.copy(kept / "trainable.safetensors", tmp_path / "copy")
    from safetensors.torch import load_file, save_file

    state = load_file(str(tmp_path / "copy"))
    state.pop(next(iter(state)))
    save_file(state, str(kept / "trainable.safetensors"))
    with pytest.raises(TrainingError, match="made with other settings"):
        tiny_run(base, "regression", tiny_data("regression"), tmp_path / "run", resume=True, **RESUMABLE)
