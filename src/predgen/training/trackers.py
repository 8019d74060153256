"""Trackers that transformers knows, such as TensorBoard: made before anything is loaded, so that a missing one is told at once.

transformers' own callbacks speak to them; what they are told is ours: a run's settings as parameters, the curves of `log.jsonl` by
the names of the documentation, and at the end the run's card, settings and log as files.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK, get_available_reporting_integrations

from predgen.config import RunConfig
from predgen.errors import ConfigError
from predgen.near_names import near_matches

CURVES = {"writer_loss": "L_W", "director_loss": "L_D"}
"""Name of a figure in the log -> its name as a curve; others keep theirs."""
_EXTRAS = ("mlflow", "tensorboard", "wandb")


class ShownArguments:
    """Trainer's arguments, with a run's settings in their place where they are shown.

    Args:
        args: The arguments.
        settings: The settings.
    """

    def __init__(self, args: TrainingArguments, settings: Mapping[str, Any]) -> None:
        self._args, self._settings = args, settings

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._args, name)

    @property
    def run_name(self) -> str:
        """The name of the run's folder, where no other was given."""
        return self._args.run_name or Path(str(self._args.output_dir)).parent.name

    def to_dict(self) -> dict[str, Any]:
        """Return the settings."""
        return dict(self._settings)

    def to_json_string(self) -> str:
        """Return the settings as text."""
        return json.dumps(self._settings, indent=2, default=str)


class Tracked(TrainerCallback):
    """What a tracker is told; mixed into transformers' callback for it.

    Attributes:
        settings: The run's settings.
        tracker: The tracker's name.
    """

    settings: Mapping[str, Any]
    tracker: str
    _last: tuple[Any, ...] | None = None

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        shown: Any = ShownArguments(args, self.settings)
        self._last = (shown, state, control, kwargs)  # a run that stops by an error is ended, too
        super().on_train_begin(shown, state, control, **kwargs)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Any = None,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        named = {CURVES.get(name, name): value for name, value in (logs or {}).items()}
        shown: Any = ShownArguments(args, self.settings)
        super().on_log(shown, state, control, logs=named, **kwargs)

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        self._last = (
            ShownArguments(args, self.settings),
            state,
            control,
            kwargs,
        )  # `finish` ends it: files are still to come

    def finish(self, files: list[Path]) -> None:
        """End the tracker's run.

        Args:
            files: What a run leaves to be kept beside its curves; those that are not there are left out.
        """
        if self._last is None:
            return  # it has not begun
        (args, state, control, kwargs), self._last = self._last, None
        if self.tracker in SENDERS and state.is_world_process_zero:
            SENDERS[self.tracker](self, [path for path in files if path.is_file()])
        super().on_train_end(args, state, control, **kwargs)


def trackers(config: RunConfig) -> list[Tracked]:
    """The trackers of `report_to`: names, comma separated; "all": those that are installed; "none".

    Raises:
        ConfigError: If a name is unknown, or its package is not installed.
    """
    asked = [name.strip() for name in config.report_to.split(",") if name.strip() not in ("", "none")]
    if asked == ["all"]:
        asked = get_available_reporting_integrations()
    return [_tracker(name, config) for name in dict.fromkeys(asked)]


def _tracker(name: str, config: RunConfig) -> Tracked:
    """One tracker."""
    known = {**INTEGRATION_TO_CALLBACK}
    if name not in known:
        raise ConfigError(
            f"`report_to` names {name!r}.{near_matches(name, known)} Known: {', '.join(sorted(known))}; or all, or none."
        )
    # Only the settings that the run has: a tracker's table of all of them has mostly empty lines.
    settings = {key: value for key, value in config.to_dict().items() if value is not None}
    own = {"settings": settings, "tracker": name}
    try:
        made: Tracked = type(f"Tracked{known[name].__name__}", (Tracked, known[name]), own)()
    except (ImportError, RuntimeError) as error:  # transformers raises the one or the other for a missing package
        reason = " ".join(str(error).split())
        install = f" pip install 'predgen[{name}]'." if name in _EXTRAS else ""
        raise ConfigError(
            f"`report_to` names {name!r}, which is not installed here: {reason}{install} Or leave it out."
        ) from error
    return made


def _to_mlflow(tracker: Any, files: list[Path]) -> None:  # noqa: ANN401
    """As artefacts of the run."""
    for path in files:
        tracker._ml_flow.log_artifact(str(path))


def _to_tensorboard(tracker: Any, files: list[Path]) -> None:  # noqa: ANN401
    """As texts, which it shows as Markdown: the card alone."""
    writer = getattr(tracker, "tb_writer", None)
    for path in files:
        if path.suffix == ".md" and writer is not None:
            writer.add_text(path.stem, path.read_text(encoding="utf-8"))


def _to_wandb(tracker: Any, files: list[Path]) -> None:  # noqa: ANN401
    """As an artefact of the run."""
    artefact = tracker._wandb.Artifact(f"run-{tracker._wandb.run.id}", type="predgen-run")
    for path in files:
        artefact.add_file(str(path))
    tracker._wandb.run.log_artifact(artefact)


SENDERS: dict[str, Callable[[Any, list[Path]], None]] = {
    "mlflow": _to_mlflow,
    "tensorboard": _to_tensorboard,
    "wandb": _to_wandb,
}
"""How a tracker takes files; others take none."""
