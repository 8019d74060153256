"""A killed run goes on bit for bit; half checkpoints and changed settings are noticed."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import TrainerCallback

from predgen.errors import ConfigError, TrainingError
from predgen.inference.trained import TrainedModel
from predgen.training import callbacks
from predgen.training.checkpoints import WEIGHTS, checkpoints, last_checkpoint
from predgen.training.loop import trainable_state
from tiny_runs import RESUMABLE, tiny_base, tiny_config, tiny_data, tiny_run

KILLED = Path(__file__).with_name("killed_run.py")


def assert_identical(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    """The same weights, to the bit, and at least one."""
    assert first
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


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


@pytest.mark.parametrize(
    ("peft", "stop_at"),
    [
        pytest.param("lora", 3, marks=pytest.mark.slow),
        ("lora", 5),
        ("adalora", 5),
        *(pytest.param(p, 3, marks=pytest.mark.slow) for p in ("adalora", "full", "dora", "lora_fa")),
        *(pytest.param(p, 5, marks=pytest.mark.slow) for p in ("rocoft", "melora", "moslora", "propulsion")),
    ],
)
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
    assert_identical(first, second)
    assert whole.report["optimizer_steps"] == resumed.report["optimizer_steps"] == 8


@pytest.mark.slow
@pytest.mark.usefixtures("forked_python")
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
    assert_identical(trainable_state(whole.model), trainable_state(resumed.model))


def cut(base: Path, out: Path, step: int, kind: str = "classification", **settings: Any) -> None:
    """Train until a step after which the machine goes away."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
        patch.setattr(callbacks, "LogFile", acting(on_end={step: power_cut}))
        tiny_run(base, kind, tiny_data(kind, 16, 6), out, **settings)


def power_cut() -> None:
    raise RuntimeError("power cut")


def ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def acting(on_begin: dict[int, Any] | None = None, on_end: dict[int, Any] | None = None) -> type[callbacks.LogFile]:
    """Return a log that also does something at the beginning or end of some steps, counted by completed steps."""

    class Acting(callbacks.LogFile):
        def on_step_begin(self, args: object, state: Any, control: object, **kwargs: object) -> None:
            (on_begin or {}).get(state.global_step, lambda: None)()

        def on_step_end(self, args: object, state: Any, control: object, **kwargs: object) -> None:
            (on_end or {}).get(state.global_step, lambda: None)()

    return Acting


def log_of(run: Path) -> list[dict[str, Any]]:
    """Lines of a run's log, without their times."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    clocks = (
        "time_s",
        "train_runtime",
        "train_samples_per_second",
        "train_steps_per_second",
        "total_flos",
        "train_loss",
    )
    return [{key: value for key, value in line.items() if key not in clocks} for line in lines]


def shorten(path: Path) -> None:
    """Cut off the second half of a file, as a full disk or a power cut does."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_damaged_and_incomplete_checkpoints_are_passed_over(base: Path, tmp_path: Path) -> None:
    cut(base, tmp_path / "run", 5, **RESUMABLE)
    run = tmp_path / "run" / "checkpoints"
    assert [path.name for path in checkpoints(run)] == ["checkpoint-2", "checkpoint-4"]
    files = sorted(path.name for path in (run / "checkpoint-4").iterdir())
    assert files == ["optimizer.pt", "rng_state.pth", "scheduler.pt", "trainable.safetensors", "trainer_state.json"]
    for name in files:
        whole = (run / "checkpoint-4" / name).read_bytes()
        shorten(run / "checkpoint-4" / name)
        assert [path.name for path in checkpoints(run)] == ["checkpoint-2"], f"{name} is cut off"
        (run / "checkpoint-4" / name).unlink()
        assert [path.name for path in checkpoints(run)] == ["checkpoint-2"], f"{name} is missing"
        (run / "checkpoint-4" / name).write_bytes(whole)
    assert [path.name for path in checkpoints(run)] == ["checkpoint-2", "checkpoint-4"]


@pytest.mark.parametrize(
    "change",
    [
        None,
        [1],
        {"global_step": "4"},
        {"global_step": 2},
        {"epoch": None},
        {"log_history": [[]]},
        {"log_history": [{"eval_accuracy": "x"}]},
        {"stateful_callbacks": {"EarlyStoppingCallback": {"attributes": {"early_stopping_patience_counter": "x"}}}},
        {"total_flos": {}},
    ],
    ids=repr,
)
def test_a_checkpoint_whose_state_is_none_is_passed_over(tmp_path: Path, change: object) -> None:
    step = tmp_path / "checkpoint-4"
    step.mkdir()
    save_file({"a": torch.zeros(1)}, step / WEIGHTS)
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        zipfile.ZipFile(step / name, "w").close()
    state = {"global_step": 4, "max_steps": 4, "epoch": 1.0, "log_history": [{"eval_pearson": math.nan, "step": 4}]}
    (step / "trainer_state.json").write_text(json.dumps({**state, "of_another_version": []}))
    assert checkpoints(tmp_path) == [step]
    (step / "trainer_state.json").write_text(json.dumps({**state, **change} if isinstance(change, dict) else change))
    assert checkpoints(tmp_path) == []


def test_run_goes_on_before_a_damaged_checkpoint_and_beside_a_half_written_one(base: Path, tmp_path: Path) -> None:
    settings = RESUMABLE
    whole = tiny_run(base, "classification", tiny_data("classification", 16, 6), tmp_path / "whole", **settings)
    cut(base, tmp_path / "cut", 5, **settings)
    run = tmp_path / "cut" / "checkpoints"
    shorten(run / "checkpoint-4" / "trainable.safetensors")
    half = tmp_path / "cut" / "logs" / "checkpoint-6"
    half.mkdir(parents=True)
    resumed = tiny_run(
        base, "classification", tiny_data("classification", 16, 6), tmp_path / "cut", resume=True, **settings
    )
    assert_identical(trainable_state(whole.model), trainable_state(resumed.model))
    assert resumed.report["optimizer_steps"] == 8
    assert not half.exists()


def test_log_of_a_resumed_run_is_that_of_an_uninterrupted_one(base: Path, tmp_path: Path) -> None:
    settings = {**RESUMABLE, "lr_schedule": "cosine", "warmup_ratio": 0.25}
    tiny_run(base, "classification", tiny_data("classification", 16, 6), tmp_path / "whole", **settings)
    cut(base, tmp_path / "cut", 6, **settings)  # step 5 is logged after checkpoint 4, and comes again
    tiny_run(base, "classification", tiny_data("classification", 16, 6), tmp_path / "cut", resume=True, **settings)
    whole, resumed = log_of(tmp_path / "whole"), log_of(tmp_path / "cut")
    assert resumed == whole
    rates = [line["learning_rate"] for line in whole if "loss" in line]
    assert len(rates) == 8
    assert rates[0] < max(rates) > rates[-1]
    assert [line["p"] for line in whole if "loss" in line] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0]


@pytest.mark.usefixtures("hears_ctrl_c")
@pytest.mark.parametrize("eval_steps", [None, pytest.param(2, marks=pytest.mark.slow)])
def test_ctrl_c_saves_a_checkpoint_and_changes_nothing(base: Path, tmp_path: Path, eval_steps: int | None) -> None:
    settings = {**RESUMABLE, "eval_steps": eval_steps}
    whole = tiny_run(base, "classification", tiny_data("classification", 16, 6), tmp_path / "whole", **settings)
    before = signal.getsignal(signal.SIGINT)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt, match="stopped at optimizer step 3"):
        patch.setattr(callbacks, "LogFile", acting(on_begin={2: ctrl_c}))
        tiny_run(base, "classification", tiny_data("classification", 16, 6), tmp_path / "cut", **settings)
    assert signal.getsignal(signal.SIGINT) is before
    kept = last_checkpoint(tmp_path / "cut" / "checkpoints")
    assert kept is not None
    assert kept.name == "checkpoint-3"
    resumed = tiny_run(
        base, "classification", tiny_data("classification", 16, 6), tmp_path / "cut", resume=True, **settings
    )
    assert_identical(trainable_state(whole.model), trainable_state(resumed.model))
    # In particular no evaluation in the middle of an epoch, which could have become the best.
    evaluations = [[line for line in log_of(tmp_path / run) if "eval_accuracy" in line] for run in ("whole", "cut")]
    assert evaluations[0] == evaluations[1]
    assert len(evaluations[0]) == (4 if eval_steps else 2)


@pytest.mark.usefixtures("hears_ctrl_c")
def test_second_ctrl_c_stops_at_once(base: Path, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    twice = {1: lambda: (ctrl_c(), ctrl_c())}
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(callbacks, "LogFile", acting(on_begin=twice))
        tiny_run(base, "classification", tiny_data("classification"), tmp_path / "run", **RESUMABLE)
    assert signal.getsignal(signal.SIGINT) is before
    assert [line["step"] for line in log_of(tmp_path / "run")] == [1]


@pytest.mark.parametrize("stops_early", [False, True])
def test_nothing_is_trained_after_the_last_checkpoint(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops_early: bool
) -> None:
    # 6 steps are one epoch and a half. The learning rate 0 cannot improve the metric: patience 1 stops at step 4.
    settings = {**RESUMABLE, "max_steps": 6, **({"patience": 1, "learning_rate": 0.0} if stops_early else {})}
    data = tiny_data("classification", 16, 6)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
        patch.setattr(TrainedModel, "save", lambda self, folder: power_cut())
        tiny_run(base, "classification", data, tmp_path / "cut", **settings)
    whole = tiny_run(base, "classification", data, tmp_path / "whole", **settings)
    resumed = tiny_run(base, "classification", data, tmp_path / "cut", resume=True, **settings)
    assert resumed.report["optimizer_steps"] == whole.report["optimizer_steps"] == (4 if stops_early else 6)
    assert resumed.report["best_step"] == whole.report["best_step"]
    assert resumed.report["validation"] == whole.report["validation"]
    assert_identical(trainable_state(whole.model), trainable_state(resumed.model))


def test_finished_run_is_not_resumed(base: Path, tmp_path: Path) -> None:
    tiny_run(base, "regression", tiny_data("regression"), tmp_path / "run", max_steps=1)
    before = (tmp_path / "run" / "predgen.json").read_bytes()
    with pytest.raises(ConfigError, match=r"is finished\. Load its model"):
        tiny_run(base, "regression", tiny_data("regression"), tmp_path / "run", max_steps=1, resume=True)
    assert (tmp_path / "run" / "predgen.json").read_bytes() == before


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
