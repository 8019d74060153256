"""`train` under kills, signals, full and read-only disks, little memory and clocks that jump."""

import errno
import json
import resource
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kills
import predgen
from kills import Kill, Outcome, Refuse, Signal, places, run_child
from predgen.errors import BusyError, ConfigError, PredgenError
from predgen.training import callbacks
from tiny_runs import RESUMABLE, tiny_base, tiny_config, tiny_data, tiny_run

SETTINGS = {**RESUMABLE, "epochs": 1.0, "batch_size": 2, "gradient_accumulation": 1, "eval_steps": 1}
SECONDS = ("time_s", "train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos", "train_loss")
PEFTS = ["lora", pytest.param("full", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model; everything that training imports late is there before the first child is forked."""
    folder = tmp_path_factory.mktemp("base")
    made = tiny_base(folder / "base")
    training(made, folder / "run")()
    return made


def training(base: Path, out: Path, peft: str = "lora", resume: bool = False) -> Callable[[], None]:
    """A run of two optimizer steps, with a checkpoint after each."""

    def train() -> None:
        data = tiny_data("classification", 4, 2)
        tiny_run(base, "classification", data, out, peft=peft, resume=resume, **SETTINGS)

    return train


def contents(run: Path) -> dict[str, Any]:
    """All files of a run, without what a clock has written."""
    found: dict[str, Any] = {}
    for path in sorted(p for p in run.rglob("*") if p.is_file()):
        name = str(path.relative_to(run))
        if name == "log.jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            facts = ({k: v for k, v in line.items() if k not in SECONDS} for line in lines)
            # The last line sums up clocks alone; a run that was killed after its last checkpoint trains no more and has none.
            found[name] = [fact for fact in facts if fact.keys() != {"step", "epoch"}]
        elif name == "predgen.json":
            data = json.loads(path.read_text())
            data["report"].pop("seconds")
            found[name] = data
        else:
            found[name] = path.read_bytes()
    return found


@pytest.fixture(scope="module", params=PEFTS)
def whole(request: pytest.FixtureRequest, base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """An uninterrupted run: its PEFT method, its operations, what it leaves."""
    out = tmp_path_factory.mktemp("whole") / "run"
    out.mkdir()
    done = run_child(training(base, out, request.param), out)
    assert done.error == ""
    return {"peft": request.param, "operations": done.operations, "contents": contents(out)}


def go_on(base: Path, out: Path, peft: str) -> Outcome:
    """What a user does after a run has ended early: --resume, or the same command where there is nothing to resume."""
    done = run_child(training(base, out, peft, resume=True), out)
    if "there is no run to resume" in done.error:
        done = run_child(training(base, out, peft), out)
    return done


def require_same(base: Path, out: Path, whole: dict[str, Any], where: object) -> None:
    """Going on gives the uninterrupted run's bytes and leaves nothing else."""
    done = go_on(base, out, whole["peft"])
    assert done.error == "" or "is finished" in done.error, f"{where}: {done.error}"
    assert contents(out) == whole["contents"], where
    assert [p.name for p in out.rglob("*") if p.is_dir() and not any(p.iterdir())] == [], where


@pytest.mark.parametrize("most", [4, pytest.param(None, marks=pytest.mark.slow)])
def test_a_run_killed_at_any_file_operation_goes_on_to_the_same_bytes(
    base: Path, tmp_path: Path, whole: dict[str, Any], most: int | None
) -> None:
    wanted = places(whole["operations"], most)
    for number in wanted:
        out = tmp_path / str(number)
        out.mkdir()
        assert run_child(training(base, out, whole["peft"]), out, Kill(number)).was_killed
        if (out / "predgen.json").exists():  # what loads has to be the model
            predgen.load(out)
        require_same(base, out, whole, number)
        shutil.rmtree(out)
    print(f"train --peft {whole['peft']}: {len(wanted)} kills at {whole['operations']} operations")


@pytest.mark.parametrize("most", [2, pytest.param(10, marks=pytest.mark.slow)])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS], ids=["full", "read-only"])
def test_a_disk_that_takes_no_more_costs_nothing(
    base: Path, tmp_path: Path, whole: dict[str, Any], most: int, number: int
) -> None:
    for at in places(whole["operations"], most):
        out = tmp_path / str(at)
        out.mkdir()
        ended = run_child(training(base, out, whole["peft"]), out, Refuse(at, number))
        # Towards the end there is nothing left to write but to tidy up.
        assert ended.error == "" or ended.error.startswith("StorageError: "), (at, ended.error, ended.events[-1])
        require_same(base, out, whole, at)
        shutil.rmtree(out)
    print(f"train --peft {whole['peft']}, {errno.errorcode[number]}: {most} ends")


@pytest.mark.parametrize(
    "size", [0, 20_000, *(pytest.param(s, marks=pytest.mark.slow) for s in (500, 2_000, 10_000, 30_000))]
)
def test_files_that_may_not_grow_are_told_and_cost_nothing(
    base: Path, tmp_path: Path, whole: dict[str, Any], size: int
) -> None:
    out = tmp_path / "run"
    out.mkdir()

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        training(base, out, whole["peft"])()

    ended = run_child(limited, out)
    assert ended.error.startswith("StorageError: "), ended.error
    assert "disk full" in ended.error
    require_same(base, out, whole, size)


@pytest.mark.parametrize("most", [2, pytest.param(10, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "numbers",
    [(signal.SIGTERM,), (signal.SIGINT,), (signal.SIGINT, signal.SIGINT)],
    ids=["SIGTERM", "Ctrl-C", "Ctrl-C twice"],
)
def test_a_run_that_is_told_to_stop_goes_on_to_the_same_bytes(
    base: Path, tmp_path: Path, whole: dict[str, Any], numbers: tuple[int, ...], most: int
) -> None:
    for at in places(whole["operations"], most):
        out = tmp_path / str(at)
        out.mkdir()
        ended = run_child(training(base, out, whole["peft"]), out, Signal(at, numbers))
        assert ended.error == "" or ended.error.startswith("KeyboardInterrupt"), (at, ended.error)
        require_same(base, out, whole, at)
        shutil.rmtree(out)
    print(f"train --peft {whole['peft']}, signals {numbers}: {most} ends")


@pytest.mark.parametrize("room", [3 << 20, *(pytest.param(n << 20, marks=pytest.mark.slow) for n in (0, 8, 16))])
def test_a_run_without_memory_goes_on_to_the_same_bytes(
    base: Path, tmp_path: Path, whole: dict[str, Any], room: int
) -> None:
    out = tmp_path / "run"
    out.mkdir()

    def limited() -> None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + room, resource.RLIM_INFINITY))
        try:
            training(base, out, whole["peft"])()
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    run_child(limited, out)
    require_same(base, out, whole, room)


def test_a_clock_that_jumps_back_changes_nothing(
    base: Path, tmp_path: Path, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    now = [time.time()]

    def back() -> float:
        now[0] -= 86_400
        return now[0]

    monkeypatch.setattr(time, "time", back)
    assert run_child(training(base, out, whole["peft"]), out, Kill(whole["operations"] // 2)).was_killed
    require_same(base, out, whole, "clock")


def test_two_runs_never_share_a_folder(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[BaseException] = []

    class Second(callbacks.LogFile):
        def on_step_end(self, *arguments: object, **kwargs: object) -> None:
            for resume in (False, True):
                thread = threading.Thread(target=second, args=(resume,))
                thread.start()
                thread.join()

    def second(resume: bool) -> None:
        try:
            tiny_run(
                base, "classification", tiny_data("classification", 4, 2), tmp_path / "run", resume=resume, **SETTINGS
            )
        except PredgenError as error:
            met.append(error)

    monkeypatch.setattr(callbacks, "LogFile", Second)
    training(base, tmp_path / "run")()
    assert {type(error) for error in met} == {BusyError}
    assert len(met) == 4
    assert predgen.load(tmp_path / "run").report["optimizer_steps"] == 2


# Folders of runs that did not come far


def failing(base: Path, out: Path) -> None:
    """A run that claims its folder and fails before its first checkpoint."""
    with pytest.raises(PredgenError):
        tiny_run(
            base,
            "classification",
            tiny_data("classification", 4, 2),
            out,
            **{**SETTINGS, "optimizer": "sgd", "learning_rate": 1e30, "eval_steps": 100},
        )


def test_the_folder_of_a_run_that_failed_early_is_taken_over(base: Path, tmp_path: Path) -> None:
    failing(base, tmp_path / "run")
    assert (tmp_path / "run" / "config.yaml").exists()
    training(base, tmp_path / "run")()
    assert predgen.load(tmp_path / "run").report["optimizer_steps"] == 2
    with pytest.raises(ConfigError, match="is not empty"):
        training(base, tmp_path / "run")()


@pytest.mark.parametrize("name", ["notes.txt", "checkpoints/checkpoint-7x", "logs", ".saving-x"])
def test_what_is_not_a_failed_run_s_stays(base: Path, tmp_path: Path, name: str) -> None:
    failing(base, tmp_path / "run")
    place = tmp_path / "run" / name
    place.parent.mkdir(exist_ok=True)
    if name == "notes.txt":
        place.write_text("mine")
        with pytest.raises(ConfigError, match="is not empty"):
            training(base, tmp_path / "run")()
        assert place.read_text() == "mine"
    else:
        place.mkdir(exist_ok=True)
        training(base, tmp_path / "run")()


@pytest.mark.parametrize("text", ["", "- a", "{", "a: [", "[" * 5000, "!!python/object/apply:os.getcwd []", "\x00"])
def test_damaged_settings_are_refused_by_name(base: Path, tmp_path: Path, text: str) -> None:
    failing(base, tmp_path / "run")
    (tmp_path / "run" / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml' .*Restore it"):
        training(base, tmp_path / "run", resume=True)()


def test_the_harness_hears_what_it_should(tmp_path: Path) -> None:
    def action() -> str:
        (tmp_path / "a").write_text("x")
        (tmp_path / "a").read_text()
        (tmp_path / "a").rename(tmp_path / "b")
        (tmp_path / "b").unlink()
        return "end"

    done = kills.run_child(action, tmp_path)
    assert (done.value, [event.split()[0] for event in done.events]) == ("end", ["open", "os.rename", "os.remove"])
    assert run_child(action, tmp_path, Kill(2)).was_killed
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    (tmp_path / "a").unlink()
    assert run_child(action, tmp_path, Refuse(2, errno.ENOSPC)).error.startswith("OSError: [Errno 28]")
    assert tiny_config is not None
