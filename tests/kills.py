"""Ending a process at every file operation, to see what it leaves.

`run_child(action, folder, Kill(7))` ends the process before its seventh operation below the folder.
The child is a fork, so that nothing is imported or built again: one kill costs what the work itself costs. Operations are
heard by an audit hook (opening for writing, renaming, removing, making and removing folders, truncating) and by a wrapper
around fsync, which comes between a file's bytes and its name. What native code writes (safetensors, torch) raises no event,
but stands between two operations that do.
"""

import gc
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_EVENTS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink")
_REMOVING = ("os.remove", "os.rmdir")


@dataclass(frozen=True)
class Kill:
    """End the process, without any warning, before its n-th operation."""

    at: int

    def __call__(self, number: int, event: str) -> None:
        if number == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Signal:
    """Send signals to the process at its n-th operation."""

    at: int
    numbers: tuple[int, ...]

    def __call__(self, number: int, event: str) -> None:
        if number == self.at:
            for one in self.numbers:
                os.kill(os.getpid(), one)


@dataclass(frozen=True)
class Refuse:
    """From the n-th operation on, nothing can be written any more: the disk is full, or has become read-only."""

    at: int
    number: int

    def __call__(self, number: int, event: str) -> None:
        if number >= self.at and event not in _REMOVING:
            raise OSError(self.number, os.strerror(self.number))


@dataclass(frozen=True)
class Outcome:
    """How a child ended.

    Attributes:
        operations: How many it did.
        was_killed: Whether SIGKILL ended it.
        error: Name and message of the exception that ended it; empty where there was none.
        value: What the action returned, as JSON data.
    """

    operations: int
    was_killed: bool
    error: str = ""
    value: Any = None
    events: list[str] = field(default_factory=list)


def run_child(
    action: Callable[[], Any], folder: Path, at_operation: Callable[[int, str], None] | None = None
) -> Outcome:
    """Run an action in a child.

    Args:
        action: Returns plain JSON data.
        folder: Operations below it count.
        at_operation: Called before each with its number, from 1, and its event.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        _be_child(action, str(folder.resolve()), at_operation or (lambda number, event: None), write)
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, f"ended by signal {os.WTERMSIG(status)}"
        return Outcome(0, True)
    assert text, f"the child ended with status {status} and said nothing"
    return Outcome(was_killed=False, **json.loads(text))


def _be_child(action: Callable[[], Any], folder: str, at_operation: Callable[[int, str], None], answer: int) -> None:
    """Act, answer, and end without the parent's tidying up."""
    gc.freeze()  # the parent's objects are of no concern here, and there are millions
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    events: list[str] = []
    is_over = False

    def heard(event: str, *names: Any) -> None:
        if not is_over and any(str(name).startswith(folder) for name in names):
            events.append(f"{event} {os.path.relpath(str(names[-1]), folder)}")
            at_operation(len(events), event)

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _EVENTS:
            heard(event, *(os.fsdecode(a) for a in arguments if isinstance(a, str | bytes | os.PathLike)))
        elif event == "open" and isinstance(arguments[0], str | bytes) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            heard(event, os.fsdecode(arguments[0]))

    fsync = os.fsync

    def synced(descriptor: int) -> None:
        heard("fsync", os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    os.fsync = synced
    sys.addaudithook(audit)
    result: dict[str, Any] = {"value": None, "error": ""}
    try:
        result["value"] = action()
    except BaseException as error:
        result["error"] = f"{type(error).__name__}: {error}"
        if os.environ.get("SHOW_ERRORS"):
            traceback.print_exc()
    is_over = True
    os.write(answer, json.dumps({**result, "operations": len(events), "events": events}).encode())
    os._exit(0)


def places(total: int, most: int | None = None) -> list[int]:
    """Numbers of operations to end at: all, or `most` of them, evenly, the first and the last among them."""
    if most is None or most >= total:
        return list(range(1, total + 1))
    return sorted({1 + round(i * (total - 1) / (most - 1)) for i in range(most)})
