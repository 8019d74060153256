"""The settings of `RunConfig` as command-line options: one list, in `config.py`, for flags, YAML and docs."""

import functools
import inspect
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional, Union, get_args, get_origin, get_type_hints

import typer

from predgen import registries
from predgen.cli.errors import readable_errors
from predgen.cli.say import say
from predgen.config import RunConfig, config_from, read_config, setting_fields
from predgen.errors import ConfigError
from predgen.registry import Registry, import_modules

if TYPE_CHECKING:
    from predgen.inference.trained import TrainedModel

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="YAML file with the same settings; flags override it.", rich_help_panel="Run"),
]
PresetName = Annotated[
    str | None,
    typer.Option(
        "--preset",
        help=f"Start from published settings; YAML and flags override them. ({' | '.join(registries.presets)})",
        rich_help_panel="Run",
    ),
]

Decode = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        help="greedy | argmax | mean | median | best | free: read the prediction off what the model writes; best: the mean,"
        " or the median where the metric is mae; free (Generator): without constraint. Default: the method's own.",
    ),
]

TrustRemoteCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        help="Let a model that was trained with Python code of its base run that code. Read that code first.",
    ),
]


def with_imports(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option `--import`, which is obeyed before all others: their values may be names it registers."""

    @functools.wraps(command)
    def run(**kwargs: Any) -> None:  # noqa: ANN401
        kwargs.pop("modules")
        command(**kwargs)

    option = typer.Option(
        "--import",
        help="Python module with components of your own to register, e.g. my_package.my_module; repeatable.",
        callback=readable_errors(_import),
        is_eager=True,
    )
    modules = inspect.Parameter(
        "modules", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[list[str] | None, option]
    )
    parameters = [*inspect.signature(command).parameters.values(), modules]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _import(names: list[str] | None) -> list[str] | None:
    """Import the user's modules."""
    import_modules(names or ())
    return names


def with_settings(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each setting of `RunConfig` (or for `names` only), as keyword `given`.

    `given` holds the settings that were given as flags, and nothing else, so that they can override a YAML file.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        chosen = [f for f in setting_fields() if not names or f.name in names]
        keys = {f.name for f in chosen}

        @functools.wraps(command)
        def run(**kwargs: Any) -> None:  # noqa: ANN401
            given = {k: kwargs.pop(k) for k in list(kwargs) if k in keys}
            command(**kwargs, given={k: v for k, v in given.items() if v is not None})

        own = [p for p in inspect.signature(command).parameters.values() if p.name != "given"]
        added = [_parameter(f) for f in chosen]
        run.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]  # typer reads it
        run.__annotations__ = {p.name: p.annotation for p in [*own, *added]}
        return run

    return decorate


def _parameter(f: Any) -> inspect.Parameter:  # noqa: ANN401  (a dataclass field)
    """One setting as a keyword parameter that typer understands."""
    kind = plain_type(get_type_hints(RunConfig)[f.name])
    if get_origin(kind) is dict:
        kind = str  # `RunConfig` reads a mapping's form on the command line
    flag = "--" + f.name.replace("_", "-")
    flags = f"{flag}/--no{flag[1:]}" if kind is bool else flag
    option = typer.Option(flags, help=_help(f), rich_help_panel=f.metadata["group"], show_default=False)
    annotation: Any = Annotated[Optional[kind], option]  # noqa: UP045  (made at run time)
    return inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def plain_type(hint: Any) -> Any:  # noqa: ANN401
    """`int` of `int | None`."""
    if get_origin(hint) in (Union, types.UnionType):
        return next(option for option in get_args(hint) if option is not type(None))
    return hint


def _help(f: Any) -> str:  # noqa: ANN401  (a dataclass field)
    """Help text with names or range, and the default."""
    choices, low, high = f.metadata["choices"], f.metadata["low"], f.metadata["high"]
    parts = [f.metadata["help"]]
    if choices is not None:
        parts.append(f"({' | '.join(choices)})")
    elif low is not None or high is not None:
        parts.append(f"({'' if low is None else f'{low:g}'}..{'' if high is None else f'{high:g}'})")
    if f.default is not None:
        parts.append(f"[default: {str(f.default).lower() if isinstance(f.default, bool) else f.default}]")
    return " ".join(parts)


def settings(
    config_file: Path | None, given: Mapping[str, Any], preset: str | None = None
) -> tuple[RunConfig, str | None]:
    """Bring preset, YAML file and flags together; returns the config and the YAML's `out`, if it has one.

    A preset (given, or the YAML's `preset`) is printed, what its source gives apart from what it does not.

    Raises:
        ConfigError: On unknown keys and values that are not allowed, or a preset without a task.
    """
    from_file = read_config(config_file) if config_file else {}
    out = from_file.pop("out", None)
    in_file = from_file.pop("preset", None)
    name = preset or in_file
    overriding = {**from_file, **given}
    settings_of_preset: Mapping[str, Any] = {}
    if name is not None:
        if not isinstance(overriding.get("task"), str):
            raise ConfigError(f"preset {name!r} has settings per task, so give --task (`predgen ls tasks`).")
        peft = {"peft": overriding["peft"]} if isinstance(overriding.get("peft"), str) else {}
        chosen = registries.presets.get(str(name))(overriding["task"], **peft)
        settings_of_preset = chosen.settings
        say(chosen.described(overriding), err=True)
    return config_from(settings_of_preset, from_file, given), None if out is None else str(out)


def names_of(registry: Registry) -> list[dict[str, Any]]:
    """Name, summary and aliases of everything in a registry, as plain data."""
    return [{"name": n, "summary": registry.summary(n), "aliases": registry.aliases(n)} for n in registry]


def say_engine(trained: "TrainedModel") -> None:
    """Say so where a model's answers are not evaluated by the tree pass, or its base model needs a detour."""
    from predgen.terminal import PlainConsole

    model = trained.model
    if model.way.startswith("sequential") or model.engine != model.way:
        PlainConsole(stderr=True).print(f"Answers: {model.engine}.")
