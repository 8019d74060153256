"""Plans expand to the runs they mean, give every method the same, and refuse what would not be a comparison."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from predgen import registries
from predgen.compare.plan import Cell, Plan, Variant, variants_of
from predgen.compare.plan_file import STUDIES, plan_from, plan_of_study
from predgen.config import has_setting, read_config
from predgen.errors import ConfigError

PLANS = sorted((Path(__file__).parents[2] / "configs" / "experiments").glob("*.yaml"))


def plan(**keys: Any) -> Plan:
    """A plan on SICK."""
    return plan_from({"tasks": ["sick"], **keys})


def test_without_methods_the_three_are_compared_with_all_baselines() -> None:
    ids = [cell.id for cell in plan().cells("sick", 0, {})]
    assert ids == [
        f"sick--{name}--seed0" for name in ("constant", "tfidf", "zero_shot", "predictor", "generator", "predgen")
    ]


def test_baselines_run_with_the_first_seed_only() -> None:
    assert [c.variant for c in plan().cells("sick", 1, {})] == ["predictor", "generator", "predgen"]


def test_baselines_that_train_run_with_every_seed_with_the_settings_of_all_runs() -> None:
    wanted = plan(
        baselines=["constant", "encoder", "setfit"],
        methods=["predictor"],
        settings={"epochs": 2.0, "batch_size": 4, "limit": 30},
        baseline_settings={"encoder_learning_rate": 3e-5},
    )
    assert [c.variant for c in wanted.cells("sick", 0, {})] == ["constant", "encoder", "setfit", "predictor"]
    encoder, setfit, method = wanted.cells("sick", 1, {})
    assert (encoder.own, setfit.own, method.own) == ({"encoder_learning_rate": 3e-5}, {}, {})
    for name in ("epochs", "batch_size", "limit", "seed", "rows_seed"):
        assert getattr(encoder.config(), name) == getattr(setfit.config(), name) == getattr(method.config(), name)
    assert Cell.from_dict(encoder.to_dict()) == encoder
    assert "own" not in method.to_dict(), "a run that was made before baselines had settings is the same run"


def test_a_setting_multiplies_only_methods_that_have_it() -> None:
    names = [
        v.name for v in variants_of(["predictor", "predgen"], {"loss": ["sum", "wdal"], "pooling": ["last", "mean"]})
    ]
    assert names == ["predictor pooling=last", "predictor pooling=mean", "predgen loss=sum", "predgen loss=wdal"]


@given(st.lists(st.sampled_from(["predictor", "generator", "predgen"]), min_size=1, max_size=3, unique=True))
def test_product_has_every_combination_once(methods: list[str]) -> None:
    vary = {"loss": ["sum", "wdal"], "peft": ["lora", "full"], "p_max": [0.5, 1.0]}
    found = variants_of(methods, vary)
    expected = sum(2 * (4 if method == "predgen" else 1) for method in methods)
    assert len({v.name for v in found}) == len(found) == expected


def test_methods_have_the_settings_of_what_they_can_choose() -> None:
    for name in ("loss", "p_min", "ordered_last_weight", "sampling_passes"):
        assert [method for method in registries.methods if has_setting(method, name)] == ["predgen"]
    for name in ("decimals", "rationale"):
        assert [method for method in registries.methods if has_setting(method, name)] == ["generator", "predgen"]
    for name in ("learning_rate", "melora_blocks"):
        assert [method for method in registries.methods if has_setting(method, name)] == list(registries.methods)


def test_one_setting_is_changed_at_a_time() -> None:
    base = {"method": "predgen", "name": "base"}
    found = plan_from(
        {"tasks": ["sick"], "one_at_a_time": {"base": base, "factors": {"p_max": [0.5], "loss": ["sum"]}}}
    )
    assert [dict(v.settings) for v in found.variants] == [
        {"method": "predgen"},
        {"method": "predgen", "p_max": 0.5},
        {"method": "predgen", "loss": "sum"},
    ]
    assert [v.name for v in found.variants] == ["base", "base p_max=0.5", "base loss=sum"]


def test_runs_of_all_seeds_share_the_split() -> None:
    cells = [cell for seed in (0, 1, 2) for cell in plan().cells("sick", seed, {})]
    assert {cell.config().rows_seed for cell in cells} == {0}
    assert {cell.config().seed for cell in cells} == {0, 1, 2}


def test_every_variant_gets_the_same_number_of_trials() -> None:
    tuned = plan(tune={"learning_rate": [1e-3, 2e-3], "loss": ["sum", "wdal", "adaptive"]})
    cells = tuned.trial_cells("sick")
    counts = {name: sum(c.variant == name for c in cells) for name in ("predictor", "generator", "predgen")}
    assert counts == dict.fromkeys(counts, 2) == dict.fromkeys(("predictor", "generator", "predgen"), tuned.n_trials)
    assert len({cell.id for cell in cells}) == len(cells)
    assert all(cell.stage == "trial" for cell in cells)
    assert not any("loss" in cell.choice for cell in cells if cell.variant != "predgen")


def test_a_setting_that_a_variant_fixes_is_not_tuned() -> None:
    fixed = plan(
        variants=[{"method": "predgen", "loss": "sum"}], tune={"loss": ["wdal"], "learning_rate": [1e-3, 2e-3]}
    )
    assert [dict(c.choice) for c in fixed.trial_cells("sick")] == [{"learning_rate": 1e-3}, {"learning_rate": 2e-3}]


def test_what_tuning_chose_reaches_its_variant_only() -> None:
    cells = plan(baselines=[]).cells("sick", 0, {"predgen": {"learning_rate": 0.5}})
    assert {c.variant: c.config().learning_rate for c in cells} == {
        "predictor": 2e-3,
        "generator": 2e-3,
        "predgen": 0.5,
    }


def test_math_tasks_share_one_model_per_method() -> None:
    found = plan_from({"tasks": ["gsm8k", "multiarith", "svamp", "sick"]})
    assert found.sources == {"gsm8k": ("gsm8k", "multiarith", "svamp"), "sick": ("sick",)}


def test_preset_gives_each_task_its_row_and_the_plan_overrides_it() -> None:
    found = plan_from({"tasks": ["sick", "boolq"], "preset": "paper", "settings": {"epochs": 1.0}})
    sick, boolq = (found.settings_of(task, {}) for task in ("sick", "boolq"))
    assert (sick["batch_size"], sick["epochs"]) == (6, 1.0)
    assert sick["director"] == "ordered"
    assert boolq["director"] == "linear"


def test_rank_of_a_preset_is_not_given_to_another_peft_method() -> None:
    found = plan_from(
        {"tasks": ["sick"], "preset": "paper", "vary": {"peft": ["lora", "rocoft"]}, "methods": ["predgen"]}
    )
    configs = {cell.variant: cell.config() for cell in found.cells("sick", 0, {})}
    assert configs["predgen peft=lora"].peft_settings() == {
        "adapt_layers": None,
        "rank": 8,
        "alpha": 16.0,
    }
    assert configs["predgen peft=rocoft"].peft_settings()["rank"] == 3
    assert configs["zero_shot"].peft == "none"


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_of_the_paper_is_a_plan(name: str) -> None:
    found = plan_from(plan_of_study(name))
    assert found.study == name
    for source in found.sources:
        assert [cell.config() for cell in found.cells(source, found.seeds[0], {})]


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_every_plan_of_an_experiment_can_be_run(path: Path) -> None:
    given = read_config(path)
    found = plan_from({"tasks": ["sst2", "sick"], **given})
    for source in found.sources:
        assert [cell.config() for cell in found.cells(source, found.seeds[0], {})]


def test_a_variants_number_format_is_for_the_tasks_that_write_numbers() -> None:
    keys = {"variants": [{"name": "coarse", "method": "predgen", "decimals": 1}], "baselines": []}
    found = plan_from({"tasks": ["sst2", "sick"], **keys})
    label, number = (found.cells(task, 0, {})[0] for task in ("sst2", "sick"))
    assert "decimals" not in label.settings
    assert number.config().decimals == 1
    with pytest.raises(ConfigError, match="`decimals` is 1"):
        plan_from({"tasks": ["sst2"], **keys})


def test_cell_survives_the_way_to_a_worker() -> None:
    import json

    for cell in plan(tune={"learning_rate": [1e-3]}).trial_cells("sick"):
        assert Cell.from_dict(json.loads(json.dumps(cell.to_dict()))).to_dict() == cell.to_dict()


def test_plan_is_plain_yaml() -> None:
    text = yaml.safe_dump(plan(tune={"learning_rate": [1e-3]}).to_dict())
    assert yaml.safe_load(text)["variants"][0]["settings"] == {"method": "predictor"}


def test_the_base_is_the_reference_where_one_setting_is_changed_at_a_time() -> None:
    ablation = {"base": {"method": "predgen"}, "factors": {"loss": ["sum"]}}
    given = {"tasks": ["sick"], "one_at_a_time": ablation}
    found = plan_from(given)
    assert found.reference == "predgen"
    assert plan_from(yaml.safe_load(yaml.safe_dump(found.to_dict()))).reference == "predgen"
    assert plan_from({**given, "reference": "predgen loss=sum"}).reference == "predgen loss=sum"
    assert plan_from({**given, "methods": ["predictor"]}).reference is None


def test_plan_of_an_experiment_can_be_given_again() -> None:
    given = {
        "tasks": ["sick"],
        "vary": {"loss": ["sum", "wdal"]},
        "tune": {"learning_rate": [1e-3, 2e-3]},
        "seeds": [4, 5],
    }
    found = plan_from({**given, "headline": ["predictor"], "settings": {"epochs": 1.0}})
    assert plan_from(yaml.safe_load(yaml.safe_dump(found.to_dict()))).to_dict() == found.to_dict()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"tasks": []}, "either `tasks`"),
        ({"settings": {"data": "x.csv"}}, "either `tasks`"),
        ({"tasks": ["sik"]}, "Did you mean 'sick'"),
        ({"task": ["sick"]}, "unknown key 'task'"),
        ({"seeds": [0, 0]}, "different numbers"),
        ({"seeds": 3}, "must be a list"),
        ({"tasks": "sick"}, "must be a list"),
        ({"methods": ["predgne"]}, "Did you mean 'predgen'"),
        ({"vary": {"epochs": [1, 2]}}, "differ in data or steps"),
        ({"variants": [{"method": "predgen", "batch_size": 4}]}, "differ in data or steps"),
        ({"variants": [{"loss": "sum"}]}, "has no `method`"),
        ({"variants": [{"method": "predgen"}, {"method": "predgen"}]}, "two variants are called 'predgen'"),
        ({"variants": [{"method": "predgen", "name": "tfidf"}]}, "two variants are called 'tfidf'"),
        ({"vary": {"lr": [1]}}, "unknown setting 'lr'"),
        ({"baselines": ["tf-idf"]}, "Did you mean 'tfidf'"),
        ({"settings": {"method": "predgen"}}, "give it as `methods`"),
        ({"tune": {"epochs": [1.0, 2.0]}}, "differ in data or steps"),
        ({"tune": {"learning_rate": [1e-3, 1e-3]}}, "different values"),
        ({"tune": {"learning_rate": [1e-3]}, "trials": 2}, "every variant gets the same number"),
        ({"train_tokens": 100, "settings": {"limit": 5}}, "give one of them"),
        ({"train_tokens": 0}, "at least 1"),
        ({"measure_on": "train"}, "'test' or 'validation'"),
        ({"tasks": ["svamp"], "measure_on": "validation"}, "training rows of their own"),
        ({"test_data": "x.csv"}, "belongs to your own file"),
        ({"methods": [], "baselines": []}, "no methods and no baselines"),
        ({"baseline_settings": {"encoder_modle": "minilm"}}, "Did you mean 'encoder_model'"),
        ({"baseline_settings": {"encoder_model": "minilm"}}, "which the plan has not"),
        ({"baselines": ["setfit"], "baseline_settings": {"setfit_iterations": 0}}, "outside 1..inf"),
        ({"one_at_a_time": {"base": {"method": "predgen"}}}, "`factors`"),
        ({"trials": "many"}, "wrong type"),
        ({"headline": ["predgne"]}, "Did you mean 'predgen'"),
        ({"reference": "predgne"}, "`reference` names 'predgne'. Did you mean 'predgen'"),
    ],
)
def test_what_is_no_comparison_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        plan(**keys)
    assert message in str(error.value)


def test_plan_without_a_task_needs_a_method() -> None:
    with pytest.raises(ConfigError, match="either `tasks`"):
        Plan(tasks=(), variants=(Variant("predgen", {"method": "predgen"}),))
