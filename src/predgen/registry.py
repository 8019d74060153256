"""Named things that are loaded when they are first used: tasks, losses, directors, PEFT methods, ...

A registry is the only list of its kind: `predgen ls`, the docs tables, the configuration's checks and the tests
all read it. Registering costs one line and imports nothing.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any

from predgen.errors import ConfigError


def near_matches(name: str, known: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"` for the closest known names, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""


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

    def register(
        self,
        name: str,
        target: str,
        summary: str,
        *,
        aliases: Iterable[str] = (),
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Add `name`; `target` is `"module:object"`, `summary` one line for `predgen ls` and the docs.

        `facts` is plain data that has to be known without importing the target, see `registries`.

        Raises:
            ConfigError: If the name is taken by another target, or the target is not `"module:object"`.
        """
        if target.count(":") != 1:
            raise ConfigError(f"target {target!r} of {self.kind} {name!r} must look like 'module:object'.")
        for key in (name, *aliases):
            if key in self and self._targets.get(self._aliases.get(key, key)) != target:
                raise ConfigError(f"{self.kind} {key!r} is already registered; choose another name.")
        self._targets[name] = target
        self._summaries[name] = summary
        self._facts[name] = dict(facts or {})
        self._aliases.update(dict.fromkeys(aliases, name))

    def canonical(self, name: str) -> str:
        """Return the registered name behind `name` (which may be an alias).

        Raises:
            ConfigError: If the name is unknown; near matches are named.
        """
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

    def aliases(self, name: str) -> list[str]:
        """Return the other names of `name`."""
        return [alias for alias, target in self._aliases.items() if target == name]

    def __contains__(self, name: object) -> bool:
        return name in self._targets or name in self._aliases

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def __len__(self) -> int:
        return len(self._targets)
