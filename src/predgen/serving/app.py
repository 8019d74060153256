"""The HTTP server's app: its paths, and what each answers."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from predgen import __version__
from predgen.serving.api_page import api_page
from predgen.serving.bases import ServedBase
from predgen.serving.guard import Guard
from predgen.serving.page import serve_page
from predgen.serving.protocols import add_protocols
from predgen.serving.schema import (
    REFUSALS,
    ExplainRequest,
    FaultsError,
    PredictRequest,
    PredictResponse,
    places_and_faults,
)
from predgen.serving.served import ServedModel
from predgen.serving.server import Server
from predgen.serving.settings import ServeSettings

_OPEN = ("/", "/docs", "/health")
_DESCRIPTION = (
    "Predictions of trained language models, with exact probabilities. Requests of all clients are run together."
)


def make_app(models: Sequence[ServedModel | ServedBase], settings: ServeSettings) -> FastAPI:
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
    add_protocols(app, server)
    _add_description(app)
    return app


def _add_errors(app: FastAPI) -> None:
    """Tell all faults of a request, without what the client wrote."""

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        inside = [{**one, "loc": one["loc"][1:]} for one in error.errors()]  # all are of the body
        return refused(FaultsError(places_and_faults(inside, error.body)))

    @app.exception_handler(FaultsError)
    async def faulty(_: Request, error: FaultsError) -> Response:
        return refused(error)

    @app.exception_handler(HTTPException)
    async def other(_: Request, error: HTTPException) -> Response:
        return JSONResponse({"detail": error.detail, "message": error.detail}, error.status_code, error.headers)

    def refused(error: FaultsError) -> Response:
        return JSONResponse({"detail": error.faults, "message": str(error)}, 422)


def _add_paths(app: FastAPI, server: Server) -> None:
    """Add what is asked of models, and of the server."""
    keyed = [Depends(HTTPBearer(auto_error=False))] if server.settings.api_key is not None else []

    @app.post("/predict", response_model=PredictResponse, responses=REFUSALS, dependencies=keyed)
    async def predict(request: Request, body: PredictRequest) -> Response:
        """Predict rows."""
        if len(body.rows) > server.settings.max_rows:
            most = server.settings.max_rows
            raise FaultsError([(("rows",), f"has {len(body.rows)} rows, but a request may have {most}")])
        return await server.answered(request, lambda: server.trained(body.model).predict(body))

    @app.post("/explain", responses=REFUSALS, dependencies=keyed)
    async def explain(request: Request, body: ExplainRequest) -> Response:
        """Show which words a prediction rests on: each is left out once, and the model asked again."""
        return await server.answered(request, lambda: server.trained(body.model).explain(body))

    @app.get("/v1/models", dependencies=keyed)
    async def models() -> dict[str, Any]:
        """List the models."""
        listed = [
            {"id": name, "object": "model", "owned_by": "predgen", **model.facts()}
            for name, model in server.models.items()
        ]
        return {"object": "list", "data": listed}

    text, headers = serve_page()

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        """Give the page."""
        return HTMLResponse(text, headers=headers)

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


def _add_description(app: FastAPI) -> None:
    """Add the page about all paths; it says what the source says, so that it needs no key."""
    text, headers = api_page(app.openapi())

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        """Give the page."""
        return HTMLResponse(text, headers=headers)
