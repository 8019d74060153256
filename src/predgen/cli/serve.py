"""`predgen serve`."""

import os
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from predgen.cli.early import check_saved
from predgen.cli.errors import readable_errors
from predgen.cli.options import OptionSettings, TrustRemoteCode, with_options
from predgen.components import Listed
from predgen.serving.settings import KEY_VARIABLE, ServePlan, ServeSettings, check_names, check_packages
from predgen.settings import declared


def serve_settings() -> OptionSettings:
    """The settings of a server."""
    return {name: Listed(one) for name, one in declared(ServeSettings).items()}


@with_options(serve_settings, is_open=False)
@readable_errors
def serve_command(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Folders of trained models; bases, by name, folder, hub id or .gguf file.", metavar="MODEL..."
        ),
    ],
    base: Annotated[Optional[str], typer.Option(help="Where the base model lies now, if it was moved.")] = None,  # noqa: UP045
    trust_remote_code: TrustRemoteCode = False,
    *,
    given: dict[str, Any],
) -> None:
    """Answer over HTTP: `/predict`, `/explain`, `/v1/models`, `/health`, `/metrics`, and a page at `/`.

    Rows of all clients are predicted together. SIGTERM and Ctrl-C end it when everything it took is answered.

    A trained model answers what it was trained to answer; a base answers any question, at `/v1/systemone` and `/v1/decisions`.

    `predgen serve RUN`

    `predgen serve smollm2 --format chat`

    `PREDGEN_API_KEY=secret predgen serve RUN OTHER-RUN --host 0.0.0.0 --port 8080 --workers 2`
    """
    settings = ServeSettings(**{"api_key": os.environ.get(KEY_VARIABLE), **given})
    plan = ServePlan(tuple(models), settings, base, trust_remote_code)
    check_packages()
    check_names(plan.models)
    for model in models:
        if model.startswith((".", "/", "~")) and not Path(model).exists():  # others may be names, or ids of the hub
            check_saved(Path(model))
    from predgen.serving.run import serve_models

    serve_models(plan)
