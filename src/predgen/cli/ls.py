"""`predgen ls`."""

import json
from typing import Annotated, Any

import typer

from predgen import registries
from predgen.cli.errors import readable_errors
from predgen.cli.options import names_of
from predgen.errors import ConfigError
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
    "presets": registries.presets,
}


@readable_errors
def ls(
    what: Annotated[str, typer.Argument(help=" | ".join(LISTS))],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List what predgen knows: tasks, methods, PEFT methods, losses, sampling modes, directors, ...

    `predgen ls tasks --json`
    """
    if what not in LISTS:
        raise ConfigError(f"nothing is called {what!r}.{near_matches(what, LISTS)} Known: {', '.join(LISTS)}.")
    entries = names_of(LISTS[what])
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


def _show(entries: list[dict[str, Any]]) -> None:
    """Print a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for column in entries[0]:  # a narrow terminal folds cells; nothing is cut off
        table.add_column(column, overflow="fold", no_wrap=column == "name")
    for entry in entries:
        table.add_row(
            *(", ".join(map(str, v)) if isinstance(v, list) else "" if v is None else str(v) for v in entry.values())
        )
    Console().print(table)
