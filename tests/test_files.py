"""Locks and whole files: one writer at a time, the old file or the new one, errors in words."""

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from predgen.errors import BusyError, StorageError
from predgen.files import locked, replacing, sync, told_in_words, write_text


def in_another_thread(action: Callable[[], object]) -> BaseException | None:
    """What another writer meets."""
    met: list[BaseException] = []

    def act() -> None:
        try:
            action()
        except BaseException as error:
            met.append(error)

    thread = threading.Thread(target=act)
    thread.start()
    thread.join()
    return met[0] if met else None


def take(place: Path) -> Callable[[], object]:
    def act() -> None:
        with locked(place):
            pass

    return act


@pytest.mark.parametrize("kind", ["file", "file to be", "folder"])
def test_a_held_place_is_refused_to_others_and_free_afterwards(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "place"
    if kind == "folder":
        place.mkdir()
    elif kind == "file":
        place.write_text("old")
    before = sorted(tmp_path.rglob("*"))
    with locked(place):
        error = in_another_thread(take(place))
        assert isinstance(error, BusyError)
        assert str(place) in str(error)
        with locked(place):  # what holds a folder may save a model in it
            pass
        assert isinstance(in_another_thread(take(place)), BusyError), "the inner block gave the lock away"
    assert in_another_thread(take(place)) is None
    assert sorted(tmp_path.rglob("*")) == before


def test_a_link_and_its_file_are_one_place(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with locked(tmp_path / "link"):
        assert isinstance(in_another_thread(take(tmp_path / "file")), BusyError)


HOLDS = """
import sys, time
from pathlib import Path
from predgen.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_process_lets_go(tmp_path: Path) -> None:
    place = tmp_path / "place"
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(place)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(BusyError), locked(place):
            pass
        process.send_signal(signal.SIGKILL)
    with locked(place):
        pass
    assert list(tmp_path.iterdir()) == []


def test_many_writers_never_hold_a_place_together(tmp_path: Path) -> None:
    place, inside, worst, done = tmp_path / "place", [0], [0], [0]

    def work() -> None:
        for _ in range(20):
            with locked(place, wait_s=60):
                inside[0] += 1
                worst[0] = max(worst[0], inside[0])
                done[0] += 1
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (worst, done) == ([1], [160])
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyError), replacing(path) as draft:
        draft.write_text("half of the n")
        raise KeyError
    assert path.read_text() == "old"
    write_text(path, "new")
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_the_target_of_a_link_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "far" / "file")
    for text in ("first", "second"):
        write_text(link, text)
        assert (link.is_symlink(), (tmp_path / "far" / "file").read_text()) == (True, text)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO])
def test_the_system_s_refusals_are_told_with_the_place(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(StorageError) as caught:
        write_text(tmp_path / "file", "new")
    assert str(tmp_path / "file") in str(caught.value)
    assert os.strerror(number) in str(caught.value)
    assert (tmp_path / "file").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


LIMITED = """
import resource, sys
import torch
from safetensors.torch import save_file
from predgen.errors import StorageError
from predgen.files import told_in_words
path = sys.argv[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
tensor = torch.zeros(100_000)
for write in (
    lambda: torch.save(tensor, path),
    lambda: save_file({"a": tensor}, path),
    lambda: open(path, "wb").write(bytes(200_000)),
):
    try:
        with told_in_words(path, "go on"):
            write()
    except StorageError as error:
        print("disk full" in str(error) and path in str(error) and "go on" in str(error))
"""


def test_torch_and_safetensors_are_understood_where_the_disk_is_full(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "file")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split() == ["True"] * 3, done.stderr


def test_other_errors_pass() -> None:
    for error in (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), FileNotFoundError(2, "no", "x")):
        with pytest.raises(type(error)), told_in_words(Path("x")):
            raise error


def test_folders_are_synced_file_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    save_file({"w": torch.zeros(2)}, str(tmp_path / "a" / "w.safetensors"))
    (tmp_path / "b").write_text("b")
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    sync(tmp_path)
    assert sorted(synced) == sorted(p.stat().st_ino for p in tmp_path.rglob("*") if p.is_file())
