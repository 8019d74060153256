"""What a setting is. Components declare theirs once, beside themselves, without importing torch.

A component's settings are a frozen dataclass derived from `Settings`, its fields made by `setting`. Flags, YAML, docs,
`predgen ls`, checks and saved configurations all follow from it; see `components` for how they are brought together.

    @dataclass(frozen=True)
    class OrderedSettings(Settings):
        ordered_last_weight: float = setting(2.0, "Weight of the last digit before normalising.", low=0.0)
"""

import types
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from predgen.errors import ConfigError
from predgen.lookup import Registry
from predgen.near_names import near_matches


def setting(
    default: Any,  # noqa: ANN401
    help: str,
    *,
    group: str = "",
    choices: Registry | tuple[str, ...] | None = None,
    low: float | None = None,
    high: float | None = None,
    source: str = "",
    by_kind: Mapping[str, str] | None = None,
    without_tree: Mapping[str, str] | None = None,
    hash: bool | None = None,
) -> Any:  # noqa: ANN401
    """Declare one setting: a field of a dataclass derived from `Settings`.

    Args:
        default: Its default; None: not set.
        help: What it means, with its unit.
        group: Heading under which flags and docs show it; empty: that of the component's registry.
        choices: Allowed names. A registry makes the setting a choice of a component, whose own settings come with it.
        low: Least number allowed.
        high: Greatest number allowed.
        source: Paper or code that the default is from.
        by_kind: Kind of task -> name that None stands for, where `choices` is a registry.
        without_tree: The same where a row's answers cannot all be run in one pass: the grid of numbers is too large, or the base
            cannot run trees. Kinds that are left out have what `by_kind` says.
        hash: See `dataclasses.field`.
    """
    metadata = {
        "help": help, "group": group, "choices": choices, "low": low, "high": high, "source": source, "by_kind": by_kind or {},
        "without_tree": without_tree or {},
    }  # fmt: skip
    return field(default=default, metadata=metadata, hash=hash)


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as it was declared; see `setting`.

    Attributes:
        name: Name of the field, in YAML; flags have dashes in place of underscores.
        type: `int`, `float`, `str`, `bool` or `dict[str, str]`.
        is_optional: Whether None is allowed.
    """

    name: str
    type: Any
    is_optional: bool
    default: Any
    help: str
    group: str
    choices: Registry | tuple[str, ...] | None
    low: float | None
    high: float | None
    source: str
    by_kind: Mapping[str, str]
    without_tree: Mapping[str, str]

    def read(self, value: Any) -> Any:  # noqa: ANN401
        """Return `value` in the setting's type.

        Raises:
            ConfigError: Naming setting, value and what is allowed.
        """
        if value is None:
            if not self.is_optional:
                raise ConfigError(f"`{self.name}` cannot be empty; {self.help}")
            return None
        if get_origin(self.type) is dict:
            return value  # the class that declares a mapping checks it
        value = of_type(self.name, value, self.type)
        if isinstance(self.choices, Registry):
            value = self.choices.canonical(value)
        elif self.choices is not None and value not in self.choices:
            raise ConfigError(
                f"`{self.name}` is {value!r}.{near_matches(value, self.choices)} Allowed: {', '.join(self.choices)}."
            )
        low, high = self.low, self.high
        if self.type in (int, float) and not ((low is None or value >= low) and (high is None or value <= high)):
            bounds = f"{'-inf' if low is None else f'{low:g}'}..{'inf' if high is None else f'{high:g}'}"
            raise ConfigError(f"`{self.name}` is {value!r}, outside {bounds}. {self.help}")
        return value


@dataclass(frozen=True)
class Settings:
    """Base of the settings of a component; what has a wrong type, name or range is refused when it is made.

    Raises:
        ConfigError: Naming setting, value and what is allowed.
    """

    def __post_init__(self) -> None:
        for one in declared(type(self)).values():
            object.__setattr__(self, one.name, one.read(getattr(self, one.name)))

    def to_dict(self) -> dict[str, Any]:
        """Return name -> value."""
        return {name: getattr(self, name) for name in declared(type(self))}


def declared(cls: type | None) -> dict[str, Setting]:
    """Return the settings that a dataclass declares, by name, in their order; none for None."""
    return _declared(cls) if cls is not None else {}


@cache
def _declared(cls: Any) -> dict[str, Setting]:  # noqa: ANN401  (mypy takes a class with a hash of its own for unhashable)
    """`declared`, remembered."""
    hints = get_type_hints(cls)
    return {f.name: _setting(f.name, hints[f.name], f.default, f.metadata) for f in fields(cls) if "help" in f.metadata}


def _setting(name: str, hint: Any, default: Any, metadata: Mapping[str, Any]) -> Setting:  # noqa: ANN401
    """One field as a setting."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    wanted = next(option for option in options if option is not type(None))
    return Setting(name, wanted, type(None) in options, default, **metadata)


def of_type(name: str, value: Any, wanted: type) -> Any:  # noqa: ANN401
    """Return `value` as the wanted type, or raise naming setting, value and type."""
    if wanted is float and isinstance(value, int | str) and not isinstance(value, bool):
        try:
            value = float(value)
        except ValueError:
            raise ConfigError(f"`{name}` is {value!r}, but must be a number.") from None
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise ConfigError(f"`{name}` is {value!r}, but must be of type {wanted.__name__}.")
    return value
