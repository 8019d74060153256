"""The HTTP server's app: its paths, and what each answers."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from predgen import __version__
from predgen.near_names import near_matches
from predgen.serving.batcher import Batcher, ModelTurn, QueueFullError, StoppedError
from predgen.serving.counts import ServerFigures
from predgen.serving.guard import ClientGoneError, Guard
from predgen.serving.schema import (
    REFUSALS,
    ExplainRequest,
    FaultsError,
    PredictRequest,
    PredictResponse,
)
from predgen.serving.served import AskedWork, ServedModel
from predgen.serving.settings import ServeSettings

_OPEN = ("/", "/health")
_DESCRIPTION = (
    "Predictions of trained language models, with exact probabilities. Requests of all clients are run together."
)


class Server:
    """What the paths share: models, the thread that runs them, figures, limits.

    Args:
        models: The models; the first is the one that is meant where a request names none and it is the only one.
        settings: Limits.
    """

    def __init__(self, models: Sequence[ServedModel], settings: ServeSettings) -> None:
        self.models = {model.name: model for model in models}
        self.settings = settings
        self.figures = ServerFigures()
        self.batcher = Batcher(settings.max_queue, self._note)

    def _note(self, turn: ModelTurn) -> None:
        """Count a run of the model's thread."""
        self.figures.turn(turn, self.batcher.n_items)

    def model(self, name: str | None) -> ServedModel:
        """Return the model that a request names.

        Raises:
            HTTPException: 404 if there is none of this name, 422 if it names none of several.
        """
        if name is None and len(self.models) == 1:
            return next(iter(self.models.values()))
        if name is None:
            raise FaultsError([(("model",), f"is missing; this server has {', '.join(self.models)}")])
        if name not in self.models:
            near = near_matches(name, self.models)
            raise HTTPException(404, f"there is no model {name!r}.{near} This server has {', '.join(self.models)}.")
        return self.models[name]

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
        try:
            future = asyncio.wrap_future(self.batcher.submit(asked.work))
        except QueueFullError as error:
            seconds = str(round(error.retry_after_s))
            raise HTTPException(
                503, f"the queue is full; come back in {seconds} s", {"Retry-After": seconds}
            ) from error
        except StoppedError as error:
            raise HTTPException(503, "the server is shutting down", {"Retry-After": "5"}) from error
        told = await _waited_for(future, request, self.settings.timeout)
        return await asyncio.to_thread(lambda: JSONResponse(asked.answer(told)))


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


def make_app(models: Sequence[ServedModel], settings: ServeSettings) -> FastAPI:
    """Return the app that serves models.

    Args:
        models: Loaded models; `predgen.serving.run.serve_runs` loads them and listens.
        settings: Limits and key.
    """
    server = Server(models, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        server.batcher.start()
        yield
        await asyncio.to_thread(server.batcher.stop, settings.timeout)

    app = FastAPI(
        title="predgen",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        max_body_size=settings.max_body,
    )
    app.state.server = server
    app.add_middleware(
        Guard,
        figures=server.figures,
        api_key=settings.api_key,
        is_open=lambda path: path in _OPEN,
        timeout_s=settings.timeout,
    )
    _add_errors(app)
    _add_paths(app, server)
    return app


def _add_errors(app: FastAPI) -> None:
    """Tell all faults of a request, without what the client wrote."""

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        faults = [{"loc": list(one["loc"]), "msg": one["msg"], "type": one["type"]} for one in error.errors()]
        return JSONResponse({"detail": faults}, 422)

    @app.exception_handler(FaultsError)
    async def faulty(_: Request, error: FaultsError) -> Response:
        return JSONResponse({"detail": error.faults}, 422)


def _add_paths(app: FastAPI, server: Server) -> None:
    """Add what is asked of models, and of the server."""
    keyed = [Depends(HTTPBearer(auto_error=False))] if server.settings.api_key is not None else []

    @app.post("/predict", response_model=PredictResponse, responses=REFUSALS, dependencies=keyed)
    async def predict(request: Request, body: PredictRequest) -> Response:
        """Predict rows."""
        if len(body.rows) > server.settings.max_rows:
            most = server.settings.max_rows
            raise FaultsError([(("rows",), f"has {len(body.rows)} rows, but a request may have {most}")])
        return await server.answered(request, lambda: server.model(body.model).predict(body))

    @app.post("/explain", responses=REFUSALS, dependencies=keyed)
    async def explain(request: Request, body: ExplainRequest) -> Response:
        """Show which words a prediction rests on: each is left out once, and the model asked again."""
        return await server.answered(request, lambda: server.model(body.model).explain(body))

    @app.get("/v1/models", dependencies=keyed)
    async def models() -> dict[str, Any]:
        """List the models."""
        listed = [
            {"id": name, "object": "model", "created": model.created, "owned_by": "predgen", **model.facts()}
            for name, model in server.models.items()
        ]
        return {"object": "list", "data": listed}

    @app.get("/health")
    async def health() -> Response:
        """Say whether the server can answer."""
        is_well = server.batcher.is_alive
        return JSONResponse({"status": "ok" if is_well else "failed"}, 200 if is_well else 503)

    @app.get("/metrics", dependencies=keyed)
    async def metrics() -> Response:
        """Give figures for Prometheus."""
        return Response(
            server.figures.text(server.batcher.n_items), media_type="text/plain; version=1.0.0; charset=utf-8"
        )
