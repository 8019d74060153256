"""`predgen ls`."""

import json
import textwrap
from functools import partial
from typing import Annotated, Any

import typer

from predgen import registries
from predgen.cli.errors import readable_errors
from predgen.cli.options import names_of
from predgen.cli.say import say
from predgen.components import value_of
from predgen.errors import ConfigError, ModelError
from predgen.lookup import Registry, load_entry_points
from predgen.near_names import near_matches
from predgen.settings import declared

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
    "decodings": registries.decodings,
    "baselines": registries.baselines,
    "presets": registries.presets,
}


@readable_errors
def ls_command(
    what: Annotated[str | None, typer.Argument(help=" | ".join(LISTS))] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    model: Annotated[
        str | None,
        typer.Option(help="peft: count what each method trains in this base model (its weights are not read)."),
    ] = None,
) -> None:
    """List what predgen knows: tasks, methods, PEFT methods, losses, sampling modes, directors, ...

    `predgen ls` alone lists the lists.

    `predgen ls tasks --json`

    `predgen ls peft --model embedded`
    """
    if model is not None and what != "peft":
        raise ConfigError(f"`--model` belongs to `predgen ls peft`, not to `predgen ls {what or ''}`.")
    load_entry_points()
    entries = _lists() if what is None else _entries(what, model)
    if as_json:
        say(json.dumps(entries, indent=1, ensure_ascii=False))
        return
    if what == "tasks":
        entries = [{**entry, "hub": entry["hub"] or "no copy, give --data-dir"} for entry in entries]
    show_entries(entries)


def _lists() -> list[dict[str, Any]]:
    """What there are lists of."""
    return [
        {"name": name, "summary": ", ".join([*list(known)[:4], *["..."] * (len(known) > 4)]), "entries": len(known)}
        for name, known in LISTS.items()
    ]


def _entries(what: str, model: str | None) -> list[dict[str, Any]]:
    """What is in a list."""
    if what not in LISTS:
        raise ConfigError(f"nothing is called {what!r}.{near_matches(what, LISTS)} Known: {', '.join(LISTS)}.")
    entries = names_of(LISTS[what])
    own = [_own_settings(LISTS[what], entry["name"]) for entry in entries]
    if any(own):
        entries = [{**entry, "settings": settings} for entry, settings in zip(entries, own, strict=True)]
    if what == "peft":
        counts = _counts(model) if model is not None else {}
        entries = [{**entry, **_peft_facts(entry["name"]), **counts.get(entry["name"], {})} for entry in entries]
    if what == "tasks":
        entries = [{**entry, **_task_facts(entry["name"])} for entry in entries]
    return entries


def _task_facts(name: str) -> dict[str, Any]:
    """What a task declares, as plain data."""
    task = value_of(registries.tasks, name)
    return {
        "kind": task.kind,
        "labels": list(task.labels.values()),
        "scale": list(task.scale) if task.scale else None,
        "metrics": list(task.metrics),
        "licence": task.licence,
        "version": task.version,
        "hub": str(task.hub) if task.hub else None,
    }


def _own_settings(registry: Registry, name: str) -> dict[str, Any]:
    """A component's own settings with their defaults, as plain data."""
    return {one.name: one.default for one in declared(registry.settings_of(name)).values()}


def _peft_facts(name: str) -> dict[str, Any]:
    """What a PEFT method's line in the registry says, as plain data."""
    facts = registries.peft_methods.facts(name)
    return {
        "formula": facts.get("formula"),
        "trained_per_layer": facts.get("count"),
    }


def _counts(model: str) -> dict[str, dict[str, Any]]:
    """What every PEFT method trains in a model, with its default settings; None and the reason where they do not fit."""
    from transformers import AutoConfig

    from predgen.bases.find import find_base
    from predgen.peft_methods.count import trainable_parameters

    counts: dict[str, dict[str, Any]] = {}
    try:
        config = AutoConfig.from_pretrained(find_base(model))
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


def show_entries(entries: list[dict[str, Any]]) -> None:
    """Print a table, or one entry below the other where the terminal is narrower than a row."""
    from rich.measure import Measurement
    from rich.table import Table

    from predgen.terminal import PlainConsole

    columns = [column for column in entries[0] if any(entry[column] not in (None, [], {}) for entry in entries)]
    table = Table()
    for column in columns:
        table.add_column(column)
    for entry in entries:
        table.add_row(*(_cell(entry[column]) for column in columns))
    console = PlainConsole()
    needed = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
    if needed <= console.width:
        console.print(table)
    else:
        say("\n".join(_lines(entry, columns, console.width) for entry in entries))


def _lines(entry: dict[str, Any], columns: list[str], width: int) -> str:
    """An entry in running text: name and summary, then its facts, broken between words only."""
    cells = {column: _cell(entry[column]) for column in columns if column not in ("name", "summary")}
    told = " · ".join(f"{column} {cell}" for column, cell in cells.items() if cell)
    wrap = partial(textwrap.fill, width=width, break_long_words=False, break_on_hyphens=False)
    head = wrap(f"{entry['name']}: {entry['summary']}", subsequent_indent="  ")
    return f"{head}\n{wrap(told, initial_indent='  ', subsequent_indent='  ')}" if told else head


def _cell(value: Any) -> str:  # noqa: ANN401
    """A value as a table shows it."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_cell(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
