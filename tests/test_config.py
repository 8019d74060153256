"""Settings: defaults, ranges, types, names, sources and YAML files."""

import copy
import dataclasses
import itertools
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from predgen import registries
from predgen.config import RunConfig, all_settings, config_from, read_config, without_useless
from predgen.errors import ConfigError
from predgen.lookup import Registry
from predgen.settings import Settings, setting
from registered import registrations_undone

ALL = all_settings()
TASKS = {"rationale": "gsm8k", "decimals": "sick", "number_format": "sick", "ordered_last_weight": "gsm8k"}


def make(**settings: Any) -> RunConfig:
    """Make a configuration of a known task in which components are chosen that have the settings given."""
    chosen: dict[str, Any] = {"task": next((TASKS[name] for name in settings if name in TASKS), "sst2")}
    for name in settings:
        listed = ALL[name]
        for registry, key in ((registries.methods, "method"), (registries.peft_methods, "peft")):
            chosen |= {key: listed.owners[-1]} if listed.owners and listed.owners[-1] in registry else {}
        chosen |= {"sampling": "parallel"} if name == "sampling_passes" else {}
        if listed.registry is registries.directors and name not in TASKS:  # there it is the kind of task's own
            chosen |= {"director": listed.owners[-1]}
    return RunConfig(**{**chosen, **settings})


def test_settings_have_help_group_and_a_default_in_range() -> None:
    for name, listed in ALL.items():
        one = listed.setting
        assert one.help.strip(), name
        assert listed.group.strip(), name
        for value in [one.default, *listed.defaults.values()]:
            if value is not None:
                assert one.low is None or value >= one.low, name
                assert one.high is None or value <= one.high, name
                assert one.choices is None or value in one.choices, name


def test_defaults_survive_the_checks_unchanged() -> None:
    config = make()
    values = config.to_dict()
    own = {name for name, listed in ALL.items() if listed.owners}
    assert {n: v for n, v in values.items() if n not in own} == {n: ALL[n].default for n in ALL if n not in own} | {
        "task": "sst2"
    }
    for name in own & values.keys():
        assert values[name] == ALL[name].defaults.get("lora", ALL[name].default), name
    assert config.own == {}
    assert RunConfig(**values).to_dict() == values


def test_configuration_travels_between_processes() -> None:
    config = make(peft="melora", melora_blocks=2)
    again = pickle.loads(pickle.dumps(config))
    assert (again.melora_blocks, again.p_max, copy.deepcopy(config).rank) == (2, 1.0, 1)
    with pytest.raises(AttributeError, match="nonsense"):
        again.nonsense  # noqa: B018
    assert again == config
    assert again.to_dict() == config.to_dict()
    assert again.component(registries.peft_methods).registry is registries.peft_methods


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
    "lora": {"adapt_layers": None, "rank": 8, "alpha": 16.0},
    "adalora": {"adapt_layers": None, "rank": 8, "alpha": 16.0},
    "rocoft": {"adapt_layers": None, "rank": 3, "rocoft_axis": "column", "rocoft_selection": "first"},
    "dora": {"adapt_layers": None, "rank": 32, "alpha": 64.0},
    "melora": {"adapt_layers": None, "rank": 1, "alpha": 16.0, "melora_blocks": 8},
    "lora_fa": {"adapt_layers": None, "rank": 128, "alpha": 256.0},
    "moslora": {"adapt_layers": None, "rank": 16, "alpha": 32.0},
    "propulsion": {"adapt_layers": None, "propulsion_degree": 15},
    "none": {},
    "full": {},
}


@pytest.mark.parametrize("name", registries.peft_methods)
def test_peft_method_has_the_defaults_of_its_paper_and_says_what_it_uses(name: str) -> None:
    config = make(peft=name)
    assert config.peft_settings() == PAPER_PEFT[name]
    saved = config.to_dict()
    of_peft = {key for key, listed in ALL.items() if set(listed.owners) & set(registries.peft_methods)}
    assert {key: saved[key] for key in of_peft & saved.keys()} == PAPER_PEFT[name]
    assert RunConfig(**saved).to_dict() == saved


def test_another_peft_method_brings_its_own_defaults() -> None:
    for before, after in itertools.product(registries.peft_methods, repeat=2):
        assert dataclasses.replace(make(peft=before), peft=after) == make(peft=after)
        assert dataclasses.replace(make(peft=before), peft=after).peft_settings() == PAPER_PEFT[after]


def test_given_settings_stay_with_another_peft_method() -> None:
    config = dataclasses.replace(RunConfig(task="sst2", peft="lora", rank=4), peft="moslora")
    assert config.peft_settings() == {"rank": 4, "adapt_layers": None, "alpha": 32.0}
    with pytest.raises(ConfigError, match="`rank` is 4, but PEFT method 'propulsion' has no such setting"):
        dataclasses.replace(config, peft="propulsion")


def test_given_peft_settings_win_over_the_defaults() -> None:
    config = RunConfig(task="sst2", peft="melora", rank=4, melora_blocks=2)
    assert config.peft_settings() == {"rank": 4, "adapt_layers": None, "alpha": 16.0, "melora_blocks": 2}


@pytest.mark.parametrize(
    ("peft", "settings", "message"),
    [
        (
            "lora",
            {"melora_blocks": 4},
            "`melora_blocks` is 4, but PEFT method 'lora' has no such setting; PEFT method melora has it",
        ),
        (
            "full",
            {"rank": 4},
            r"`rank` is 4, but PEFT method 'full' has no such setting; PEFT method lora, adalora, .*moslora have it",
        ),
        ("none", {"alpha": 1.0}, "`alpha` is 1.0, but PEFT method 'none' has no such setting"),
        ("rocoft", {"alpha": 16.0}, "`alpha` is 16.0, but PEFT method 'rocoft' has no such setting"),
        ("propulsion", {"rank": 1}, "`rank` is 1, but PEFT method 'propulsion' has no such setting"),
        (
            "melora",
            {"rocoft_axis": "row"},
            "`rocoft_axis` is 'row', but PEFT method 'melora' has no such setting; PEFT method rocoft has it",
        ),
    ],
)
def test_setting_of_another_peft_method_is_refused(peft: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RunConfig(task="sst2", peft=peft, **settings)


def test_bounds_are_legal_and_what_lies_beyond_is_not() -> None:
    for name, listed in ALL.items():
        # p_max may not fall below p_min; its lower bound is legal because p_min's default is the same.
        for bound, step in ((listed.setting.low, -1), (listed.setting.high, 1)):
            if bound is not None:
                assert getattr(make(**{name: bound}), name) == bound
                with pytest.raises(ConfigError, match=f"`{name}` is {bound + step!r}, outside"):
                    make(**{name: bound + step})


def test_choices_are_legal_and_others_are_refused_naming_the_value() -> None:
    for name, listed in ALL.items():
        if listed.setting.choices is None:
            continue
        with pytest.raises(ConfigError, match="'nonsense'"):
            make(**{name: "nonsense"})
        for choice in listed.setting.choices:
            assert getattr(make(**{name: choice}), name) == choice


# Settings of components


@pytest.mark.parametrize(
    ("chosen", "given", "message"),
    [
        ({"method": "predictor"}, {"loss": "sum"}, "`loss` is 'sum', but method 'predictor' has no such setting"),
        ({"method": "predictor"}, {"p_min": 0.5}, "`p_min` is 0.5, but method 'predictor' has no sampling mode"),
        ({"sampling": "marginal"}, {"p_min": 0.5}, "`p_min` is 0.5, but sampling mode 'marginal' has no such setting"),
        ({}, {"sampling_passes": 3}, "`sampling_passes` is 3, but sampling mode 'token'"),
        ({}, {"ordered_last_weight": 1.0}, "`ordered_last_weight` is 1.0, but director 'residual'"),
        ({}, {"pooling": "mean"}, "`pooling` is 'mean', but method 'predgen'"),
        ({}, {"decimals": 2}, "`decimals` is 2, but codec 'label'"),
    ],
)
def test_setting_that_would_have_no_effect_is_refused(
    chosen: dict[str, Any], given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        RunConfig(task="sst2", **chosen, **given)


def test_settings_of_what_is_not_chosen_may_stand_at_their_defaults() -> None:
    # Configuration files of the first version list all settings that there are.
    listed = {"pooling": "last", "ordered_last_weight": 2.0, "sampling_passes": 2, "rank": None, "melora_blocks": None}
    assert RunConfig(task="sst2", **listed) == RunConfig(task="sst2")


def test_what_several_runs_share_is_left_out_where_it_says_nothing() -> None:
    shared = {"task": "sst2", "method": "predictor", "loss": "sum", "p_max": 0.5, "pooling": "mean", "decimals": 2}
    kept = without_useless(shared, shared)
    assert kept == {"task": "sst2", "method": "predictor", "pooling": "mean"}
    assert without_useless(shared, ["loss"]) == {name: value for name, value in shared.items() if name != "loss"}


@dataclass(frozen=True)
class Clashing(Settings):
    """A setting with a name that another registry's component has."""

    pooling: int = setting(1, "Of another kind.")


def test_two_components_cannot_have_different_settings_of_one_name() -> None:
    with registrations_undone():
        registries.losses.register("clashing", "predgen.losses.sum:SumLoss", "?", settings=Clashing)
        with pytest.raises(ConfigError, match=r"`pooling` of .*'clashing'"):
            all_settings()


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
        ({"stratify": "no"}, "`stratify` is 'no', but must be of type bool"),
        ({"stratify": 1}, "`stratify` is 1, but must be of type bool"),
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
        "task: stsb\nbatch-size: 4\nlearning_rate: 2e-3\npatience: null\nstratify: false\n", encoding="utf-8"
    )
    settings = read_config(path)
    assert settings == {"task": "stsb", "batch_size": 4, "learning_rate": "2e-3", "patience": None, "stratify": False}
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
    named = {name for name, listed in ALL.items() if isinstance(listed.setting.choices, Registry)}
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
