"""Worker processes: runs arrive from several at once, a dying one costs its own run only, Ctrl-C reaches them."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from predgen.compare import workers
from predgen.compare.plan import Cell
from predgen.compare.workers import LocalWorkers
from predgen.errors import ConfigError
from predgen.records import Record, read_records, write_record

FAKE = """
import json, os, signal, sys, time
from pathlib import Path
from predgen.compare.plan import Cell
from predgen.records import Record, write_record
signal.signal(signal.SIGTERM, signal.default_int_handler)
for line in sys.stdin:
    cell = Cell.from_dict(json.loads(line)["cell"])
    if cell.variant == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if cell.variant == "slow":
        Path(sys.argv[1], "slow").touch()
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            Path(sys.argv[1], "saved").touch()
            sys.exit(130)
    record = Record(cell.id, cell.task, "regression", cell.variant, cell.seed, "final", "done", cell=cell.to_dict())
    write_record(record, Path(sys.argv[1]))
    print(json.dumps({"id": cell.id}), flush=True)
"""


def cells(*variants: str) -> list[Cell]:
    """Runs that the fake worker understands."""
    return [Cell("sick", ("sick",), variant, None, 0, "final", {}) for variant in variants]


@pytest.fixture(autouse=True)
def fake_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that import no torch and do as their orders' names say."""

    def start(name: str, experiment: Path, threads: int) -> "subprocess.Popen[str]":
        pipe = subprocess.PIPE
        words = [sys.executable, "-c", FAKE, str(experiment)]
        return subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, start_new_session=True)

    monkeypatch.setattr(workers, "_start", start)


def run(n: int, orders: list[Cell], folder: Path) -> list[Record]:
    """Have runs made; returns records as they arrived."""
    found: list[Record] = []
    LocalWorkers(n).run(orders, folder, keep_models=False, on_start=lambda cell: None, on_done=found.append)
    return found


def test_every_run_arrives_once_from_several_workers(tmp_path: Path) -> None:
    found = run(2, cells("a", "b", "c", "d", "e"), tmp_path)
    assert sorted(record.variant for record in found) == ["a", "b", "c", "d", "e"]


def test_worker_that_dies_costs_its_own_run_only(tmp_path: Path) -> None:
    found = {record.variant: record for record in run(1, cells("a", "dies", "b"), tmp_path)}
    assert {name: record.status for name, record in found.items()} == {"a": "done", "dies": "failed", "b": "done"}
    error = found["dies"].error
    assert error is not None
    assert error["type"] == "WorkerDied"
    assert "SIGKILL" in error["message"]
    (tmp_path / "experiment.yaml").touch()
    assert {record.status for record in read_records(tmp_path)} == {"done", "failed"}


@pytest.mark.usefixtures("hears_ctrl_c")
def test_ctrl_c_lets_workers_save(tmp_path: Path) -> None:

    def interrupt() -> None:
        while not (tmp_path / "slow").exists():
            time.sleep(0.02)
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt, match="same command"):
        run(1, cells("slow", "never"), tmp_path)
    assert (tmp_path / "saved").exists()
    assert not (tmp_path / "runs").exists()


def test_an_error_beside_the_runs_is_not_swallowed(tmp_path: Path) -> None:
    def fails(record: Record) -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        LocalWorkers(1).run(cells("a"), tmp_path, keep_models=False, on_start=lambda cell: None, on_done=fails)


@pytest.mark.parametrize(("n", "threads"), [(0, None), (1, 0)])
def test_numbers_below_one_are_refused(n: int, threads: Any) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        LocalWorkers(n, threads)


def test_records_are_written_whole(tmp_path: Path) -> None:
    record = Record("x", "sick", "regression", "a", 0, "final", "done", cost={"train_s": float("nan")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_record(record, tmp_path)
    assert list((tmp_path / "runs").glob("*.json")) == []
