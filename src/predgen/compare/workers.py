"""Where runs are made: worker processes on this machine, behind an interface that a cluster's scheduler can implement.

A worker is a process of its own, so that a run which dies (out of memory, a crash in native code) takes nothing with it but
itself. It reads orders from standard input and answers on a pipe, one JSON line each; it writes its records itself.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from predgen import registries
from predgen.compare.plan import Cell
from predgen.errors import ConfigError, StorageError
from predgen.records import WORKER_DIED, Record, find_record, is_cut_off, write_record
from predgen.threads import available_threads

_GRACE_S = 60.0  # for a worker to save a checkpoint after Ctrl-C


@runtime_checkable
class Engine(Protocol):
    """Makes runs somewhere."""

    def run(
        self,
        cells: Sequence[Cell],
        experiment: Path,
        *,
        keep_models: bool,
        on_start: Callable[[Cell], None],
        on_done: Callable[[Record], None],
    ) -> None:
        """Make all runs; their records are in the experiment's folder afterwards.

        Args:
            cells: The runs.
            experiment: The experiment's folder, which the runs share.
            keep_models: Keep the trained models there.
            on_start: Called when a run begins.
            on_done: Called with each record as it arrives, from one thread at a time.

        Raises:
            KeyboardInterrupt: After Ctrl-C; what was under way can be gone on with.
        """
        ...


class LocalWorkers(Engine):
    """Processes on this machine.

    Args:
        n: Number of processes.
        threads: Threads of torch in each; None: OMP_NUM_THREADS, or the cores that may be used shared out.

    Raises:
        ConfigError: If a number is below 1.
    """

    def __init__(self, n: int = 1, threads: int | None = None) -> None:
        if n < 1 or (threads is not None and threads < 1):
            raise ConfigError(f"`workers` is {n} and `threads` {threads}, but both must be at least 1.")
        self.n = n
        self.threads = threads or available_threads(n)

    def run(
        self,
        cells: Sequence[Cell],
        experiment: Path,
        *,
        keep_models: bool,
        on_start: Callable[[Cell], None],
        on_done: Callable[[Record], None],
    ) -> None:
        orders: queue.SimpleQueue[Cell] = queue.SimpleQueue()
        for cell in cells:
            orders.put(cell)
        shared = _Shared(orders, experiment, keep_models, self.threads, on_start, on_done)
        hands = [_Hand(number, shared) for number in range(min(self.n, len(cells)))]
        for hand in hands:
            hand.start()
        try:
            for hand in hands:
                while hand.is_alive():
                    hand.join(0.2)  # with a limit, so that Ctrl-C is heard
        except KeyboardInterrupt:
            shared.stopped.set()
            for hand in hands:
                hand.interrupt()
            raise KeyboardInterrupt(
                "runs that were under way go on from their checkpoints with the same command"
            ) from None
        for hand in hands:
            if hand.error is not None:
                raise hand.error


class _Shared:
    """What the threads that look after workers have in common."""

    def __init__(
        self,
        orders: "queue.SimpleQueue[Cell]",
        experiment: Path,
        keep_models: bool,
        threads: int,
        on_start: Callable[[Cell], None],
        on_done: Callable[[Record], None],
    ) -> None:
        self.orders = orders
        self.experiment = experiment
        self.keep_models = keep_models
        self.threads = threads
        self.on_start = on_start
        self.on_done = on_done
        self.lock = threading.Lock()
        self.stopped = threading.Event()


class _Hand(threading.Thread):
    """Looks after one worker: gives it orders, starts another one where it died."""

    def __init__(self, number: int, shared: _Shared) -> None:
        super().__init__(name=f"worker-{number}", daemon=True)
        self.shared = shared
        self.error: Exception | None = None
        self._process: subprocess.Popen[str] | None = None

    def run(self) -> None:
        try:
            while not self.shared.stopped.is_set():
                try:
                    cell = self.shared.orders.get_nowait()
                except queue.Empty:
                    break
                self._make(cell)
        except Exception as error:  # told by the main thread
            self.error = error
            self.shared.stopped.set()
        finally:
            self._dismiss()

    def _dismiss(self) -> None:
        """Let the worker end: it does so where there are no more orders."""
        if self._process is not None:
            with self._process:  # closes its pipes and waits
                pass

    def _make(self, cell: Cell) -> None:
        """Have one run made."""
        with self.shared.lock:
            self.shared.on_start(cell)
        if self._process is None or self._process.poll() is not None:
            self._dismiss()
            self._process = _start(self.name, self.shared.experiment, self.shared.threads)
        process = self._process
        assert process.stdin is not None, "opened as a pipe"
        assert process.stdout is not None, "opened as a pipe"
        try:
            process.stdin.write(json.dumps({"cell": cell.to_dict(), "keep_models": self.shared.keep_models}) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if self.shared.stopped.is_set():
            return
        answer = answer if answer.endswith("\n") else ""  # a process that dies may cut its answer off
        problem = json.loads(answer).get("error") if answer else None
        if problem is not None:
            raise StorageError(problem)
        record = _record(cell, self.shared.experiment) if answer else None
        if record is None:
            record = _died(cell, process.wait(), self.shared.experiment, self.name)
        with self.shared.lock:
            self.shared.on_done(record)

    def interrupt(self) -> None:
        """Have the worker stop, and give it time to save."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()  # not SIGINT, which a worker of a background job ignores until it has started
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()


def _start(name: str, experiment: Path, threads: int) -> "subprocess.Popen[str]":
    """Start a worker; what its libraries print goes to a log."""
    logs = experiment / "work"
    logs.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    # User modules are where this process found them, which need not be where the worker would look.
    environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(path for path in sys.path if path))
    with (logs / f"{name}.log").open("a", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "predgen.compare.worker", str(experiment)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
            start_new_session=True,  # Ctrl-C comes from us, once, and not from the terminal as well
        )
    assert process.stdin is not None, "opened as a pipe"
    with contextlib.suppress(BrokenPipeError):  # it died at once; the first order finds that out
        process.stdin.write(json.dumps(registries.added()) + "\n")
        process.stdin.flush()
    return process


def _record(cell: Cell, experiment: Path) -> Record | None:
    """The record of a run, if its process has written one."""
    found = find_record(experiment, cell.stage, cell.id)
    return None if found is None or is_cut_off(found) else found


def _died(cell: Cell, status: int, experiment: Path, name: str) -> Record:
    """The record of a run whose process ended without an answer: its own, if it was written before the end."""
    if (made := _record(cell, experiment)) is not None:
        return made
    how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
    hint = "; out of memory is the usual reason" if status == -signal.SIGKILL else ""
    message = (
        f"its process ended with {how}{hint}. See {Path('work') / (name + '.log')} in the experiment's folder; the same"
        " command goes on with the run."
    )
    error = {"type": WORKER_DIED, "message": message, "traceback": ""}
    record = Record(
        id=cell.id,
        task=cell.task,
        kind="",
        variant=cell.variant,
        seed=cell.seed,
        stage=cell.stage,
        status="failed",
        error=error,
        cell=cell.to_dict(),
        choice=dict(cell.choice),
    )
    write_record(record, experiment)
    return record
