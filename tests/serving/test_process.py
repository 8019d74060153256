"""The server as a process: the port, the signal that ends it, several processes behind one port."""

import functools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cli_runs import predgen, refused
from predgen.cli.main import app
from predgen.errors import ConfigError
from predgen.inference.trained import TrainedModel
from predgen.serving.run import serve_models
from predgen.serving.settings import ServePlan, ServeSettings
from serving.conftest import ServedRuns

WAIT_S = 60


@dataclass
class Process:
    """A fork that serves: nothing is imported again."""

    pid: int
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged."""
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]

    def address(self) -> str:
        """Where it is reached, as soon as it is."""
        end = time.monotonic() + WAIT_S
        while not (found := re.search(r'"address": "(http:[^"]+)"', self.log.read_text(encoding="utf-8"))):
            assert time.monotonic() < end, self.log.read_text(encoding="utf-8")
            time.sleep(0.02)
        return found[1]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        os.kill(self.pid, number)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def forked(log: Path, words: list[str], before: Callable[[], None] = lambda: None) -> Process:
    """Run `predgen` in a fork; its standard error goes to a file."""
    log.touch()
    if pid := os.fork():
        return Process(pid, log)
    try:
        os.dup2(os.open(log, os.O_WRONLY), 2)
        sys.stderr = os.fdopen(2, "w", buffering=1)
        before()
        app(words, standalone_mode=False)
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException as error:
        sys.stderr.write(json.dumps({"died": repr(error)}) + "\n")
        status = 99
    os._exit(status)


def slow() -> None:
    """Have each turn of the model take its time."""
    real = TrainedModel.predict_encoded

    @functools.wraps(real)
    def predict(*args: Any, **kwargs: Any) -> Any:
        time.sleep(0.1)
        return real(*args, **kwargs)

    TrainedModel.predict_encoded = predict  # type: ignore[method-assign]


@pytest.fixture
def server(served_runs: ServedRuns, tmp_path: Path) -> Iterator[Process]:
    words = ["serve", str(served_runs.labels), "--port", "0", "--max-batch-tokens", "80"]
    found = forked(tmp_path / "log", words, slow)
    yield found
    try:
        os.kill(found.pid, signal.SIGKILL)
        os.waitpid(found.pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass  # a test has ended it


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_was_taken_is_answered_before_the_signal_ends_it(server: Process, number: int, hears_ctrl_c: None) -> None:
    address = server.address()
    texts = [f"a dull book {i}" for i in range(12)]
    outcomes: dict[str, list[Any]] = {text: [] for text in texts}
    begun = threading.Semaphore(0)

    def ask(text: str) -> None:
        with httpx2.Client(timeout=WAIT_S) as client:
            try:
                begun.release()
                answer = client.post(f"{address}/predict", json={"rows": [text]})
                outcomes[text].append(answer.status_code)
            except httpx2.TransportError as error:
                outcomes[text].append(type(error).__name__)

    with ThreadPoolExecutor(len(texts)) as pool:
        asked = [pool.submit(ask, text) for text in texts[:8]]
        for _ in range(8):
            begun.acquire()
        time.sleep(0.3)  # some are answered, some run, some wait
        os.kill(server.pid, number)
        time.sleep(0.2)
        asked += [pool.submit(ask, text) for text in texts[8:]]
        for one in asked:
            one.result(WAIT_S)
    assert os.waitstatus_to_exitcode(os.waitpid(server.pid, 0)[1]) == 0
    assert [outcomes[text] for text in texts[:8]] == [[200]] * 8
    assert [outcomes[text] for text in texts[8:]] == [["ConnectError"]] * 4
    done = [line["status"] for line in server.lines() if line["event"] == "request"]
    assert done == [200] * 8


def test_a_port_that_is_taken_is_told_before_a_model_is_loaded(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"`port` {port} at `host` '127.0.0.1' cannot be had"):
            serve_models(ServePlan((str(tmp_path / "no-model"),), ServeSettings(port=port)))


def test_an_address_of_another_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`host` '192\.0\.2\.1'"):  # TEST-NET-1 is nobody's
        serve_models(ServePlan((str(tmp_path / "no-model"),), ServeSettings(host="192.0.2.1", port=0)))


def test_mistakes_of_the_command_line_are_told(
    served_runs: ServedRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "nowhere" in refused(predgen("serve", tmp_path / "nowhere"))
    assert "'moods'" in refused(predgen("serve", served_runs.labels, served_runs.labels))
    monkeypatch.setenv("PREDGEN_API_KEY", "")
    assert "`api_key`" in refused(predgen("serve", served_runs.labels))
    monkeypatch.delenv("PREDGEN_API_KEY")
    monkeypatch.setattr("predgen.serving.settings.find_spec", lambda name: None)
    assert "predgen[serve]" in refused(predgen("serve", served_runs.labels))


@pytest.mark.slow
def test_several_processes_share_a_port_and_count_together(served_runs: ServedRuns, tmp_path: Path) -> None:
    words = ["serve", str(served_runs.labels), "--port", "0", "--workers", "2"]
    with (tmp_path / "log").open("w") as log:
        started = subprocess.Popen([sys.executable, "-m", "predgen", *words], stderr=log)
    server = Process(started.pid, tmp_path / "log")
    try:
        address = server.address()
        ready = lambda: sum(line["event"] == "Application startup complete." for line in server.lines())  # noqa: E731
        end = time.monotonic() + 3 * WAIT_S
        while ready() < 2:
            assert time.monotonic() < end
            time.sleep(0.1)
        for i in range(40):
            assert httpx2.post(f"{address}/predict", json={"rows": [f"tea {i}"]}, timeout=WAIT_S).status_code == 200
        found = {httpx2.get(f"{address}/metrics", timeout=WAIT_S).text for _ in range(4)}
        assert all(re.search(r'predgen_rows_total\{model="moods"\} 40\.0', text) for text in found)
        served_by = {line["process"] for line in server.lines() if line.get("path") == "/predict"}
        assert len(served_by) == 2
        started.send_signal(signal.SIGTERM)
        assert started.wait(WAIT_S) == 0
    finally:
        started.kill()
        started.wait(WAIT_S)
