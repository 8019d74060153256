"""The registry itself, then every entry of every registry of the package."""

import pytest

from predgen import registries
from predgen.config import all_settings
from predgen.core import TaskSpec
from predgen.errors import ConfigError
from predgen.lookup import Registry
from predgen.metrics.base import Metric
from predgen.near_names import _MEANT, close_names, near_matches

ALL = {name: value for name, value in vars(registries).items() if isinstance(value, Registry)}
ENTRIES = [(kind, registry, name) for kind, registry in ALL.items() for name in registry]


@pytest.fixture
def shapes() -> Registry:
    registry = Registry("shape")
    registry.register("square", "math:sqrt", "four equal sides", aliases=("quad",))
    registry.register("circle", "no_such_module:thing", "round")
    return registry


def test_registering_imports_nothing(shapes: Registry) -> None:
    assert "circle" in shapes
    with pytest.raises(ModuleNotFoundError):
        shapes.get("circle")


def test_alias_gives_the_same_object_and_summary(shapes: Registry) -> None:
    assert shapes.get("quad") is shapes.get("square")
    assert shapes.canonical("quad") == "square"
    assert shapes.summary("quad") == "four equal sides"
    assert shapes.aliases("square") == ["quad"]
    assert "quad" in shapes


def test_facts_are_plain_data_known_without_importing(shapes: Registry) -> None:
    shapes.register("oval", "no_such_module:thing", "flattened", facts={"sides": 0}, aliases=("ellipse",))
    assert shapes.facts("oval") == shapes.facts("ellipse") == {"sides": 0}
    assert shapes.facts("square") == {}
    with pytest.raises(ConfigError, match="unknown shape 'ovl'"):
        shapes.facts("ovl")


def test_iteration_and_length_leave_aliases_out(shapes: Registry) -> None:
    assert list(shapes) == ["square", "circle"]
    assert len(shapes) == 2


def test_unknown_name_names_near_matches_and_all_known(shapes: Registry) -> None:
    with pytest.raises(
        ConfigError, match=r"unknown shape 'sqare'. Did you mean 'square'\? Known: circle, quad, square."
    ):
        shapes.get("sqare")


def test_far_name_has_no_suggestion(shapes: Registry) -> None:
    with pytest.raises(ConfigError, match=r"unknown shape 'xyz'\. Known:"):
        shapes.summary("xyz")


@pytest.mark.parametrize("name", ["square", "quad"])
def test_taken_name_is_refused(shapes: Registry, name: str) -> None:
    with pytest.raises(ConfigError, match=f"shape '{name}' is already registered"):
        shapes.register(name, "math:cos", "another")


def test_same_registration_twice_is_harmless(shapes: Registry) -> None:
    shapes.register("square", "math:sqrt", "four equal sides", aliases=("quad",))
    assert len(shapes) == 2


@pytest.mark.parametrize("target", ["math.sqrt", "a:b:c", ""])
def test_malformed_target_is_refused(shapes: Registry, target: str) -> None:
    with pytest.raises(ConfigError, match="must look like 'module:object'"):
        shapes.register("new", target, "?")


def test_near_matches_are_closest_first() -> None:
    assert near_matches("linaer", ["linear", "ordered"]) == " Did you mean 'linear'?"
    assert near_matches("q", ["linear"]) == ""


def test_package_has_all_registries() -> None:
    expected = "methods directors losses sampling schedules peft_methods codecs metrics tasks".split()
    assert set(expected) <= set(ALL)
    assert all(len(registry) for registry in ALL.values())


def test_every_entry_resolves() -> None:
    assert [(kind, name) for kind, registry, name in ENTRIES if registry.get(name) is None] == []


def test_every_entry_has_a_one_line_summary() -> None:
    summaries = {(kind, name): registry.summary(name) for kind, registry, name in ENTRIES}
    assert [entry for entry, text in summaries.items() if not text or text != text.strip() or "\n" in text] == []


def test_metrics_are_registered_under_their_own_names() -> None:
    found = {name: registries.metrics.get(name) for name in registries.metrics}
    assert [name for name, metric in found.items() if not isinstance(metric, Metric) or metric.name != name] == []


def test_tasks_are_registered_under_their_own_names_with_known_metrics_of_their_kind() -> None:
    found = {name: registries.tasks.get(name) for name in registries.tasks}
    assert [name for name, task in found.items() if not isinstance(task, TaskSpec) or task.name != name] == []
    kinds = {name: {registries.metrics.get(metric).kind for metric in task.metrics} for name, task in found.items()}
    assert [name for name, of_metrics in kinds.items() if of_metrics != {found[name].kind}] == []


def test_wdal_and_multiplicative_are_one_loss() -> None:
    assert registries.losses.get("multiplicative") is registries.losses.get("wdal")


@pytest.mark.parametrize(
    ("name", "meant"),
    [("lr", "learning_rate"), ("output_dir", "out"), ("lora_alpha", "alpha"), ("--max-seq-length", "max_length")],
)
def test_names_of_other_libraries_are_understood(name: str, meant: str) -> None:
    known = [*all_settings(), "out"]
    assert close_names(name, known) == [meant]


def test_every_meaning_is_something_that_there_is() -> None:
    known = set(all_settings()) | {"out", "workers"} | {name for registry in ALL.values() for name in registry}
    assert set(_MEANT.values()) <= known


def test_a_meaning_counts_only_where_it_is_known(shapes: Registry) -> None:
    with pytest.raises(ConfigError) as caught:
        shapes.get("lr")
    assert "learning_rate" not in str(caught.value)


def test_a_word_of_a_name_is_enough() -> None:
    assert close_names("rate", ["loss", "learning_rate"]) == ["learning_rate"]


def test_settings_named_as_in_the_first_version_say_how_they_are_declared_now() -> None:
    with pytest.raises(ConfigError, match="`settings=`"):
        Registry("shape").register("square", "math:sqrt", "four equal sides", facts={"settings": {"rank": 8}})
