"""A case in a process of its own: limited in CPU time and memory, and whatever it does, the campaign goes on."""

import os
import resource
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

CPU_S = 20
MEMORY = 12 << 30


def outcome_of(action: Callable[[], str], folder: Path) -> str:
    """How an action ends in a fork: what it returns, "refused" (an error of predgen's own), "error TYPE", "hang" or "died".

    Args:
        action: Returns one word or two.
        folder: Where it runs, as a notebook there would.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _in_child(action, folder, writing)
    os.close(writing)
    deadline, said = time.monotonic() + 50 * CPU_S, b""  # a busy machine shares its time
    os.set_blocking(reading, False)
    while True:
        try:
            part = os.read(reading, 65536)
            if not part:
                break
            said += part
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.kill(child, 9)
                break
            time.sleep(0.01)
    os.close(reading)
    status = os.waitpid(child, 0)[1]
    return said.decode(errors="replace") or ("hang" if status else "died")


def _in_child(action: Callable[[], str], folder: Path, writing: int) -> None:
    """Act under limits; never returns."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    warnings.simplefilter("ignore")
    os.chdir(folder)
    sys.path.insert(0, "")
    from predgen.errors import PredgenError

    try:
        outcome = action()
    except (PredgenError, OSError) as error:
        outcome = "refused" if str(error).strip() else "error without a sentence"
    except BaseException as error:
        outcome = told(error)
    os.write(writing, outcome.encode(errors="replace"))
    os._exit(0)


def told(error: BaseException) -> str:
    """An error that is no user's, and where it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    where = [f"{Path(f.filename).name}:{f.lineno}" for f in frames if "predgen" in f.filename][-2:]
    return f"error {type(error).__name__}: {str(error)[:80]} at {' '.join(where)}"
