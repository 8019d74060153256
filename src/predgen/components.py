"""Which components a configuration chooses, and which settings are theirs.

    names (method "predgen", peft "lora", ...) + settings as given, flat
      -> `resolve`: the component behind each name, with its own settings; where one of these is itself a choice
         (predgen's director), the component behind it, and so on
      -> `Component`s, one per registry

A setting belongs to the components of one registry. One that is given without a component chosen that has it is refused:
it would have no effect, and nobody would notice.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from predgen import registries
from predgen.errors import ConfigError
from predgen.lookup import Registry
from predgen.settings import Setting, Settings, declared

CODECS = {"classification": "label", "regression": "number", "math": "answer"}
"""Kind of task -> the codec of a method that writes, unless the method has one of its own (`registries.methods`)."""


@dataclass(frozen=True, slots=True)
class Component:
    """A chosen component.

    Attributes:
        registry: Where it is registered.
        name: Its name there.
        settings: Its own settings, as given or at their defaults; None where it declares none.
    """

    registry: Registry
    name: str
    settings: Any

    def declared(self) -> dict[str, Setting]:
        """Return the settings that it declares, by name."""
        return {} if self.settings is None else declared(type(self.settings))

    def shown(self) -> dict[str, Any]:
        """Return its settings that are no choice of another component, after its name."""
        own = {n: getattr(self.settings, n) for n, s in self.declared().items() if not isinstance(s.choices, Registry)}
        return {self.registry.kind: self.name, **own}

    def make(self, *arguments: Any) -> Any:  # noqa: ANN401
        """Build it from a class or function: called with the arguments, and its settings last where it declares any."""
        own = () if self.settings is None else (self.settings,)
        return self.registry.get(self.name)(*arguments, *own)

    def value(self) -> Any:  # noqa: ANN401
        """Return it where it is data (a task, a metric): as registered, or what is made from its settings."""
        return self.registry.get(self.name) if self.settings is None else self.make()


@dataclass(frozen=True, slots=True)
class Listed:
    """A setting as flags, YAML and docs show it.

    Attributes:
        setting: As it was declared; by the first of the components that have it.
        registry: Their registry; None: every run has it.
        defaults: Name of each component that has it -> its default.
    """

    setting: Setting
    registry: Registry | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """What its components are, as their registry says it; empty: every run has it."""
        return self.registry.kind if self.registry else ""

    @property
    def group(self) -> str:
        """Heading under which flags and docs show it."""
        return self.setting.group or self.kind.capitalize()

    @property
    def owners(self) -> list[str]:
        """The components that have it; none: every run has it."""
        return list(self.defaults)

    @property
    def default(self) -> Any:  # noqa: ANN401
        """The default, where all owners have the same; else None."""
        values = list(self.defaults.values()) or [self.setting.default]
        return values[0] if all(value == values[0] for value in values) else None


def resolve(chosen: Iterable[tuple[Registry, str]], given: Mapping[str, Any], kind: str | None) -> dict[str, Component]:
    """Return the components that names choose, and those that their settings choose in turn, by their registry's kind.

    Args:
        chosen: Registries with a name in each.
        given: Settings, flat; others than these components' are passed over, and None is not given.
        kind: Kind of task, by which names that are None are found; None: it is not known.

    Raises:
        ConfigError: If a name is unknown, or a value not allowed.
    """
    found: dict[str, Component] = {}
    waiting = list(chosen)
    while waiting:
        registry, name = waiting.pop(0)
        cls = registry.settings_of(name)
        settings = None
        if cls is not None:
            settings = cls(**{key: given[key] for key in declared(cls) if given.get(key) is not None})
            waiting += [choice for one in declared(cls).values() if (choice := _choice(one, settings, kind))]
        found[registry.kind] = Component(registry, registry.canonical(name), settings)
    return found


def _choice(one: Setting, settings: Settings, kind: str | None) -> tuple[Registry, str] | None:
    """The component that a setting chooses, if it is one that does."""
    name = getattr(settings, one.name) or one.by_kind.get(kind or "")
    return (one.choices, name) if isinstance(one.choices, Registry) and name else None


def flat(components: Mapping[str, Component]) -> dict[str, Any]:
    """Return all settings of components, by name."""
    return {
        name: value
        for component in components.values()
        if component.settings is not None
        for name, value in component.settings.to_dict().items()
    }


NO_SETTINGS: Mapping[str, Any] = MappingProxyType({})


def value_of(registry: Registry, name: str, given: Mapping[str, Any] = NO_SETTINGS) -> Any:  # noqa: ANN401
    """Return what is registered as data, a task or a metric: where it declares settings, made from them.

    Args:
        registry: Where it is registered.
        name: Its name.
        given: Settings, flat; others are passed over.
    """
    return resolve([(registry, name)], given, None)[registry.kind].value()


def defaults_of(registry: Registry, name: str) -> dict[str, Any]:
    """Return the settings of a component, and of those that it chooses, at their defaults."""
    return flat(resolve([(registry, name)], {}, None))


def filled(components: Mapping[str, Component]) -> dict[str, Any]:
    """Return all settings of components, by name; a choice that was left open has the name of what the kind of task has."""
    values = flat(components)
    for component in components.values():
        for one in component.declared().values():
            if isinstance(one.choices, Registry) and one.choices.kind in components:
                values[one.name] = components[one.choices.kind].name
    return values


def left_open(components: Mapping[str, Component]) -> dict[str, Setting]:
    """Return the settings of components that choose another one by the kind of task, by name."""
    return {
        name: one
        for component in components.values()
        for name, one in component.declared().items()
        if one.by_kind and getattr(component.settings, name) is None
    }


def owned(among: Iterable[Registry] | None = None) -> dict[str, Listed]:
    """Return every setting that components have, by name.

    Args:
        among: The components' registries; None: those that a run chooses from.

    Raises:
        ConfigError: If components of two registries have settings of one name.
    """
    found: dict[str, Listed] = {}
    for registry in registries.of_runs() if among is None else among:
        for name in registry:
            for one in declared(registry.settings_of(name)).values():
                known = found.get(one.name)
                if known is not None and known.registry is not registry:
                    raise ConfigError(
                        f"setting `{one.name}` of {registry.kind} {name!r} is one of {known.kind}"
                        f" {known.owners[0]!r}, too. Give it another name, such as `{name}_{one.name}`."
                    )
                defaults = {**(known.defaults if known else {}), name: one.default}
                found[one.name] = Listed(known.setting if known else one, registry, defaults)
    return found


def reaches(registry: Registry, name: str, setting: str) -> bool:
    """Whether a component has a setting, or some component that its settings may choose has it."""
    found = declared(registry.settings_of(name))
    further = [one.choices for one in found.values() if isinstance(one.choices, Registry)]
    return setting in found or any(reaches(choices, other, setting) for choices in further for other in choices)
