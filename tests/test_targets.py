"""Several targets as settings: read from YAML, Python and the command line, checked, and as runs of one target each."""

from typing import Any

import pytest

from predgen.config import RunConfig
from predgen.errors import ConfigError
from predgen.targets import TargetSpec

PROMPT = "Review: {text}"
SEVERAL: list[Any] = [
    {"name": "stars", "kind": "regression", "decimals": 0, "minimum": 1, "maximum": 5},
    "mood:classification",
    {"name": "urgency", "kind": "ordinal", "labels": ["low", 2, True], "weight": 2},
    r"tags:multilabel:\nIs it about {label}?",
]


def several(**settings: Any) -> RunConfig:
    return RunConfig(**{"prompt": PROMPT, "targets": SEVERAL, **settings})


def test_targets_are_the_same_from_mappings_and_from_the_command_line() -> None:
    mapping = TargetSpec.read({"name": "tags", "kind": "multilabel", "question": "\nIs it about {label}?"})
    assert TargetSpec.read(r"tags:multilabel:\nIs it about {label}?") == mapping
    assert mapping.asked("red {wine}") == "\nIs it about red {{wine}}?"
    assert TargetSpec.read("how_late:regression").question == "\nHow late:"
    assert several().target_specs[2].labels == ("low", "2", "true")


def test_a_configuration_of_targets_survives_being_stored() -> None:
    config = several()
    stored = config.to_dict()
    assert RunConfig(**stored).to_dict() == stored
    assert "targets" not in RunConfig(task="sst2").to_dict()


def test_each_question_is_a_run_of_one_target() -> None:
    config = several(learning_rate=0.5, director=None)
    stars, mood, urgency, tags = config.target_specs
    alone = RunConfig(
        prompt=f"{PROMPT}\nStars:",
        target="stars",
        kind="regression",
        decimals=0,
        minimum=1,
        maximum=5,
        learning_rate=0.5,
    )
    assert config.of_target(stars) == alone
    assert config.of_target(mood) == RunConfig(
        prompt=f"{PROMPT}\nMood:", target="mood", kind="classification", learning_rate=0.5
    )
    assert config.of_target(urgency).director == "crps"
    assert list(config.of_target(urgency).label_texts or ()) == ["low", "2", "true"]
    assert config.of_target(tags, "wine").prompt == f"{PROMPT}\nIs it about wine?"
    assert config.of_target(tags, "wine").target == "tags[wine]"


@pytest.mark.parametrize("method", ["predictor", "generator"])
def test_levels_need_no_director_where_the_method_has_none(method: str) -> None:
    config = several(method=method, targets=["stars:ordinal"])
    assert config.of_target(config.target_specs[0]).kind == "classification"


def test_a_director_of_the_run_or_the_target_stands_before_that_of_the_kind() -> None:
    config = several(
        director="nll", targets=["stars:ordinal", {"name": "age", "kind": "ordinal", "director": "residual"}]
    )
    assert [config.of_target(spec).director for spec in config.target_specs] == ["nll", "residual"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"targets": []}, ["`targets`", "\\[\\]"]),
        ({"targets": ["mood"]}, ["'mood'", "kind"]),
        ({"targets": [{"name": "mood"}]}, ["mood", "kind"]),
        ({"targets": ["mood:classfication"]}, ["'mood'", "'classfication'", "classification"]),
        ({"targets": ["mood:regression", "mood:classification"]}, ["'mood'", "more than once"]),
        ({"targets": [{"name": "m", "kind": "regression", "decimal": 1}]}, ["'m'", "`decimal`", "decimals"]),
        ({"targets": [{"name": "m", "kind": "classification", "decimals": 1}]}, ["'m'", "`decimals`", "1"]),
        ({"targets": [{"name": "m", "kind": "regression", "weight": 0}]}, ["'m'", "`weight`", "0"]),
        ({"targets": [{"name": "m", "kind": "regression", "labels": ["a"]}]}, ["'m'", "`labels`"]),
        ({"targets": [{"name": "m", "kind": "ordinal", "labels": ["a", "a"]}]}, ["'m'", "`labels`", "different"]),
        ({"targets": ["m:multilabel:\nTags:"]}, ["'m'", "`question`", "{label}"]),
        ({"targets": ["m:regression:\nStars: "]}, ["'m'", "`question`", "blanks"]),
        ({"targets": [{"name": "m", "kind": "regression", "shares": {"a": "b", "c": "d"}}]}, ["'m'", "`shares`"]),
        ({"targets": ["text:regression"], "prompt": None}, ["`prompt`"]),
        ({"target": "mood"}, ["`target`", "'mood'", "`targets`"]),
        ({"kind": "regression"}, ["`kind`", "'regression'", "`targets`"]),
        ({"task": "sst2"}, ["`task`", "`targets`"]),
        ({"minimum": 0}, ["`minimum`", "inside the target"]),
        ({"decimals": 2}, ["`decimals`", "2", "inside that target"]),
        ({"metric": "mse"}, ["`metric`", "'mse'"]),
        ({"method": "options"}, ["'options'"]),
    ],
    ids=str,
)
def test_contradictions_are_named(settings: dict[str, Any], said: list[str]) -> None:
    for words in said:
        with pytest.raises(ConfigError, match=words):
            several(**settings)
