"""What the paths of a server share: its models, the thread that runs them, figures and limits."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from predgen.errors import QuestionError
from predgen.near_names import near_matches
from predgen.serving.bases import ServedBase
from predgen.serving.batcher import Batcher, ModelTurn, QueueFullError, StoppedError, Work
from predgen.serving.counts import ServerFigures
from predgen.serving.guard import ClientGoneError
from predgen.serving.schema import FaultsError
from predgen.serving.served import AskedWork, ServedModel
from predgen.serving.settings import ServeSettings


class Server:
    """What the paths share: models, the thread that runs them, figures, limits.

    Args:
        models: The models.
        settings: Limits.
    """

    def __init__(self, models: Sequence[ServedModel | ServedBase], settings: ServeSettings) -> None:
        self.models = {model.name: model for model in models}
        self.settings = settings
        self.figures = ServerFigures()
        self.batcher = Batcher(settings.max_queue, self._note)

    def _note(self, turn: ModelTurn) -> None:
        """Count a run of the model's thread."""
        self.figures.turn(turn, self.batcher.n_items)

    def known(self, name: object) -> ServedModel | ServedBase | None:
        """Return the model that a request names, or the only one where it names none; None where there is no such model."""
        if name is None and len(self.models) == 1:
            return next(iter(self.models.values()))
        return self.models.get(name) if isinstance(name, str) else None

    def model(self, name: str | None) -> ServedModel | ServedBase:
        """Return the model that a request names.

        Raises:
            FaultsError: If it names none of several.
            HTTPException: 404 if there is none of this name.
        """
        found = self.known(name)
        if found is not None:
            return found
        if name is None:
            raise FaultsError([(("model",), f"is missing; this server has {', '.join(self.models)}")])
        near = near_matches(name, self.models)
        raise HTTPException(404, f"there is no model {name!r}.{near} This server has {', '.join(self.models)}.")

    def trained(self, name: str | None) -> ServedModel:
        """Return the trained model that a request names.

        Raises:
            FaultsError: If it is a base, or none of several is named.
            HTTPException: 404 if there is none of this name.
        """
        found = self.model(name)
        if isinstance(found, ServedBase):
            raise FaultsError(
                [
                    (
                        ("model",),
                        f"is {found.name!r}, a base, which answers questions: POST /v1/systemone or /v1/decisions",
                    )
                ]
            )
        return found

    async def answered(self, request: Request, read: Callable[[], AskedWork]) -> Response:
        """Answer a request by the model's thread.

        Args:
            request: The request.
            read: Makes work of it, in a thread beside: long texts take their time.

        Raises:
            HTTPException: 503 if the queue is full, 504 if there was no time for it.
            ClientGoneError: If nobody waits any more.
        """
        asked = await asyncio.to_thread(read)
        request.state.facts.update(model=asked.work.key[0], rows=asked.rows, tokens=asked.tokens)
        told = await self.told(request, asked.work)
        return await asyncio.to_thread(lambda: JSONResponse(asked.answer(told)))

    async def told(self, request: Request, work: Work) -> list[Any]:
        """Return what the model's thread gives for a work.

        Raises:
            HTTPException: 503 if the queue is full, 504 if there was no time for it.
            ClientGoneError: If nobody waits any more.
            FaultsError: If a question turns out not to fit.
        """
        try:
            future = asyncio.wrap_future(self.batcher.submit(work))
        except QueueFullError as error:
            seconds = str(round(error.retry_after_s))
            raise HTTPException(
                503, f"the queue is full; come back in {seconds} s", {"Retry-After": seconds}
            ) from error
        except StoppedError as error:
            raise HTTPException(503, "the server is shutting down", {"Retry-After": "5"}) from error
        try:
            return await _waited_for(future, request, self.settings.timeout)
        except QuestionError as error:
            raise FaultsError(
                [(("questions", *fault.where.split(".")), fault.what) for fault in error.faults]
            ) from error


async def _waited_for(future: "asyncio.Future[list[Any]]", request: Request, timeout_s: float) -> list[Any]:
    """Wait for a result, as long as the client does and the time lasts."""
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        left = request.state.deadline - time.monotonic()
        watched: list[asyncio.Future[Any]] = [future, gone]
        await asyncio.wait(watched, timeout=max(left, 0.0), return_when=asyncio.FIRST_COMPLETED)
        if future.done():
            return future.result()
        if gone.done():
            raise ClientGoneError
        raise HTTPException(504, f"there was no answer within {timeout_s:g} s")
    finally:
        gone.cancel()
        future.cancel()  # what nobody waits for is not run


async def _disconnected(request: Request) -> None:
    """Return when the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
