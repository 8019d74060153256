"""Things that are looked up by name and imported when they are first used; `registries` holds those of the package.

A registry is the only list of its kind: `predgen ls`, the docs tables, the configuration's checks and the tests
all read it. Registering costs one line and imports nothing.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from predgen.errors import ConfigError
from predgen.near_names import near_matches

GROUP = "predgen"
"""Entry point group: packages that name modules here have them imported when a name is looked up that is not known yet."""


@cache
def load_entry_points() -> None:
    """Import the modules that installed packages name in the group, once; importing them registers what they hold.

    Raises:
        ConfigError: If one of them cannot be imported.
    """
    for point in entry_points(group=GROUP):
        try:
            point.load()
        except Exception as error:  # whatever that package's code raises
            package = point.dist.name if point.dist else "an installed package"
            raise ConfigError(
                f"entry point {point.name!r} = {point.value!r} of {package} cannot be imported: {error!r}. Repair that package,"
                " or uninstall it."
            ) from error


def import_modules(names: Iterable[str]) -> None:
    """Import the user's own modules, which register what they hold; they may lie in the working directory.

    Raises:
        ConfigError: If one of them cannot be imported.
    """
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)  # last, so that nothing there stands before an installed package
    for name in names:
        try:
            import_module(name)
        except Exception as error:  # whatever the user's code raises
            raise ConfigError(
                f"--import {name!r}: {error!r}. Give a module that Python can import from here, such as my_package.my_module."
            ) from error


class Registry:
    """Map from a name to `"module:object"`, imported at first use.

    Args:
        kind: What the registry holds, in the singular, as error messages say it ("loss", "director").

    Example:
        >>> functions = Registry("function")
        >>> functions.register("sqrt", "math:sqrt", "the square root")
        >>> functions.get("sqrt")(9.0)
        3.0
        >>> functions.get("sqrrt")
        Traceback (most recent call last):
        predgen.errors.ConfigError: unknown function 'sqrrt'. Did you mean 'sqrt'? Known: sqrt.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._targets: dict[str, str] = {}
        self._summaries: dict[str, str] = {}
        self._aliases: dict[str, str] = {}
        self._facts: dict[str, dict[str, Any]] = {}
        self._settings: dict[str, str | None] = {}

    def register(
        self,
        name: str,
        target: str,
        summary: str,
        *,
        aliases: Iterable[str] = (),
        facts: Mapping[str, Any] | None = None,
        settings: str | type | None = None,
    ) -> None:
        """Add a thing.

        Args:
            name: What it is called in settings.
            target: `"module:object"`.
            summary: One line for `predgen ls` and the docs.
            aliases: Other names.
            facts: Plain data that has to be known without importing the target, see `registries`.
            settings: Its own settings: a dataclass derived from `settings.Settings`, or `"module:class"`.

        Raises:
            ConfigError: If the name is taken by another target, or the target is not `"module:object"`.
        """
        declared = f"{settings.__module__}:{settings.__qualname__}" if isinstance(settings, type) else settings
        for text in (target, declared or ":"):
            if text.count(":") != 1:
                raise ConfigError(f"target {text!r} of {self.kind} {name!r} must look like 'module:object'.")
        if "settings" in (facts or {}):
            raise ConfigError(
                f"`facts` of {self.kind} {name!r} name settings, as in 0.1: give them as `settings=`, a dataclass derived from"
                " `predgen.settings.Settings`."
            )
        for key in (name, *aliases):
            if key in self and self._targets.get(self._aliases.get(key, key)) != target:
                raise ConfigError(f"{self.kind} {key!r} is already registered; choose another name.")
        self._targets[name] = target
        self._summaries[name] = summary
        self._facts[name] = dict(facts or {})
        self._settings[name] = declared
        self._aliases.update(dict.fromkeys(aliases, name))

    def canonical(self, name: str) -> str:
        """Return the registered name behind `name` (which may be an alias).

        A name that is not known yet may be that of an installed package with an entry point of group `predgen`.

        Raises:
            ConfigError: If the name is unknown; near matches are named.
        """
        if name not in self:
            load_entry_points()
        name = self._aliases.get(name, name)
        if name not in self._targets:
            known = ", ".join(sorted([*self._targets, *self._aliases]))
            raise ConfigError(
                f"unknown {self.kind} {name!r}.{near_matches(name, [*self._targets, *self._aliases])} Known: {known}."
            )
        return name

    def get(self, name: str) -> Any:  # noqa: ANN401  (a registry holds functions, classes and data)
        """Import and return the object registered under `name`."""
        module, attribute = self._targets[self.canonical(name)].split(":")
        return getattr(import_module(module), attribute)

    def summary(self, name: str) -> str:
        """Return the one-line description of `name`."""
        return self._summaries[self.canonical(name)]

    def facts(self, name: str) -> dict[str, Any]:
        """Return the plain data registered with `name`."""
        return self._facts[self.canonical(name)]

    def settings_of(self, name: str) -> Any:  # noqa: ANN401
        """Import and return the dataclass of the settings that `name` declares; None where it declares none."""
        declared = self._settings[self.canonical(name)]
        if declared is None:
            return None
        module, attribute = declared.split(":")
        return getattr(import_module(module), attribute)

    def aliases(self, name: str) -> list[str]:
        """Return the other names of `name`."""
        return [alias for alias, target in self._aliases.items() if target == name]

    def registrations(self) -> list[dict[str, Any]]:
        """Return what `register` was called with, as plain data: another process can register the same."""
        return [
            {
                "name": name,
                "target": target,
                "summary": self._summaries[name],
                "aliases": self.aliases(name),
                "facts": self._facts[name],
                "settings": self._settings[name],
            }
            for name, target in self._targets.items()
        ]

    def __contains__(self, name: object) -> bool:
        return name in self._targets or name in self._aliases

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def __len__(self) -> int:
        return len(self._targets)
