"""Files of a folder predicted by actors of a Ray cluster, one model each.

Actors, not Ray Data: a piece of work is a file here, whose output takes its place in one step, so that after the death of a
worker, a machine or the driver it is known which rows are done. Blocks of Ray Data have no such place of their own.
"""

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from predgen import registries
from predgen.batch.engines import FileEngine, FileForm, FilePiece, PieceDone, predict_piece
from predgen.batch.request import PredictionRequest
from predgen.errors import BusyError, ConfigError, PredgenError
from predgen.threads import use_available_threads

if TYPE_CHECKING:
    from predgen.inference.stream import RowMaker

_DEATHS = 3  # of workers over one file, or while loading the model, before it is not tried again
_BUSY_S = 1.0
_WAIT_S = 60.0  # for the lock of a worker that was taken for dead


class RayWorkers(FileEngine):
    """Actors on the cluster that RAY_ADDRESS names, or that runs on this machine; where there is none, one is started here.

    Each takes a GPU where the cluster has any, else a CPU, and loads the model once.

    Args:
        n: How many; None: as many as the cluster has GPUs, or CPUs. There are never more than files.

    Raises:
        ConfigError: If Ray is not installed, or the number is below 1.
    """

    def __init__(self, n: int | None = None) -> None:
        if n is not None and n < 1:
            raise ConfigError(f"`workers` is {n}, but must be at least 1.")
        self.n = n
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report to its makers
        try:
            import ray
        except ImportError as error:
            raise ConfigError("engine 'ray' needs Ray, which is not installed: pip install 'predgen[ray]'.") from error
        self._ray: Any = ray

    def run(
        self, request: PredictionRequest, pieces: Sequence[FilePiece], form: FileForm, say: Callable[[str], None]
    ) -> Iterator[PieceDone]:
        ray = self._ray
        if not pieces:
            return
        is_ours = not ray.is_initialized()
        if is_ours:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level="warning")
        try:
            has = ray.cluster_resources()
            gpus = int(has.get("GPU", 0))
            n = min(self.n or gpus or int(has.get("CPU", 1)), len(pieces))
            kind = ray.remote(num_cpus=0 if gpus else 1, num_gpus=1 if gpus else 0, max_restarts=-1)(RayWorker)
            actors = [kind.remote(request, registries.added()) for _ in range(n)]
            try:
                yield from _Crew(ray, actors, pieces, form, say).work()
            finally:
                for actor in actors:
                    ray.kill(actor)
        finally:
            if is_ours:
                ray.shutdown()


class RayWorker:
    """What an actor holds: the model. Errors that are not one file's are returned, for they have to travel whole.

    Args:
        request: The model, and what is asked of it.
        added: What the user's own modules have registered.
    """

    def __init__(self, request: PredictionRequest, added: dict[str, Any]) -> None:
        registries.add(added)
        self._request = request
        self._maker: RowMaker | None = None

    def load(self) -> list[str] | PredgenError:
        """Load the model; returns what is to be said about it."""
        use_available_threads()
        try:
            self._maker = self._request.maker()
        except PredgenError as error:
            return error
        return self._maker.remarks()

    def predict(self, piece: FilePiece, form: FileForm) -> PieceDone | PredgenError:
        """Predict a file."""
        assert self._maker is not None, "loaded first"
        try:
            return predict_piece(self._maker, piece, form)
        except PredgenError as error:
            return error


class _Crew:
    """Hands files to actors that are ready, and again where an actor died over one."""

    def __init__(
        self,
        ray: Any,  # noqa: ANN401
        actors: Sequence[Any],
        pieces: Sequence[FilePiece],
        form: FileForm,
        say: Callable[[str], None],
    ) -> None:
        self._ray, self._form, self._say = ray, form, say
        self._waiting = deque(pieces)
        self._left = len(pieces)
        self._idle: list[Any] = []
        self._deaths: Counter[FilePiece | None] = Counter()
        self._busy_since: dict[FilePiece, float] = {}
        self._said = False
        # What an actor is at: a file, or None while it loads the model. One that the cluster has no room for yet stays at None.
        self._at: dict[Any, tuple[Any, FilePiece | None]] = {actor.load.remote(): (actor, None) for actor in actors}

    def work(self) -> Iterator[PieceDone]:
        """Yield files as they are done.

        Raises:
            PredgenError: What a worker met that is not one file's fault.
        """
        while self._left:
            ready, _ = self._ray.wait(list(self._at), num_returns=1, timeout=_BUSY_S)
            for call in ready:
                actor, piece = self._at.pop(call)
                done = self._outcome(call, actor, piece)
                if done is not None:
                    self._left -= 1
                    yield done
            while self._idle and self._waiting:
                actor, piece = self._idle.pop(), self._waiting.popleft()
                self._at[actor.predict.remote(piece, self._form)] = (actor, piece)

    def _outcome(self, call: Any, actor: Any, piece: FilePiece | None) -> PieceDone | None:  # noqa: ANN401
        """What came of a call; None: nothing is done."""
        try:
            got = self._ray.get(call)
        except self._ray.exceptions.RayTaskError:  # a fault in our own code: the same again wherever it runs
            raise
        except self._ray.exceptions.RayError as death:
            self._died(actor, piece, death)
            return None
        if isinstance(got, BusyError) and piece is not None:
            self._wait_for(piece, got)
        elif isinstance(got, PredgenError):
            raise got
        self._idle.append(actor)
        if piece is None and not self._said:
            self._said = True
            for line in got:
                self._say(line)
        return got if isinstance(got, PieceDone) else None

    def _died(self, actor: Any, piece: FilePiece | None, death: Exception) -> None:  # noqa: ANN401
        """Let another one go on with the file; Ray starts the actor anew, which has to load the model again."""
        self._deaths[piece] += 1
        if self._deaths[piece] >= _DEATHS:
            over = "loading the model" if piece is None else repr(str(piece.source))
            raise ConfigError(
                f"{_DEATHS} workers died over {over}: {str(death).splitlines()[0]} Out of memory is the usual reason: give a"
                " smaller --batch-size, or fewer --workers a machine; then the same command goes on."
            )
        if piece is not None:
            self._waiting.appendleft(piece)
        self._at[actor.load.remote()] = (actor, None)

    def _wait_for(self, piece: FilePiece, error: BusyError) -> None:
        """Try again later: a worker of a driver that was killed, or one that only the network was lost to, may still hold it."""
        since = self._busy_since.setdefault(piece, time.monotonic())
        if time.monotonic() - since > _WAIT_S:
            raise error
        time.sleep(_BUSY_S)
        self._waiting.append(piece)
