"""What can be checked of a command without a model: within a second, before torch is imported for several."""

from dataclasses import replace
from pathlib import Path

from predgen import registries
from predgen.components import value_of
from predgen.config import RunConfig
from predgen.data.examples import check_columns, custom_task
from predgen.data.sources import read_rows
from predgen.data.tables import available_splits
from predgen.errors import ConfigError, SavedModelError
from predgen.saved.exchange import MANIFEST


def check_rows(config: RunConfig) -> None:
    """Look at the files that a run would read, and at the columns of their first rows.

    Raises:
        DataError: If a file is missing, cannot be read, or lacks a column.
    """
    if config.task is not None:
        if config.data_dir is not None:
            available_splits(value_of(registries.tasks, config.task, config.own), config.data_dir)
        return
    assert config.prompt is not None, "RunConfig makes sure of it"
    if config.targets is not None:
        _check_rows_of_targets(config, config.prompt)
        return
    assert config.target is not None, "RunConfig makes sure of it"
    assert config.kind is not None, "RunConfig makes sure of it"
    prompt = config.prompt.replace("\\n", "\n")
    task = custom_task(prompt=prompt, target=config.target, kind=config.kind, weight=config.weight_column)
    for path in (config.data, config.validation_data):
        if path is not None and not Path(path).is_fifo():  # a pipe can be read once only
            check_columns(next(read_rows(path)), task)


def _check_rows_of_targets(config: RunConfig, prompt: str) -> None:
    """The same for several targets; a row of JSON may lack those to which it has no answer."""
    for path in (config.data, config.validation_data):
        if path is not None and not Path(path).is_fifo():
            row = next(read_rows(path))
            for spec in config.target_specs:
                task = custom_task(prompt=prompt.replace("\\n", "\n"), target=spec.columns[0], kind="classification")
                known = (
                    {name: None for name in spec.columns} if Path(path).suffix.lower() in (".json", ".jsonl") else {}
                )
                check_columns({**known, **row}, replace(task, weight=config.weight_column))


def check_readable(path: str) -> None:
    """Read the first row of a file.

    Raises:
        DataError: If it is missing, cannot be read, or has no rows.
    """
    if not Path(path).is_fifo():  # a pipe can be read once only
        next(read_rows(path))


def check_saved(run: Path) -> None:
    """Look for a saved model's folder; what is in it is the reader's to judge.

    Raises:
        SavedModelError: If there is no such folder.
    """
    if not run.is_dir():
        raise SavedModelError(
            f"{str(run)!r} holds no saved model: there is no {MANIFEST}. Give the folder that `predgen train --out` wrote."
        )


def check_folder_of(file: Path | None, flag: str) -> None:
    """Refuse a file to write that lies in no folder.

    Raises:
        ConfigError: If its folder does not exist.
    """
    if file is not None and not file.parent.is_dir():
        raise ConfigError(f"{flag} {str(file)!r} lies in a folder that does not exist; make it first.")
