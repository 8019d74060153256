"""The folder of a run: whose it is, what may be replaced, where a run goes on. No torch here: this is asked first.

RUN/config.yaml     the settings; `--resume` compares them
RUN/log.jsonl       one JSON object per log
RUN/checkpoints/    while the run goes on
RUN/logs/           what trackers write (`--report-to`)
"""

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from predgen.components import left_open
from predgen.config import RunConfig, all_settings, renamed
from predgen.errors import ConfigError
from predgen.files import holdings, told_in_words, write_text
from predgen.plain_data import read_yaml
from predgen.saved.exchange import MANIFEST, bring_back, holds_old_model, is_staging
from predgen.training.checkpoints import last_checkpoint, noted_rows_of_step, rows_of_step

CONFIG, LOG, CHECKPOINTS, TRACKERS = "config.yaml", "log.jsonl", "checkpoints", "logs"
_EARLIER: Mapping[str, Any] = {"stratify": False, "calibrate": False, "number_format": "fixed", "head_norm": "none"}
"""What version 0.1 did where there is a setting now; what other new settings do by default is what it did."""
_EARLIER_DIRECTOR = {"classification": "linear", "regression": "value", "math": "ordered"}
"""Its directors where none was chosen."""


def look_at(folder: Path, config: RunConfig, *, resume: bool, overwrite: bool, processes: int = 1) -> None:
    """Refuse a folder that is not what the call takes it for, and put it in order after a kill; the caller holds its lock.

    Args:
        folder: The folder.
        config: The settings.
        resume: The call wants to go on.
        overwrite: It wants to replace what is there.
        processes: How many train together.

    Raises:
        ConfigError: Saying what is there and what to do.
    """
    if not resume:
        _require_free(folder, overwrite)
        return
    _require_same_settings(folder, config, processes)
    if put_in_order(folder):
        raise ConfigError(
            f"the run in {str(folder)!r} is finished. Load its model, or give --overwrite to train it anew."
        )


def put_in_order(folder: Path) -> bool:
    """Do what a killed process had not the time to; returns whether the run's model is saved. The caller holds the lock."""
    bring_back(folder)
    is_finished = (folder / MANIFEST).is_file()
    if is_finished:
        finish(folder)
    return is_finished


def finish(folder: Path) -> None:
    """Remove what a run needs only until its model is saved."""
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    with suppress(OSError):  # trackers have written something, or there are none
        (folder / TRACKERS).rmdir()


def _require_free(folder: Path, overwrite: bool) -> None:
    """Refuse a folder that holds something else, or a run that is not to be overwritten.

    A run that failed before its first checkpoint has left nothing worth keeping: the corrected command takes it over.
    """
    if not holdings(folder) or _has_only_begun(folder):
        return
    if not overwrite:
        raise ConfigError(
            f"`out` {str(folder)!r} is not empty. Choose another folder, or give --resume or --overwrite."
        )
    if not (folder / CONFIG).is_file():
        raise ConfigError(
            f"`out` {str(folder)!r} is not a predgen run, so it is not overwritten. Choose another folder."
        )


def claim_folder(folder: Path, config: RunConfig) -> None:
    """Empty the run's folder but for the bad rows that reading has just left out, and write its settings.

    A model's manifest goes first, so that no half of it loads; the settings come last, and in one step: a folder with
    settings is a run, which --overwrite may go on to replace after a kill.
    """
    with told_in_words(folder):
        (folder / MANIFEST).unlink(missing_ok=True)
        for path in holdings(folder):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != CONFIG and not _is_bad_rows(path):
                path.unlink()
        write_text(folder / CONFIG, yaml.safe_dump(config.to_dict(), sort_keys=False), is_held=True)


def is_run_of(folder: Path, config: RunConfig) -> bool:
    """Whether a folder holds a run with these settings."""
    try:
        return _stored_settings(folder) == config.to_dict()
    except ConfigError:
        return False


def _stored_settings(folder: Path) -> Mapping[str, Any]:
    """The settings that a run was started with."""
    stored = folder / CONFIG
    if not stored.is_file():
        raise ConfigError(f"there is no run to resume in {str(folder)!r}.")
    found = read_yaml(stored, error=ConfigError, repair="Restore it, or give --overwrite to train anew.")
    return renamed(found, says=False)


def settings_of_start(folder: Path, config: RunConfig) -> RunConfig:
    """Return the settings with which to go on: as given, but as an earlier version did it what that had no setting for."""
    before = _stored_settings(folder)
    earlier = {n: value for n, value in _EARLIER.items() if n not in before and n in config.to_dict()}
    if _is_of_first_version(before):
        used = {"director": _EARLIER_DIRECTOR.get(config.task_kind)}
        earlier |= {name: before.get(name) or used.get(name) for name in left_open(config.components)}
    if earlier and config.task is None and config.kind == "regression" and config.metric is None:
        earlier["metric"] = "pearson"  # its checkpoints carry the best value so far
    return replace(config, **earlier)


def _is_of_first_version(before: Mapping[str, Any]) -> bool:
    """Whether a run was started by version 0.1, whose settings lack one that all runs have."""
    return "stratify" not in before


def _require_same_settings(folder: Path, config: RunConfig, processes: int) -> None:
    """Refuse to go on with a run of other settings; one that the run's version had not may keep its default.

    A step may be shared out to other numbers of processes and batches, as long as its rows are as many: its gradient is the same.
    """
    before, now = _stored_settings(folder), config.to_dict()
    kept = last_checkpoint(folder / CHECKPOINTS)
    noted = noted_rows_of_step(kept) if kept is not None else None
    if noted is not None:
        _require_rows_of_step(folder, config, processes, noted)
        now = {name: value for name, value in now.items() if name not in ("batch_size", "gradient_accumulation")}
    defaults = {name: listed.default for name, listed in all_settings().items()} | config.defaults()
    changed = []
    for key, value in now.items():
        allowed = [before[key]] if key in before else [defaults.get(key), _EARLIER.get(key, defaults.get(key))]
        if value is None and _is_of_first_version(before) and key in left_open(config.components):
            continue  # that version had a default in its place, with which the run goes on
        if value not in allowed:
            changed.append(f"{key} {allowed[-1]!r} -> {value!r}")
    if changed:
        raise ConfigError(
            f"the run in {str(folder)!r} was started with other settings ({'; '.join(changed)}); resume with the same ones."
        )


def _require_rows_of_step(folder: Path, config: RunConfig, processes: int, noted: int) -> None:
    """Refuse to go on with steps of more or fewer rows: the rows of a step, and how many there are, would be others."""
    rows = rows_of_step(config, processes)
    if rows != noted:
        raise ConfigError(
            f"the run in {str(folder)!r} has {noted} rows an optimizer step, but `batch_size` {config.batch_size} x"
            f" `gradient_accumulation` {config.gradient_accumulation} x {processes} process{'es' * (processes > 1)} are {rows}."
            f" Choose them so that their product is {noted}, or start as many processes as before."
        )


def _has_only_begun(folder: Path) -> bool:
    """Whether all that is there comes from a run without model and checkpoint."""
    for path in holdings(folder):
        if is_staging(path):
            is_worthless = not holds_old_model(path)
        elif path.name == CHECKPOINTS:
            is_worthless = last_checkpoint(path) is None
        else:
            is_worthless = path.name in (CONFIG, LOG, TRACKERS) or _is_bad_rows(path)
        if not is_worthless:
            return False
    return True


def _is_bad_rows(path: Path) -> bool:
    """Whether a file holds rows that `bad_rows="skip"` left out."""
    return path.name.startswith("bad-rows.") and path.name.endswith(".jsonl")
