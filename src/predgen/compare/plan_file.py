"""Plans from YAML files, flags and the studies of the paper that come with the package."""

import dataclasses
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import yaml

from predgen.compare.plan import Plan, Variant, one_at_a_time, variants_of
from predgen.errors import ConfigError
from predgen.near_names import near_matches
from predgen.paper.published import COMPARED, STUDIES

_STUDY_FOLDER = "assets/paper/studies"
_VARIANT_KEYS = ("methods", "vary", "variants", "one_at_a_time")
_MERGED = ("settings", "baseline_settings")
_TUPLES = ("tasks", "baselines", "seeds", "headline")


def plan_from(*sources: Mapping[str, Any]) -> Plan:
    """Build a plan from mappings, later ones overriding earlier ones; `settings` and `baseline_settings` are merged, not replaced.

    Args:
        sources: Keys are those of `Plan`, but for the variants: `methods` with `vary` (setting -> values, all combinations),
            `variants` (a list of mappings: settings with an optional `name`), `one_at_a_time` (`base`: settings with an
            optional `name`; `factors`: setting -> values). They are added up; without any, the three methods are compared.
            Where `one_at_a_time` stands alone, its base is the `reference`, unless another one is named.

    Raises:
        ConfigError: On unknown keys, values of a wrong type, or a plan that contradicts itself.

    Example:
        >>> plan = plan_from({"tasks": ["sick"], "settings": {"epochs": 1.0}}, {"methods": ["predictor"], "seeds": [0]})
        >>> [cell.id for cell in plan.cells("sick", 0, {})]
        ['sick--constant--seed0', 'sick--tfidf--seed0', 'sick--zero_shot--seed0', 'sick--predictor--seed0']
    """
    merged: dict[str, Any] = {}
    known = [f.name for f in dataclasses.fields(Plan)] + list(_VARIANT_KEYS)
    for source in sources:
        for key, value in source.items():
            if key not in known:
                raise ConfigError(
                    f"unknown key {key!r} in the plan.{near_matches(key, known)} Known: {', '.join(known)}."
                )
            merged[key] = {**merged.get(key, {}), **value} if key in _MERGED else value
    parts = {key: merged.pop(key) for key in _VARIANT_KEYS if key in merged}
    for key in _TUPLES:
        if merged.get(key) is not None:
            merged[key] = tuple(_list_of(key, merged[key]))
    if "tune" in merged:
        merged["tune"] = {
            name: tuple(_list_of(name, values)) for name, values in _mapping("tune", merged["tune"]).items()
        }
    merged.setdefault("tasks", ())
    variants = _variants(parts)
    if set(parts) == {"one_at_a_time"}:
        merged.setdefault("reference", variants[0].name)
    try:
        return Plan(variants=variants, **merged)
    except TypeError as error:
        raise ConfigError(f"the plan has a value of a wrong type: {error}.") from error


def plan_of_study(name: str) -> dict[str, Any]:
    """Read the plan of a study of the paper: its tasks, methods and what they vary; base model and budget are the user's.

    Raises:
        ConfigError: If there is none of that name.
    """
    if name not in STUDIES:
        raise ConfigError(f"unknown study {name!r}.{near_matches(name, STUDIES)} Known: {', '.join(STUDIES)}.")
    text = resources.files("predgen").joinpath(f"{_STUDY_FOLDER}/{name}.yaml").read_text(encoding="utf-8")
    return {**yaml.safe_load(text), "study": name}


def _variants(parts: Mapping[str, Any]) -> tuple[Variant, ...]:
    """All variants of a plan file."""
    found: list[Variant] = []
    if "methods" in parts or "vary" in parts or not parts:
        vary = {name: _list_of(name, v) for name, v in _mapping("vary", parts.get("vary", {})).items()}
        found += variants_of(_list_of("methods", parts.get("methods", COMPARED)), vary)
    for entry in _list_of("variants", parts.get("variants", [])):
        found.append(_variant(entry))
    if "one_at_a_time" in parts:
        given = _mapping("one_at_a_time", parts["one_at_a_time"])
        if set(given) != {"base", "factors"}:
            raise ConfigError(
                "`one_at_a_time` needs `base` (settings) and `factors` (setting -> values), and nothing else."
            )
        factors = {name: _list_of(name, v) for name, v in _mapping("factors", given["factors"]).items()}
        found += one_at_a_time(_variant(given["base"]), factors)
    return tuple(found)


def _variant(entry: Any) -> Variant:  # noqa: ANN401
    """A variant written out: settings with an optional name."""
    settings = dict(_mapping("variants", entry))
    name = settings.pop("name", None)
    settings |= _mapping("settings", settings.pop("settings", {}))  # as an experiment's own plan has it
    if name is None:
        told = [f"{key}={value}" for key, value in settings.items() if key != "method"]
        name = " ".join([str(settings.get("method")), *told])
    return Variant(str(name), settings)


def _list_of(name: str, value: Any) -> Sequence[Any]:  # noqa: ANN401
    """A list, or raise naming the key."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ConfigError(f"`{name}` is {value!r}, but must be a list, such as [a, b].")
    return value


def _mapping(name: str, value: Any) -> Mapping[str, Any]:  # noqa: ANN401
    """A mapping, or raise naming the key."""
    if not isinstance(value, Mapping):
        raise ConfigError(f"`{name}` is {value!r}, but must hold `name: value` lines.")
    return value
