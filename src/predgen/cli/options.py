"""The settings of `RunConfig` as command-line options: one list, in `config.py`, for flags, YAML and docs."""

import functools
import inspect
import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Optional, get_origin

import typer

from predgen import registries
from predgen.cli.errors import readable_errors
from predgen.cli.say import say
from predgen.components import Listed, owned
from predgen.config import RENAMED, RunConfig, all_settings, config_from, read_config, without_useless
from predgen.core import Decoding
from predgen.errors import ConfigError
from predgen.lookup import Registry, import_modules
from predgen.ranks import is_first_rank
from predgen.settings import declared

if TYPE_CHECKING:
    from predgen.inference.targets import TrainedTargets
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

TrustRemoteCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        help="Let a model that was trained with Python code of its base run that code. Read that code first.",
    ),
]


def with_imports(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option `--import`; `import_named` obeys it before the others are read."""

    @functools.wraps(command)
    def run(**kwargs: Any) -> None:  # noqa: ANN401
        kwargs.pop("modules")
        command(**kwargs)

    option = typer.Option(
        "--import",
        help="Python module with components of your own to register, e.g. my_package.my_module; repeatable.",
    )
    modules = inspect.Parameter(
        "modules", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[list[str] | None, option]
    )
    parameters = [*inspect.signature(command).parameters.values(), modules]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


@readable_errors
def import_named(words: Sequence[str]) -> None:
    """Import the modules of `--import` in a command line: other options and their values may be what they register."""
    following = [after for word, after in itertools.pairwise(words) if word == "--import"]
    import_modules([*following, *(word.partition("=")[2] for word in words if word.startswith("--import="))])


LATER: ContextVar[Mapping[str, Any]] = ContextVar("LATER", default=MappingProxyType({}))
"""Values of the options that `later_settings` added: typer hands a command only those that it was made with."""


TARGET = "target"
"""The option that may be given several times, once for each target; `RunConfig` reads the list."""

OptionSettings = Mapping[str, Listed]
"""Name of an option, with underscores -> the setting that it gives."""


def later_settings(settings: OptionSettings, known: Collection[str]) -> list[Any]:
    """Options, as a command's `params` has them, for settings of components that were registered since it was made."""

    def command(**kwargs: Any) -> None:  # noqa: ANN401
        """Nothing: typer makes options of a signature only."""

    added = [_parameter(name, listed) for name, listed in settings.items() if name not in known]
    command.__signature__ = inspect.Signature(added)  # type: ignore[attr-defined]  # typer reads it
    command.__annotations__ = {p.name: p.annotation for p in added}
    app = typer.Typer(add_completion=False)
    app.command()(command)
    names = {p.name for p in added}
    return [option for option in typer.main.get_command(app).params if option.name in names]


def with_settings(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each setting of `RunConfig` (or for `names` only), as keyword `given`."""

    def chosen() -> OptionSettings:
        return {name: listed for name, listed in all_settings().items() if not names or name in names}

    return with_options(chosen, RENAMED, is_open=not names)


def decoding_settings(*names: str) -> OptionSettings:
    """The settings of what is asked of a model (or `names` only), and those of decodings themselves."""
    asked = {"decode" if name == "how" else name: Listed(one) for name, one in declared(Decoding).items()}
    return {name: one for name, one in asked.items() if not names or name in names} | owned([registries.decodings])


def decoding_from(given: Mapping[str, Any]) -> Decoding:
    """What is asked of a model, by options of `decoding_settings`."""
    asked = {"how" if name == "decode" else name: value for name, value in given.items()}
    own = {name: asked.pop(name) for name in list(asked) if name not in declared(Decoding)}
    return Decoding(**asked, own=own)


def with_options(
    listed: Callable[[], OptionSettings], hidden: Sequence[str] = (), *, is_open: bool = True
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each setting of a list, as keyword `given`.

    `given` holds the settings that were given as flags, and nothing else, so that they can override a YAML file.

    Args:
        listed: Lists them.
        hidden: Names of options with text that are read, and not shown.
        is_open: Whether settings of components that are registered later are options, too.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        chosen = listed()

        @functools.wraps(command)
        def run(**kwargs: Any) -> None:  # noqa: ANN401
            given = {**{k: kwargs.pop(k) for k in list(kwargs) if k in chosen or k in hidden}, **LATER.get()}
            command(**kwargs, given={k: v for k, v in given.items() if v not in (None, [], ())})

        own = [p for p in inspect.signature(command).parameters.values() if p.name != "given"]
        added = [*(_parameter(name, one) for name, one in chosen.items()), *map(_hidden, hidden)]
        run.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]  # typer reads it
        run.__annotations__ = {p.name: p.annotation for p in [*own, *added]}
        run.settings_then = listed if is_open else None  # type: ignore[attr-defined]  # see `main.Command`
        return run

    return decorate


def _parameter(name: str, listed: Listed) -> inspect.Parameter:
    """One setting as a keyword parameter that typer understands."""
    one = listed.setting
    kind: Any = (
        str if get_origin(one.type) is dict else one.type
    )  # `RunConfig` reads a mapping's form on the command line
    kind = list[str] if name == TARGET else kind
    flag = flag_of(name)
    flags = f"{flag}/--no{flag[1:]}" if kind is bool else flag
    option = typer.Option(flags, help=help_of(listed), rich_help_panel=listed.group or None, show_default=False)
    annotation: Any = Annotated[Optional[kind], option]  # noqa: UP045  (made at run time)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _hidden(name: str) -> inspect.Parameter:
    """A setting of the first version, which is read and not shown."""
    annotation: Any = Annotated[Optional[str], typer.Option(flag_of(name), hidden=True)]  # noqa: UP045
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def flag_of(name: str) -> str:
    """A setting's flag."""
    return "--" + name.replace("_", "-")


def help_of(listed: Listed) -> str:
    """Help text with names or range, and the default."""
    one = listed.setting
    parts = [one.help]
    if one.choices is not None:
        parts.append(f"({' | '.join(one.choices)})")
    elif one.low is not None or one.high is not None:
        parts.append(f"({'' if one.low is None else f'{one.low:g}'}..{'' if one.high is None else f'{one.high:g}'})")
    if listed.default is not None:
        parts.append(f"[default: {plain_value(listed.default)}]")
    elif any(default is not None for default in listed.defaults.values()):
        parts.append(
            f"[default: {', '.join(f'{owner} {plain_value(value)}' for owner, value in listed.defaults.items())}]"
        )
    return " ".join(parts)


def plain_value(value: Any) -> str:  # noqa: ANN401
    """A default as it is given on the command line."""
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


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
        # What the paper sets for its method says nothing about another one.
        settings_of_preset = without_useless(
            {**chosen.settings, **overriding}, chosen.settings.keys() - overriding.keys()
        )
        if is_first_rank():
            say(chosen.described(overriding), err=True)
    return config_from(settings_of_preset, overriding), None if out is None else str(out)


def names_of(registry: Registry) -> list[dict[str, Any]]:
    """Name, summary and aliases of everything in a registry, as plain data."""
    return [{"name": n, "summary": registry.summary(n), "aliases": registry.aliases(n)} for n in registry]


def say_engine(trained: "TrainedModel | TrainedTargets") -> None:
    """Say so where a model's answers are not evaluated by the tree pass, or its base model needs a detour."""
    from predgen.inference.trained import engine_in_words
    from predgen.terminal import PlainConsole

    for line in engine_in_words(trained.model):
        PlainConsole(stderr=True).print(line)
