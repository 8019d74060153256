"""What a server counts, for Prometheus."""

import os
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from predgen.serving.batcher import ModelTurn
from predgen.serving.settings import SHARED_COUNTS

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class ServerFigures:
    """Counters of one server; of all its processes, where there are several."""

    def __init__(self) -> None:
        own = self._registry = CollectorRegistry()
        self._requests = Counter("predgen_requests", "Requests, by path and status.", ("path", "status"), registry=own)
        self._seconds = Histogram(
            "predgen_request_seconds", "From a request to its answer.", ("path",), buckets=_SECONDS, registry=own
        )
        self._rows = Counter("predgen_rows", "Rows that were run.", ("model",), registry=own)
        self._tokens = Counter("predgen_tokens", "Tokens that were run.", ("model",), registry=own)
        self._turns = Histogram(
            "predgen_batch_seconds", "One run of the model.", ("model",), buckets=_SECONDS, registry=own
        )
        self._together = Histogram(
            "predgen_batch_requests", "Requests that were run together.", ("model",), buckets=_SIZES, registry=own
        )
        self._waiting = Gauge(
            "predgen_waiting_rows", "Rows that wait or are run.", multiprocess_mode="livesum", registry=own
        )

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            path: The route, not what a client wrote: there are only so many.
            status: HTTP status; 499: the client went before it was answered.
            seconds: How long it took.
        """
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def turn(self, turn: ModelTurn, waiting: int) -> None:
        """Count a run of a model."""
        model = turn.key[0]
        self._rows.labels(model).inc(turn.items)
        self._tokens.labels(model).inc(turn.tokens)
        self._turns.labels(model).observe(turn.seconds)
        self._together.labels(model).observe(turn.works)
        self._waiting.set(waiting)

    def text(self, waiting: int) -> bytes:
        """Return everything in Prometheus' text format."""
        self._waiting.set(waiting)
        if SHARED_COUNTS not in os.environ:
            return generate_latest(self._registry)
        _forget_dead_processes(Path(os.environ[SHARED_COUNTS]))
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)


def _forget_dead_processes(folder: Path) -> None:
    """What waited in a process that is gone waits no more."""
    for file in folder.glob("gauge_live*_*.db"):
        process = int(file.stem.rpartition("_")[2])
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            mark_process_dead(process, str(folder))  # type: ignore[no-untyped-call]
