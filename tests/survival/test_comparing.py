"""`compare` under kills and signals: no second writer, no lost run, no replaced record."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli_runs import PROMPT, reviews, write_csv
from kills import Kill, Outcome, places, run_child
from predgen.compare.cell import run_cell
from predgen.compare.plan import Cell
from predgen.errors import BusyError
from predgen.records import Record, read_record, read_records, record_path, write_record
from tiny_experiments import InProcess, make_files, run_plan, tiny_plan
from tiny_runs import tiny_base

STEPS = 16  # enough that a command that has written two checkpoints, two steps each, is still at work
CLOCKS = ("cost", "environment", "started", "curves")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Rows and a base model; everything that runs import late is there before the first child is forked."""
    folder = tmp_path_factory.mktemp("files")
    made = make_files(folder, 20)
    experiment(made, folder / "exp")()
    return made


def experiment(files: dict[str, Any], folder: Path) -> Callable[[], None]:
    """Two runs, one of them a baseline, whose models are kept."""

    def make() -> None:
        plan = tiny_plan(
            files,
            methods=["predictor"],
            baselines=["constant"],
            keep_models=True,
            settings={"max_steps": 1, "batch_size": 2},
        )
        run_plan(plan, folder)

    return make


def contents(folder: Path) -> dict[str, Any]:
    """All files of an experiment, without what clocks and machines have written."""
    found: dict[str, Any] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = str(path.relative_to(folder))
        if name.startswith(("runs/", "trials/")):
            data = json.loads(path.read_text())
            found[name] = {k: v for k, v in data.items() if k not in CLOCKS}
        elif path.name == "predgen.json":
            data = json.loads(path.read_text())
            data["report"].pop("seconds")
            found[name] = data
        elif path.name != "log.jsonl":
            found[name] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def whole(files: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, Any]]:
    """An uninterrupted experiment: its operations, what it leaves."""
    folder = tmp_path_factory.mktemp("whole") / "exp"
    folder.mkdir()
    done = run_child(experiment(files, folder), folder)
    assert done.error == ""
    return done.operations, contents(folder)


def statuses(folder: Path) -> dict[str, str]:
    return {path.stem: read_record(path).status for path in sorted((folder / "runs").glob("*.json"))}


@pytest.mark.parametrize("most", [3, pytest.param(None, marks=pytest.mark.slow)])
def test_an_experiment_killed_at_any_file_operation_goes_on_to_the_same_records(
    files: dict[str, Any], tmp_path: Path, whole: tuple[int, dict[str, Any]], most: int | None
) -> None:
    total, wanted = whole
    for number in places(total, most):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert run_child(experiment(files, folder), folder, Kill(number)).was_killed
        claimed = statuses(folder) if (folder / "runs").exists() else {}
        assert set(claimed.values()) <= {"done"}, number
        before = {name: (folder / "runs" / f"{name}.json").read_bytes() for name in claimed}
        done: Outcome = run_child(experiment(files, folder), folder)
        assert done.error == "", (number, done.error)
        assert contents(folder) == wanted, number
        assert {name: (folder / "runs" / f"{name}.json").read_bytes() for name in claimed} == before, number
        shutil.rmtree(folder)
    print(f"compare: {len(places(total, most))} kills at {total} operations")


def test_what_a_kill_has_left_in_a_finished_run_is_not_kept(
    files: dict[str, Any], tmp_path: Path, whole: tuple[int, dict[str, Any]]
) -> None:
    experiment(files, tmp_path)()
    (record,) = (tmp_path / "runs").glob("*predictor*")
    record.unlink()
    for name in (".saving-x", "checkpoints/checkpoint-1", "logs"):
        (tmp_path / "models" / record.stem / name).mkdir(parents=True)
    (tmp_path / "runs" / f".{record.name}.lock").touch()
    experiment(files, tmp_path)()
    assert contents(tmp_path) == whole[1]


# One writer


def test_a_second_experiment_in_a_folder_is_refused(files: dict[str, Any], tmp_path: Path) -> None:
    met: list[BaseException] = []

    class Second(InProcess):
        def run(self, *arguments: Any, **options: Any) -> None:
            thread = threading.Thread(target=again)
            thread.start()
            thread.join()
            super().run(*arguments, **options)

    def again() -> None:
        try:
            run_plan(plan, tmp_path / "exp")
        except BusyError as error:
            met.append(error)

    plan = tiny_plan(files, methods=[], baselines=["constant"])
    run_plan(plan, tmp_path / "exp", Second())
    assert [str(tmp_path / "exp") in str(error) for error in met] == [True]
    assert statuses(tmp_path / "exp") != {}


def test_a_done_record_is_never_replaced(files: dict[str, Any], tmp_path: Path) -> None:
    cell = Cell("mine", ("mine",), "v", None, 0, "final", {"method": "predictor"})
    record = Record(cell.id, "mine", "regression", "v", 0, "final", "done", cell=cell.to_dict())
    write_record(record, tmp_path)
    path = record_path(tmp_path, "final", cell.id)
    before = path.read_bytes()
    assert run_cell(cell, tmp_path) == record  # its settings could not even be read
    assert path.read_bytes() == before


def test_a_run_whose_process_died_is_made_again(files: dict[str, Any], tmp_path: Path) -> None:
    plan = tiny_plan(files, methods=[], baselines=["constant"])
    (made,) = run_plan(plan, tmp_path / "exp")
    path = record_path(tmp_path / "exp", "final", made.id)
    for kind, status in (("WorkerDied", "done"), ("ValueError", "failed")):
        data = json.loads(path.read_text())
        error = {"type": kind, "message": "", "traceback": ""}
        path.write_text(json.dumps({**data, "status": "failed", "error": error}))
        assert [record.status for record in run_plan(plan, tmp_path / "exp")] == [status]


# Processes


class Command:
    """`predgen compare` in a process of its own, over a run that takes a while."""

    def __init__(self, folder: Path) -> None:
        self.out = folder / "exp"
        data = write_csv(folder / "reviews.csv", reviews(40))
        words = (
            f"--model {tiny_base(folder / 'base')} --data {data} --target score --kind regression --methods predictor"
        )
        words += f" --baselines none --seeds 0 --batch-size 4 --max-steps {STEPS} --eval-steps 2 --out {self.out}"
        self.words = [sys.executable, "-m", "predgen", "compare", *words.split(), "--prompt", PROMPT]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **options: Any) -> "subprocess.Popen[bytes]":
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            self.words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
        )
        return self.process

    def until_training(self) -> None:
        """Wait until the worker has written two checkpoints."""
        assert self.process is not None
        wait(lambda: len(list(self.out.glob("work/final/*/model/checkpoints/checkpoint-*"))) >= 2, self.process)

    def workers(self) -> list[int]:
        """Ids of the processes that make this experiment's runs."""
        assert self.process is not None
        found = [path.read_text() for path in Path(f"/proc/{self.process.pid}/task").glob("*/children")]
        return [int(word) for words in found for word in words.split()]

    def completes(self) -> Record:
        """The same command again; returns its one record."""
        process = self.start()
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said.decode()
        (record,) = read_records(self.out)
        return record


def is_alive(process: int) -> bool:
    """Whether a process has not ended; one that nobody has asked about since has."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait(condition: Callable[[], bool], process: "subprocess.Popen[bytes] | None" = None, seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, process.communicate()[0].decode()
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def require_gone_on(command: Command, record: Record) -> None:
    """The run is done, each of its steps was trained once, and nothing of it lies about."""
    assert record.status == "done"
    assert record.training["optimizer_steps"] == STEPS
    assert record.curves["step"] == list(range(1, STEPS + 1))
    assert sorted(p.name for p in command.out.iterdir()) == ["experiment.yaml", "rows", "runs"]


@pytest.mark.usefixtures("forked_python")
def test_a_killed_compare_leaves_no_worker_and_goes_on(tmp_path: Path) -> None:
    command = Command(tmp_path)
    process = command.start()
    command.until_training()
    (worker,) = command.workers()
    process.kill()
    process.communicate()
    wait(lambda: not is_alive(worker), seconds=10)
    assert not (command.out / "runs").exists() or statuses(command.out) == {}
    require_gone_on(command, command.completes())


@pytest.mark.slow
@pytest.mark.usefixtures("forked_python")
def test_a_killed_worker_s_run_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    command = Command(tmp_path)
    process = command.start()
    command.until_training()
    (worker,) = command.workers()
    os.kill(worker, signal.SIGKILL)
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 1, said.decode()
    (record,) = read_records(command.out)
    assert record.status == "failed"
    assert record.error is not None
    assert "SIGKILL" in record.error["message"]
    kept = [p.name for p in command.out.glob("work/final/*/model/checkpoints/checkpoint-*")]
    assert len(kept) >= 2, "the run would begin anew"
    require_gone_on(command, command.completes())


def in_background() -> None:
    """As a shell starts what ends in &."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def in_foreground() -> None:
    """As a shell starts what somebody waits for, however the tests were started."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.slow
@pytest.mark.usefixtures("forked_python")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_compare_that_is_told_to_stop_ends_its_worker_and_goes_on(tmp_path: Path, number: int) -> None:
    command = Command(tmp_path)
    process = command.start(preexec_fn=in_background if number == signal.SIGTERM else in_foreground)
    command.until_training()
    (worker,) = command.workers()
    process.send_signal(number)
    said, _ = process.communicate(timeout=100)
    assert process.returncode == 130, said.decode()
    assert b"Traceback" not in said
    assert b"same command" in said
    assert not is_alive(worker)
    require_gone_on(command, command.completes())
