"""`predgen ls`."""

import json
from typing import Annotated, Any

import typer

from predgen import registries
from predgen.cli.errors import readable_errors
from predgen.cli.options import names_of
from predgen.errors import ConfigError, ModelError
from predgen.registry import near_matches

LISTS = {
    "tasks": registries.tasks,
    "methods": registries.methods,
    "peft": registries.peft_methods,
    "losses": registries.losses,
    "sampling": registries.sampling,
    "schedules": registries.schedules,
    "directors": registries.directors,
    "metrics": registries.metrics,
    "mi_estimators": registries.mi_estimators,
    "presets": registries.presets,
}


@readable_errors
def ls(
    what: Annotated[str, typer.Argument(help=" | ".join(LISTS))],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    model: Annotated[
        str | None,
        typer.Option(help="peft: count what each method trains in this base model (its weights are not read)."),
    ] = None,
) -> None:
    """List what predgen knows: tasks, methods, PEFT methods, losses, sampling modes, directors, ...

    `predgen ls tasks --json`

    `predgen ls peft --model embedded`
    """
    if what not in LISTS:
        raise ConfigError(f"nothing is called {what!r}.{near_matches(what, LISTS)} Known: {', '.join(LISTS)}.")
    entries = names_of(LISTS[what])
    if model is not None and what != "peft":
        raise ConfigError(f"`--model` belongs to `predgen ls peft`, not to `predgen ls {what}`.")
    if what == "peft":
        counts = _counts(model) if model is not None else {}
        entries = [{**entry, **_peft_facts(entry["name"]), **counts.get(entry["name"], {})} for entry in entries]
    if what == "tasks":
        entries = [{**entry, **_task_facts(entry["name"])} for entry in entries]
    if as_json:
        typer.echo(json.dumps(entries, indent=1, ensure_ascii=False))
    else:
        _show(entries)


def _task_facts(name: str) -> dict[str, Any]:
    """What a task declares, as plain data."""
    task = registries.tasks.get(name)
    return {
        "kind": task.kind,
        "labels": list(task.labels.values()),
        "scale": list(task.scale) if task.scale else None,
        "metrics": list(task.metrics),
        "licence": task.licence,
        "version": task.version,
    }


def _peft_facts(name: str) -> dict[str, Any]:
    """What a PEFT method's line in the registry says, as plain data."""
    facts = registries.peft_methods.facts(name)
    return {
        "formula": facts.get("formula"),
        "trained_per_layer": facts.get("count"),
        "settings": facts.get("settings", {}),
    }


def _counts(model: str) -> dict[str, dict[str, Any]]:
    """What every PEFT method trains in a model, with its default settings; None and the reason where they do not fit."""
    from transformers import AutoConfig

    from predgen.models.base_model import EMBEDDED, find_base
    from predgen.peft_methods.count import trainable_parameters

    counts: dict[str, dict[str, Any]] = {}
    try:
        config = AutoConfig.from_pretrained(find_base(model) if model == EMBEDDED else model)
        for name in registries.peft_methods:
            try:
                counts[name] = {"trainable_parameters": trainable_parameters(name, config), "note": None}
            except ConfigError as error:
                counts[name] = {"trainable_parameters": None, "note": str(error)}
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"base model {model!r} cannot be counted: {error} Give the hub id or the folder of a causal language model."
        ) from error
    return counts


def _show(entries: list[dict[str, Any]]) -> None:
    """Print a table."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    columns = [column for column in entries[0] if any(entry[column] not in (None, [], {}) for entry in entries)]
    table = Table()
    for column in columns:  # a narrow terminal folds cells; nothing is cut off
        table.add_column(column, overflow="fold", no_wrap=column == "name")
    for entry in entries:
        table.add_row(*(escape(_cell(entry[column])) for column in columns))  # W[rows] is no markup
    Console().print(table)


def _cell(value: Any) -> str:  # noqa: ANN401
    """A value as a table shows it."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_cell(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
