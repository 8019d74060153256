"""Folders on a real Ray cluster of two workers, with a worker killed, and a driver killed and started again."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from predgen import PredGenClassifier
from predgen.data.sources import read_rows

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

FILES, ROWS = 8, 60
DRIVER = [sys.executable, "-m", "predgen", "predict"]


def at_home(place: str) -> dict[str, str]:
    """An environment whose home is a place of its own: Ray keeps there what lets a driver into its cluster."""
    return {**os.environ, "HOME": place}


def wait_until(holds: Callable[[], object], seconds: float = 120) -> None:
    """Wait for something to come true."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.05)


def fields_of(pid: int) -> tuple[str, int]:
    """A process's title, and its parent."""
    try:
        title = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return "", 0
    return title, parent


def workers_of(cluster: int) -> list[int]:
    """Processes of our actors below a cluster's first process."""
    found = []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        title, above = fields_of(pid)
        while above not in (0, 1, cluster):
            above = fields_of(above)[1]
        if above == cluster and title.startswith("ray::RayWorker"):
            found.append(pid)
    return sorted(found)


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[str, int, str]]:
    """A cluster of one machine and two processors: its address, its first process, and the home of all that belongs to it."""
    place = tempfile.mkdtemp(prefix="ray-")  # short: a socket's path may have 107 characters
    ray = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]
    port = 20000 + os.getpid() % 20000
    options = f"start --head --block --num-cpus 2 --include-dashboard=false --port {port} --temp-dir {place}"
    options += " --disable-usage-stats --object-store-memory 100000000"
    with open(f"{place}/log", "w") as log:
        words = [*ray, *options.split()]
        process = subprocess.Popen(words, env=at_home(place), stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until(lambda: "started" in Path(f"{place}/log").read_text())
        yield f"127.0.0.1:{port}", process.pid, place
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the embedded base, rows to predict, and what the plain engine writes."""
    folder = tmp_path_factory.mktemp("ray")
    model = PredGenClassifier("embedded", prompt="Review: {text}\nMood:", max_steps=2, validation_fraction=0)
    model.fit(["A splendid evening.", "A dreadful play."] * 8, ["good", "bad"] * 8).save(folder / "run")
    (folder / "in").mkdir()
    for number in range(FILES):
        rows = range(number * ROWS, (number + 1) * ROWS)
        frame = pd.DataFrame({"id": rows, "text": [f"An evening of {i} words. " * (1 + i % 30) for i in rows]})
        frame.to_parquet(folder / "in" / f"part-{number}.parquet")
    subprocess.run([*DRIVER, folder / "run", folder / "in", "-o", folder / "plain", "--proba"], check=True)
    return folder


def begin(made: Path, out: Path, address: str, home: str) -> "subprocess.Popen[str]":
    """Start a driver."""
    command = [*DRIVER, made / "run", made / "in", "-o", out, "--proba", "--engine", "ray", "--workers", "2"]
    environment = {**at_home(home), "RAY_ADDRESS": address}
    return subprocess.Popen(
        [str(word) for word in command], env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def finished(out: Path) -> list[Path]:
    """Outputs that are in their place."""
    return sorted(out.glob("part-?.parquet"))


def require_the_same(made: Path, out: Path) -> None:
    """Every row once, as the plain engine has it, and nothing left lying about."""
    ids = [row["id"] for path in finished(out) for row in read_rows(path)]
    assert ids == list(range(FILES * ROWS))
    for path in finished(out):
        assert path.read_bytes() == (made / "plain" / path.name).read_bytes()
    assert {path.name for path in out.iterdir()} == {path.name for path in (made / "plain").iterdir()}


def test_a_killed_worker_loses_and_repeats_no_row(cluster: tuple[str, int, str], made: Path, tmp_path: Path) -> None:
    address, first, home = cluster
    out = tmp_path / "out"
    driver = begin(made, out, address, home)
    wait_until(lambda: finished(out) or driver.poll() is not None)
    assert driver.poll() is None, driver.communicate()[1]
    before = workers_of(first)
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    _, said = driver.communicate(timeout=200)
    assert driver.returncode == 0, said
    assert f"{FILES} files in" in said
    require_the_same(made, out)


def test_a_killed_and_restarted_driver_loses_and_repeats_no_row(
    cluster: tuple[str, int, str], made: Path, tmp_path: Path
) -> None:
    address, _, home = cluster
    out = tmp_path / "out"
    driver = begin(made, out, address, home)
    wait_until(lambda: finished(out) or driver.poll() is not None)
    assert driver.poll() is None, driver.communicate()[1]
    driver.kill()
    driver.communicate()
    early = {path: path.stat().st_mtime_ns for path in finished(out)}
    assert 0 < len(early) < FILES
    again = begin(made, out, address, home)  # at once: workers of the first one may still be at it
    _, said = again.communicate(timeout=200)
    assert again.returncode == 0, said
    assert "of them from earlier calls" in said
    assert {path: path.stat().st_mtime_ns for path in early} == early
    require_the_same(made, out)


def test_without_a_cluster_one_is_started_and_ended(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    driver = begin(made, out, "", str(tmp_path))
    _, said = driver.communicate(timeout=200)
    assert driver.returncode == 0, said
    require_the_same(made, out)
