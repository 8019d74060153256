"""Handing an experiment's page to a tracker, as an artefact of a run of its own: it is about several runs."""

import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from predgen.errors import ConfigError
from predgen.near_names import near_matches


def check_tracker(name: str) -> None:
    """Raise where a tracker takes no page, or is not installed.

    Raises:
        ConfigError: Naming those that do, or the extra that brings it.
    """
    if name not in _SHARING:
        raise ConfigError(
            f"--report-to is {name!r}.{near_matches(name, _SHARING)} Trackers that take a page: {', '.join(_SHARING)}."
        )
    if find_spec(name) is None:
        raise ConfigError(f"--report-to is {name!r}, which is not installed: pip install 'predgen[{name}]'.")


def share_page(page: Path, tracker: str, name: str) -> None:
    """Make a run in a tracker that has the page as its artefact.

    Args:
        page: The page's file.
        tracker: The tracker, checked by `check_tracker`.
        name: Name of the run.
    """
    _SHARING[tracker](page, name)


def _with_mlflow(page: Path, name: str) -> None:
    """Where MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME say."""
    import mlflow

    made: Any = mlflow
    with made.start_run(run_name=name):
        made.log_artifact(str(page))


def _with_wandb(page: Path, name: str) -> None:
    """In the project in which transformers' callback puts runs."""
    import wandb

    made: Any = wandb
    run = made.init(project=os.environ.get("WANDB_PROJECT", "huggingface"), name=name)
    artefact = made.Artifact(f"report-{run.id}", type="predgen-report")
    artefact.add_file(str(page))
    run.log_artifact(artefact)
    run.finish()


_SHARING: Mapping[str, Callable[[Path, str], None]] = {"mlflow": _with_mlflow, "wandb": _with_wandb}
