"""Settings: defaults, ranges, types, names, sources and YAML files."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from predgen import registries
from predgen.config import RunConfig, config_from, peft_setting_owners, read_config, setting_fields
from predgen.errors import ConfigError
from predgen.registry import Registry

FIELDS = setting_fields()
LOW = [pytest.param(f.name, f.metadata["low"], id=f.name) for f in FIELDS if f.metadata["low"] is not None]
HIGH = [pytest.param(f.name, f.metadata["high"], id=f.name) for f in FIELDS if f.metadata["high"] is not None]
CHOSEN = [f for f in FIELDS if f.metadata["choices"] is not None]


def make(**settings: Any) -> RunConfig:
    """Make a configuration for a known task, with a PEFT method that has the settings given, whatever else is given."""
    owners = [owner for name in settings for owner in peft_setting_owners().get(name, [])]
    return RunConfig(**{"task": "sst2", "peft": owners[0] if owners else "lora", **settings})


def test_fields_have_help_and_group() -> None:
    assert [f.name for f in FIELDS if not (f.metadata["help"].strip() and f.metadata["group"].strip())] == []


def test_defaults_lie_in_their_own_range_and_choices() -> None:
    wrong = []
    for field in FIELDS:
        value, low, high, choices = field.default, *(field.metadata[key] for key in ("low", "high", "choices"))
        is_inside = value is None or (
            (low is None or value >= low) and (high is None or value <= high) and (choices is None or value in choices)
        )
        wrong += [] if is_inside else [field.name]
    assert wrong == []


def test_defaults_survive_the_checks_unchanged() -> None:
    config = make()
    defaults = {f.name: f.default for f in FIELDS} | {"task": "sst2"}
    assert config.to_dict() == defaults | {"rank": 8, "alpha": 16.0}  # of the default PEFT method, lora
    assert (config.rank, config.alpha) == (None, None)  # not given
    assert RunConfig(**config.to_dict()).to_dict() == config.to_dict()


def test_config_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        make().seed = 1  # type: ignore[misc]


def test_paper_defaults() -> None:
    # Table 3 of the paper: learning rate 2e-3, cosine schedule, p from 0 to 1, linear.
    config = make()
    assert (config.learning_rate, config.lr_schedule) == (2e-3, "cosine")
    assert (config.p_min, config.p_max, config.sampling_schedule) == (0.0, 1.0, "linear")


# Rank and scale of each method's paper; RoCoFT, MELoRA and MoSLoRA as in their LLaMA runs.
PAPER_PEFT = {
    "lora": {"rank": 8, "alpha": 16.0},
    "adalora": {"rank": 8, "alpha": 16.0},
    "rocoft": {"rank": 3, "rocoft_axis": "column", "rocoft_selection": "first"},
    "dora": {"rank": 32, "alpha": 64.0},
    "melora": {"rank": 1, "alpha": 16.0, "melora_blocks": 8},
    "lora_fa": {"rank": 128, "alpha": 256.0},
    "moslora": {"rank": 16, "alpha": 32.0},
    "propulsion": {"propulsion_degree": 15},
    "none": {},
    "full": {},
}


@pytest.mark.parametrize("name", registries.peft_methods)
def test_peft_method_has_the_defaults_of_its_paper_and_says_what_it_uses(name: str) -> None:
    config = make(peft=name)
    assert config.peft_settings() == PAPER_PEFT[name]
    saved = config.to_dict()
    assert {key: saved[key] for key in peft_setting_owners()} == dict.fromkeys(peft_setting_owners()) | PAPER_PEFT[name]
    assert RunConfig(**saved).to_dict() == saved


@pytest.mark.parametrize("name", registries.peft_methods)
def test_declared_peft_defaults_are_legal_settings(name: str) -> None:
    declared = registries.peft_methods.facts(name)["settings"]
    assert RunConfig(task="sst2", peft=name, **declared).peft_settings() == declared
    assert {f.name for f in FIELDS} >= set(declared)


@pytest.mark.parametrize("after", registries.peft_methods)
def test_another_peft_method_brings_its_own_defaults(after: str) -> None:
    for before in registries.peft_methods:
        assert dataclasses.replace(make(peft=before), peft=after) == make(peft=after), before
        assert dataclasses.replace(make(peft=before), peft=after).peft_settings() == PAPER_PEFT[after], before


def test_given_settings_stay_with_another_peft_method() -> None:
    config = dataclasses.replace(RunConfig(task="sst2", peft="lora", rank=4), peft="moslora")
    assert config.peft_settings() == {"rank": 4, "alpha": 32.0}
    with pytest.raises(ConfigError, match="`rank` is 4, but peft 'propulsion' has no such setting"):
        dataclasses.replace(config, peft="propulsion")


def test_given_peft_settings_win_over_the_defaults() -> None:
    config = RunConfig(task="sst2", peft="melora", rank=4, melora_blocks=2)
    assert config.peft_settings() == {"rank": 4, "alpha": 16.0, "melora_blocks": 2}


@pytest.mark.parametrize(
    ("peft", "settings", "message"),
    [
        ("lora", {"melora_blocks": 4}, "`melora_blocks` is 4, but peft 'lora' has no such setting; melora has it"),
        ("full", {"rank": 4}, r"`rank` is 4, but peft 'full' has no such setting; lora, adalora, .*moslora have it"),
        ("none", {"alpha": 1.0}, "`alpha` is 1.0, but peft 'none' has no such setting"),
        ("rocoft", {"alpha": 16.0}, "`alpha` is 16.0, but peft 'rocoft' has no such setting"),
        ("propulsion", {"rank": 1}, "`rank` is 1, but peft 'propulsion' has no such setting"),
        (
            "melora",
            {"rocoft_axis": "row"},
            "`rocoft_axis` is 'row', but peft 'melora' has no such setting; rocoft has it",
        ),
    ],
)
def test_setting_of_another_peft_method_is_refused(peft: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RunConfig(task="sst2", peft=peft, **settings)


@pytest.mark.parametrize(("name", "bound"), LOW)
def test_lower_bound_is_legal_and_below_is_not(name: str, bound: float) -> None:
    # p_max may not fall below p_min; its lower bound is legal because p_min's default is the same.
    assert getattr(make(**{name: bound}), name) == bound
    with pytest.raises(ConfigError, match=f"`{name}` is {bound - 1!r}, outside"):
        make(**{name: bound - 1})


@pytest.mark.parametrize(("name", "bound"), HIGH)
def test_upper_bound_is_legal_and_above_is_not(name: str, bound: float) -> None:
    assert getattr(make(**{name: bound}), name) == bound
    with pytest.raises(ConfigError, match=f"`{name}` is {bound + 1!r}, outside"):
        make(**{name: bound + 1})


@pytest.mark.parametrize("field", CHOSEN, ids=lambda f: f.name)
def test_unknown_choice_is_refused_naming_the_value(field: Any) -> None:
    with pytest.raises(ConfigError, match="'nonsense'"):
        make(**{field.name: "nonsense"})


@pytest.mark.parametrize("field", CHOSEN, ids=lambda f: f.name)
def test_every_choice_is_legal(field: Any) -> None:
    for choice in field.metadata["choices"]:
        assert getattr(make(**{field.name: choice}), field.name) == choice


def test_aliases_become_the_registered_name() -> None:
    assert make(loss="multiplicative").loss == "wdal"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"director": "linaer"}, r"unknown director 'linaer'. Did you mean 'linear'"),
        ({"task": "sst-2"}, r"unknown task 'sst-2'. Did you mean 'sst2'"),
        ({"lr_schedule": "cosin"}, r"`lr_schedule` is 'cosin'. Did you mean 'cosine'"),
        ({"peft": "dorra"}, r"Did you mean 'dora'"),
    ],
)
def test_misspelt_name_gets_near_matches(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 8.5}, "`batch_size` is 8.5, but must be of type int"),
        ({"batch_size": "8"}, "`batch_size` is '8', but must be of type int"),
        ({"batch_size": True}, "`batch_size` is True, but must be of type int"),
        ({"learning_rate": "fast"}, "`learning_rate` is 'fast', but must be a number"),
        ({"learning_rate": True}, "`learning_rate` is True, but must be of type float"),
        ({"learning_rate": float("nan")}, "`learning_rate` is nan, outside"),
        ({"rationale": "no"}, "`rationale` is 'no', but must be of type bool"),
        ({"rationale": 1}, "`rationale` is 1, but must be of type bool"),
        ({"model": None}, "`model` cannot be empty"),
        ({"model": 7}, "`model` is 7, but must be of type str"),
    ],
)
def test_wrong_type_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**settings)


def test_numbers_are_converted_to_float() -> None:
    # YAML 1.1 reads 2e-3, without a point, as text.
    config = make(learning_rate="2e-3", epochs=2)
    assert config.learning_rate == 2e-3
    assert isinstance(config.epochs, float)


def test_task_and_data_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="not both and not neither"):
        RunConfig()
    with pytest.raises(ConfigError, match="not both and not neither"):
        RunConfig(task="sst2", data="rows.csv")


def test_own_data_needs_prompt_target_and_kind() -> None:
    with pytest.raises(ConfigError, match="also need `target`, `kind`"):
        RunConfig(data="rows.csv", prompt="{text}\nScore:")
    assert RunConfig(data="rows.csv", prompt="{text}\nScore:", target="score", kind="regression").task is None


def test_sampling_probability_may_not_fall() -> None:
    with pytest.raises(ConfigError, match=r"`p_min` is 0.8, above `p_max` 0.5"):
        make(p_min=0.8, p_max=0.5)


def test_later_sources_override_earlier_ones() -> None:
    config = config_from({"task": "sst2", "seed": 1, "rank": 4}, {"seed": 2})
    assert (config.seed, config.rank) == (2, 4)


def test_unknown_setting_is_refused_with_near_matches() -> None:
    with pytest.raises(ConfigError, match=r"unknown setting 'lerning_rate'. Did you mean 'learning_rate'"):
        config_from({"task": "sst2"}, {"lerning_rate": 1e-3})


def test_yaml_is_read_and_dashes_become_underscores(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(
        "task: stsb\nbatch-size: 4\nlearning_rate: 2e-3\npatience: null\nrationale: false\n", encoding="utf-8"
    )
    settings = read_config(path)
    assert settings == {"task": "stsb", "batch_size": 4, "learning_rate": "2e-3", "patience": None, "rationale": False}
    assert config_from(settings).learning_rate == 2e-3


def test_settings_round_trip_through_yaml(tmp_path: Path) -> None:
    import yaml

    config = make(loss="sum", rank=3, weight_decay=0.1)
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(config.to_dict()), encoding="utf-8")
    assert config_from(read_config(path)).to_dict() == config.to_dict()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"task: [sst2", "is not valid YAML"),
        (b"task: \xff\xfe", "is not valid YAML"),
        (b"- task\n- sst2\n", "must hold `key: value` lines, but holds list"),
        (b"", "but holds NoneType"),
        (b"task: !!python/object/apply:os.getcwd []\n", "is not valid YAML"),
    ],
    ids=["broken", "not-utf8", "list", "empty", "code"],
)
def test_bad_yaml_is_refused_naming_the_file(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        read_config(path)
    assert str(path) in str(caught.value)


def test_missing_yaml_is_refused_naming_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read '.*none.yaml'"):
        read_config(tmp_path / "none.yaml")


def test_registries_are_the_choices_of_named_settings() -> None:
    named = {f.name for f in FIELDS if isinstance(f.metadata["choices"], Registry)}
    assert {"task", "method", "peft", "director", "loss", "sampling", "sampling_schedule", "metric"} <= named


# Texts of labels

OWN = {"data": "a.csv", "prompt": "{text}", "target": "label", "kind": "classification"}


@pytest.mark.parametrize(
    "given", [{0: "negative", 1: "positive"}, {"0": " negative", 1.0: "positive"}, "0=negative, 1=positive"]
)
def test_texts_of_labels_are_a_mapping_or_pairs(given: Any) -> None:
    config = RunConfig(**OWN, label_texts=given)
    assert config.label_texts == {"0": "negative", "1": "positive"}
    assert RunConfig(**OWN, label_texts=config.to_dict()["label_texts"]) == config


@pytest.mark.parametrize("given", ["0", "0=a", "0=a,1=a", "0=1,1=0", "0=a,1=", {0: "a", "0": "b"}, {True: "a"}, 7, []])
def test_texts_that_do_not_say_which_label_is_meant_are_refused(given: Any) -> None:
    with pytest.raises(ConfigError, match="`label_texts`"):
        RunConfig(**OWN, label_texts=given)


@pytest.mark.parametrize("setting", [{"label_texts": {0: "a", 1: "b"}}, {"normalise_labels": True}])
def test_settings_of_labels_need_classes_of_ones_own(setting: dict[str, Any]) -> None:
    for rest in ({**OWN, "kind": "regression"}, {"task": "sst2"}):
        with pytest.raises(ConfigError, match=f"`{next(iter(setting))}` names the classes of your own file"):
            RunConfig(**rest, **setting)
