"""Listening: one process, or several behind one port, until the signal that ends them; what was taken is answered first."""

import functools
import logging.config
import math
import os
import socket
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from predgen.errors import ConfigError, ModelError
from predgen.escaping import in_line
from predgen.serving.logs import EVENTS, LOGGING
from predgen.serving.settings import SHARED_COUNTS, ServePlan, check_names, name_of_model
from predgen.threads import available_threads, use_available_threads

if TYPE_CHECKING:
    from predgen.serving.bases import ServedBase
    from predgen.serving.served import ServedModel

_BACKLOG = 2048
_GRACE_S = 5  # beside the time that a request may take
_WORKER_ANSWERS_S = 120  # while it loads a model, too


def serve_models(plan: ServePlan) -> None:
    """Serve models until SIGTERM or Ctrl-C; requests that were taken are answered before it ends.

    Args:
        plan: What is served, and how.

    Raises:
        ConfigError: If two models have the same name, or address or port cannot be had.
        SavedModelError: If a run cannot be read.
        ModelError: If a base is missing, or a worker process could not load the models.
    """
    check_names(plan.models)
    listening = _listen(plan.settings.host, plan.settings.port)
    with listening:
        plan = replace(plan, address=_address(listening))
        if plan.settings.workers == 1:
            _in_this_process(plan, listening)
        else:
            _in_several(plan, listening)


def app_of(plan: ServePlan) -> FastAPI:
    """Load the models of a plan and return the app that serves them."""
    from predgen.serving.app import make_app

    use_available_threads(available_threads(plan.settings.workers))
    models = [_model(plan, model) for model in plan.models]
    EVENTS.info("serving", extra={"facts": {"address": plan.address, "models": [model.name for model in models]}})
    return make_app(models, plan.settings)


def _model(plan: ServePlan, model: str) -> "ServedModel | ServedBase":
    """Load a trained model or a base."""
    from predgen.inference.guarantees import Promised
    from predgen.saved.exchange import MANIFEST
    from predgen.serving.bases import ServedBase, check_base_settings
    from predgen.serving.served import ServedModel

    told, trusts = plan.settings, plan.trust_remote_code
    if Path(model).is_dir() and (Path(model) / MANIFEST).is_file():
        refusing = Promised(max_error=told.max_error, min_confidence=told.min_confidence)
        return ServedModel.read(
            Path(model),
            max_batch_tokens=told.max_batch_tokens,
            base=plan.base,
            trust_remote_code=trusts,
            refusing=refusing,
        )
    check_base_settings(told.max_error)
    return ServedBase.read(
        model,
        name_of_model(model),
        format=told.format,
        batch_tokens=told.max_batch_tokens,
        min_confidence=told.min_confidence,
        trust_remote_code=trusts,
    )


def _in_this_process(plan: ServePlan, listening: socket.socket) -> None:
    """Serve here."""
    logging.config.dictConfig(LOGGING)
    server = uvicorn.Server(_config(plan, app_of(plan)))
    try:
        server.run([listening])
    except KeyboardInterrupt:  # uvicorn raises the signal again when everything is answered
        if not server.started:
            raise


def _in_several(plan: ServePlan, listening: socket.socket) -> None:
    """Serve in processes of their own, which are started again where one dies."""
    with tempfile.TemporaryDirectory(prefix="predgen-metrics-") as folder:
        os.environ[SHARED_COUNTS] = folder  # before the processes import prometheus_client
        try:
            supervisor = Multiprocess(_config(plan, functools.partial(app_of, plan)), [listening])
            supervisor.run()
        finally:
            del os.environ[SHARED_COUNTS]
    codes = [process.exitcode for process in supervisor.processes]
    if uvicorn.config.STARTUP_FAILURE in codes:
        raise ModelError("a worker process could not load the models; the lines above say why.")


def _config(plan: ServePlan, app: "FastAPI | functools.partial[FastAPI]") -> uvicorn.Config:
    """What uvicorn is told; processes of their own get what makes the app."""
    return uvicorn.Config(
        app,
        factory=isinstance(app, functools.partial),
        host=plan.settings.host,
        port=plan.settings.port,
        workers=plan.settings.workers,
        log_config=LOGGING,
        access_log=False,
        lifespan="on",
        ws="none",
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=math.ceil(plan.settings.timeout) + _GRACE_S,
        timeout_worker_healthcheck=_WORKER_ANSWERS_S,
    )


def _listen(host: str, port: int) -> socket.socket:
    """Take a port, before models are loaded.

    Raises:
        ConfigError: If it cannot be had.
    """
    where = f"{in_line(host)!r}"
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise ConfigError(f"`host` is {where}, which is no address of this machine: {error.strerror}.") from error
    found = socket.socket(family, kind, protocol)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(place)
        found.listen(_BACKLOG)
        found.set_inheritable(True)
    except OSError as error:
        found.close()
        raise ConfigError(
            f"`port` {port} at `host` {where} cannot be had: {error.strerror}. Stop what uses it, or give another --port (0: any"
            " free one)."
        ) from error
    return found


def _address(listening: socket.socket) -> str:
    """The address as a client writes it."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
