"""Trackers that transformers knows, such as TensorBoard: made before anything is loaded, so that a missing one is told at once."""

from transformers import TrainerCallback
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK, get_available_reporting_integrations

from predgen.errors import ConfigError
from predgen.near_names import near_matches


def trackers(names: str) -> list[TrainerCallback]:
    """The trackers of `report_to`: names, comma separated; "all": those that are installed; "none".

    Raises:
        ConfigError: If a name is unknown, or its package is not installed.
    """
    asked = [name.strip() for name in names.split(",") if name.strip() not in ("", "none")]
    if asked == ["all"]:
        asked = get_available_reporting_integrations()
    return [_tracker(name) for name in dict.fromkeys(asked)]


def _tracker(name: str) -> TrainerCallback:
    """One tracker."""
    known = {**INTEGRATION_TO_CALLBACK}
    if name not in known:
        raise ConfigError(
            f"`report_to` names {name!r}.{near_matches(name, known)} Known: {', '.join(sorted(known))}; or all, or none."
        )
    try:
        tracker: TrainerCallback = known[name]()
    except (ImportError, RuntimeError) as error:  # transformers raises the one or the other for a missing package
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"`report_to` names {name!r}, which is not installed here: {reason} Or leave it out."
        ) from error
    return tracker
