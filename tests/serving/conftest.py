"""Two calibrated tiny runs, and a server with both in this process."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from starlette.testclient import TestClient

from predgen.inference.trained import TrainedModel, load
from predgen.serving.app import make_app
from predgen.serving.served import ServedModel
from predgen.serving.settings import ServeSettings
from tiny_runs import tiny_base, tiny_data, tiny_run


@dataclass(frozen=True)
class ServedRuns:
    """The runs and where they lie."""

    labels: Path
    numbers: Path

    def models(self) -> list[ServedModel]:
        """Both, read anew."""
        return [ServedModel.read(folder) for folder in (self.labels, self.numbers)]


@pytest.fixture(scope="session")
def served_runs(tmp_path_factory: pytest.TempPathFactory) -> ServedRuns:
    folder = tmp_path_factory.mktemp("served")
    base = tiny_base(folder / "base")
    for kind, name in (("classification", "moods"), ("regression", "points")):
        tiny_run(base, kind, tiny_data(kind, 16, 120), folder / name, max_steps=2, decimals=1)
    return ServedRuns(folder / "moods", folder / "points")


@pytest.fixture(scope="session")
def labelled(served_runs: ServedRuns) -> TrainedModel:
    return load(served_runs.labels, merge_adapter=True)


@pytest.fixture(scope="session")
def numbered(served_runs: ServedRuns) -> TrainedModel:
    return load(served_runs.numbers, merge_adapter=True)


@pytest.fixture(scope="module")
def client(served_runs: ServedRuns) -> Iterator[TestClient]:
    with TestClient(make_app(served_runs.models(), ServeSettings())) as found:
        yield found


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """Serve at a port of this machine, in a thread; gives the address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, lifespan="on", log_config=None, ws="none"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield "http://{}:{}".format(*listening.getsockname())
        server.should_exit = True
        thread.join()


def told(answer: Any) -> Any:
    """What an answer says, which has to be a good one."""
    assert answer.status_code == 200, answer.text
    return answer.json()


def faults(answer: Any) -> list[tuple[tuple[Any, ...], str]]:
    """Where a refused request is wrong, and how."""
    assert answer.status_code == 422, answer.text
    return [(tuple(one["loc"][1:]), one["msg"]) for one in answer.json()["detail"]]
