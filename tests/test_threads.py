"""Threads: the user's word first, then what the machine gives to this process."""

import subprocess
import sys

import joblib
import pytest

from predgen.compare.workers import LocalWorkers
from predgen.threads import available_threads


@pytest.mark.parametrize(("wished", "threads"), [("1", 1), ("3", 3), ("4,2", 4), (" 2 ", 2)])
def test_the_variable_stands_whatever_the_cores(monkeypatch: pytest.MonkeyPatch, wished: str, threads: int) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", wished)
    assert (available_threads(1), available_threads(8), LocalWorkers(2).threads) == (threads, threads, threads)


@pytest.mark.parametrize(("cores", "processes", "threads"), [(8, 1, 8), (8, 2, 4), (8, 3, 2), (2, 2, 1), (1, 4, 1)])
def test_cores_that_may_be_used_are_shared_out(
    monkeypatch: pytest.MonkeyPatch, cores: int, processes: int, threads: int
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(joblib, "cpu_count", lambda: cores)
    assert (available_threads(processes), LocalWorkers(processes).threads) == (threads, threads)


@pytest.mark.parametrize("nonsense", ["", "many", "0", "-1"])
def test_a_variable_that_is_no_number_does_not_count(monkeypatch: pytest.MonkeyPatch, nonsense: str) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", nonsense)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 6)
    assert available_threads(3) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="affinity is set by the system's own call")
def test_affinity_bounds_the_threads() -> None:
    code = (
        "import os; os.environ.pop('OMP_NUM_THREADS', None); os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from predgen.threads import available_threads; print(available_threads())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["1"]


def test_given_threads_come_before_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert LocalWorkers(2, threads=5).threads == 5
