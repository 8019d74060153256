"""A worker process: orders on standard input, an answer per order on standard output, nothing else there.

It ends with the process that started it: a worker that outlived its `compare` would write where the next one does.

python -m predgen.compare.worker EXP
"""

import json
import os
import queue
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from predgen import registries
from predgen.compare.cell import run_cell
from predgen.compare.plan import Cell
from predgen.errors import PredgenError


def serve() -> int:
    """Make runs until there are no more orders."""
    # A shell's background jobs are started with Ctrl-C ignored; here it is what `compare` says to end a run.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    experiment = Path(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not look like an answer
    try:
        registries.add(json.loads(sys.stdin.readline() or "{}"))  # what the user's own modules registered comes first
        orders = _Orders()
        while (order := orders.next()) is not None:
            answer = _made(order, experiment)
            orders.done()
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
    except KeyboardInterrupt:
        return 130
    return 0


def _made(order: dict[str, Any], experiment: Path) -> dict[str, Any]:
    """Make a run; what keeps it from being made at all (a full disk, another writer) is told, and is no record."""
    try:
        record = run_cell(Cell.from_dict(order["cell"]), experiment, keep_models=order["keep_models"])
    except PredgenError as error:
        return {"error": str(error)}
    return {"id": record.id, "status": record.status}


class _Orders:
    """Reads orders in a thread of its own, which notices that there is nobody left to give any.

    The pipe is closed when its writer dies, however it dies. A writer that lives closes it only while no run is under way.
    """

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._given = self._done = 0  # each is changed by one thread only
        threading.Thread(target=self._read, daemon=True).start()

    def next(self) -> dict[str, Any] | None:
        """The next order; None where there is none any more."""
        return self._waiting.get()

    def done(self) -> None:
        """The order that was taken last is carried out."""
        self._done += 1

    def _read(self) -> None:
        for line in sys.stdin:
            self._given += 1
            self._waiting.put(json.loads(line))
        if self._given > self._done:
            os.kill(os.getpid(), signal.SIGKILL)  # the next `compare` goes on from the checkpoint
        self._waiting.put(None)


if __name__ == "__main__":
    sys.exit(serve())
