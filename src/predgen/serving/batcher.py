"""One thread that runs a model for all clients: what waits is run together, by a budget of tokens.

request -> `Work` -> queue -> turns of one thread -> results, back to each request

While a turn runs, requests gather, and the next turn takes as many of them as its budget allows: nothing waits for company,
and the more clients there are, the larger the batches. A request too large for a turn goes to the end of the queue with what
is left of it, so that it cannot hold up the small ones behind it.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

_LEAST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0
_MEMORY = 0.8  # of the speed so far in the moving average


class QueueFullError(Exception):
    """There is no room for a request now.

    Attributes:
        retry_after_s: Seconds after which there should be.
    """

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"the queue is full; try again in {retry_after_s:.0f} s")
        self.retry_after_s = retry_after_s


class StoppedError(Exception):
    """The thread takes no more work."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one request asks for.

    Attributes:
        key: Name of the model, then how it is asked; items of all works with the same key may be run in one call.
        run: Gives a result per item, in order; only the thread calls it.
        items: What to run.
        tokens: How many tokens each item takes.
        budget: Most tokens of a call, items counted as wide as the widest.
    """

    key: tuple[str, ...]
    run: Callable[[list[Any]], list[Any]]
    items: Sequence[Any]
    tokens: Sequence[int]
    budget: int


@dataclass(slots=True, eq=False)
class _Waiting:
    """A work in the queue, with what is known of it so far."""

    work: Work
    future: "Future[list[Any]]" = field(default_factory=Future)
    found: list[Any] = field(default_factory=list)

    @property
    def left(self) -> int:
        return len(self.work.items) - len(self.found)


@dataclass(frozen=True, slots=True)
class _Share:
    """What one work has in a turn."""

    waiting: _Waiting
    items: list[Any]
    tokens: int


@dataclass(frozen=True, slots=True)
class ModelTurn:
    """What was run in one go, for figures.

    Attributes:
        key: Of the works in it.
        works: How many requests had items in it.
        items: How many items.
        tokens: How many tokens, padding left out.
        seconds: How long it took.
    """

    key: tuple[str, ...]
    works: int
    items: int
    tokens: int
    seconds: float


class Batcher:
    """The queue and its thread.

    Args:
        max_items: Most items that wait; a work is refused beyond, unless nothing waits.
        on_turn: Told of every turn, by the thread.
    """

    def __init__(self, max_items: int, on_turn: Callable[[ModelTurn], None] | None = None) -> None:
        self._max_items = max_items
        self._on_turn = on_turn
        self._queue: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._is_stopped = False
        self._tokens_per_s = 0.0
        self._thread = threading.Thread(target=self._loop, name="predgen-model", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float | None = None) -> None:
        """Take no more work, finish what waits, and end the thread."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def n_items(self) -> int:
        """How many items wait."""
        with self._changed:
            return self._n_items()

    def submit(self, work: Work) -> "Future[list[Any]]":
        """Queue a work; cancel the future where nobody waits for it any more.

        Raises:
            QueueFullError: If there is no room.
            StoppedError: If `stop` was called.
        """
        waiting = _Waiting(work)
        with self._changed:
            if self._is_stopped:
                raise StoppedError("the server is shutting down")
            n_items = self._n_items()
            if n_items and n_items + len(work.items) > self._max_items:
                raise QueueFullError(self._wait_s())
            self._queue.append(waiting)
            self._changed.notify_all()
        return waiting.future

    def _n_items(self) -> int:
        """Items of works that somebody waits for; those of others leave the queue."""
        if any(waiting.future.cancelled() for waiting in self._queue):
            self._queue = deque(waiting for waiting in self._queue if not waiting.future.cancelled())
        return sum(waiting.left for waiting in self._queue)

    def _wait_s(self) -> float:
        """About how long what waits will take."""
        tokens = sum(sum(waiting.work.tokens[len(waiting.found) :]) for waiting in self._queue)
        seconds = tokens / self._tokens_per_s if self._tokens_per_s else 0.0
        return min(max(seconds, _LEAST_WAIT_S), _LONGEST_WAIT_S)

    def _loop(self) -> None:
        """Run turns until there is no more to do."""
        while turn := self._next_turn():
            self._run(turn)
            del turn  # what was answered is not kept while nothing comes

    def _next_turn(self) -> list[_Share]:
        """Wait for work; none comes once stopped."""
        with self._changed:
            while not self._n_items() and not self._is_stopped:
                self._changed.wait()
            return self._taken() if self._queue else []

    def _taken(self) -> list[_Share]:
        """Take from the oldest work, and from those that can be run with it, as much as the budget allows."""
        head = self._queue[0].work
        shares: list[_Share] = []
        n_items = width = 0
        for waiting in self._queue:
            if waiting.work.key != head.key:
                continue
            at, tokens = len(waiting.found), 0
            items: list[Any] = []
            while at + len(items) < len(waiting.work.items):
                size = waiting.work.tokens[at + len(items)]
                if n_items and (n_items + 1) * max(width, size) > head.budget:
                    break
                items.append(waiting.work.items[at + len(items)])
                n_items, width, tokens = n_items + 1, max(width, size), tokens + size
            if not items:
                break
            shares.append(_Share(waiting, items, tokens))
        return shares

    def _run(self, turn: list[_Share]) -> None:
        """Run a turn and hand out what it gave; where it fails, each work alone, so that one cannot spoil the others."""
        start = time.perf_counter()
        try:
            results = iter(turn[0].waiting.work.run([item for share in turn for item in share.items]))
            given = [(share, [next(results) for _ in share.items]) for share in turn]
        except Exception as error:  # handed to whom it concerns
            if len(turn) > 1:
                for share in turn:
                    self._run([share])
            else:
                self._leave(turn[0].waiting)
                _finish(turn[0].waiting.future, error)
            return
        for share, found in given:
            share.waiting.found.extend(found)
            self._leave(share.waiting)
            if share.waiting.left:
                with self._changed:
                    self._queue.append(share.waiting)
            else:
                _finish(share.waiting.future, share.waiting.found)
        self._note(turn, time.perf_counter() - start)

    def _leave(self, waiting: _Waiting) -> None:
        """Take a work out of the queue; cancelled ones have left it."""
        with self._changed:
            if waiting in self._queue:
                self._queue.remove(waiting)

    def _note(self, turn: list[_Share], seconds: float) -> None:
        """Remember how fast it went."""
        tokens = sum(share.tokens for share in turn)
        speed = tokens / max(seconds, 1e-9)
        self._tokens_per_s = _MEMORY * self._tokens_per_s + (1 - _MEMORY) * speed if self._tokens_per_s else speed
        if self._on_turn is not None:
            items = sum(len(share.items) for share in turn)
            self._on_turn(ModelTurn(turn[0].waiting.work.key, len(turn), items, tokens, seconds))


def _finish(future: "Future[list[Any]]", outcome: list[Any] | Exception) -> None:
    """Set a result or an error, unless nobody waits for it."""
    if not future.set_running_or_notify_cancel():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
