"""The paper's numbers, as printed."""

import csv
from collections import Counter
from importlib import resources

import pytest

from predgen import registries
from predgen.errors import ConfigError
from predgen.paper.published import NO_TELLING, STUDIES, Published, comparable, paper_model, readings, study


def value(name: str, **wanted: object) -> list[float]:
    return [p.value for p in study(name).published if all(getattr(p, k) == v for k, v in wanted.items())]


def test_cells_are_those_of_the_printed_tables() -> None:
    cell = {"model": "Llama2-13B", "peft": "lora", "method": "predgen"}
    assert value("table1", dataset="BoolQ", model="Llama2-7B", peft="lora", method="predgen") == [73.82]
    assert value("table2", dataset="SICK", **cell) == [0.287, 0.169]
    assert value("table5", dataset="GSM8K", model="Gemma2-9B", peft="moslora", method="generator") == [43.73]


@pytest.mark.parametrize(
    ("name", "number"), [("table1", 3 * 4 * 3 * 8), ("table2", 3 * 4 * 3 * 6 * 2), ("table5", 3 * 4 * 3 * 5)]
)
def test_tables_are_whole(name: str, number: int) -> None:
    published = study(name).published
    assert len(published) == number
    assert {p.method for p in published} == {"predictor", "generator", "predgen"}
    assert set(Counter((p.model, p.peft, p.method, p.dataset, p.metric) for p in published).values()) == {1}


@pytest.mark.parametrize("name", STUDIES)
def test_names_are_ours(name: str) -> None:
    found = study(name)
    assert found.name == name
    assert found.statements
    assert found.contradictions
    for p in found.published:
        assert all(task in registries.tasks for task in p.tasks)
        assert p.method in registries.methods
        assert p.peft == NO_TELLING or p.peft in registries.peft_methods
        assert set(p.setting) <= {found.setting}


def test_an_unknown_study_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"unknown study 'table3'. Did you mean 'table"):
        study("table3")


@pytest.mark.parametrize(
    ("first", "second", "width", "possible"),
    [
        (0.088, 0.022, 1.0, ["MAE/MSE"]),  # PredGen, WASSA: an MSE of 0.088 needs an MAE of at least 0.088 on 0..1
        (0.062, 0.008, 1.0, ["MAE/MSE"]),  # PredGen, LCP
        (0.860, 0.280, 4.0, ["MSE/MAE"]),  # Predictor, SICK: 0.86^2 = 0.74 > 0.28
        (1.014, 0.784, None, ["MSE/MAE"]),  # Predictor, CRP
        (1.348, 1.046, 3.0, ["MSE/MAE"]),  # Predictor, Humicroedit
        (0.965, 0.950, 5.0, ["MSE/MAE", "MAE/MSE"]),  # Predictor, STSB
        (0.454, 0.151, 1.0, []),  # Predictor, WASSA
    ],
)
def test_what_a_cell_of_table_2_can_mean(first: float, second: float, width: float | None, possible: list[str]) -> None:
    assert readings(first, second, width) == possible


def test_doubt_is_told_with_every_cell_of_table_2() -> None:
    doubts = {(p.dataset, p.method): p.doubt for p in study("table2").published}
    assert doubts["WASSA", "predgen"] == "possible as MAE/MSE"
    assert doubts["STSB", "predictor"] == "possible as MSE/MAE and as MAE/MSE"
    assert doubts["LCP", "generator"] == "possible neither as MSE/MAE nor as MAE/MSE"


def test_averages_that_are_not_means_are_named() -> None:
    told = study("table2").contradictions
    # (0.072 + 0.305 + 0.575 + 0.845 + 0.425 + 0.590) / 6 = 0.4687, printed 0.860
    assert (
        "The average of Llama2-13B RoCoFT Generator, first is printed as 0.86; its cells have the mean 0.4687." in told
    )
    assert not any("average" in text for text in study("table1").contradictions)


def test_figure_5_is_quoted_with_its_contradiction() -> None:
    found = study("figure5")
    assert "the MSE decreases from 0.590 to 0.599" in found.statements[1]
    assert "increases" in found.contradictions[0]
    assert all(p.doubt for p in found.published)


def test_figure_6_is_near_a_row_of_table_1() -> None:
    row = {p.dataset: p.value for p in beside_of("table1", "rocoft")}
    figure = {p.dataset: p.value for p in study("figure6").published if p.setting == {"loss": "wdal"}}
    assert {name for name in figure if figure[name] == row[name]} == {"HellaSwag", "BoolQ"}
    assert (row["WinoGrande"], figure["WinoGrande"]) == (83.83, 83.85)


def beside_of(name: str, peft: str) -> list[Published]:
    return [p for p in study(name).published if (p.model, p.peft, p.method) == ("Llama2-7B", peft, "predgen")]


def test_figure_4s_best_is_not_table_3s_usual() -> None:
    text = resources.files("predgen").joinpath("assets/paper/table3_hyperparameters.csv").read_text(encoding="utf-8")
    steps = Counter(row["Max Steps for Sampling"] for row in csv.DictReader(text.splitlines()))
    assert steps.most_common(1)[0][0] == "500"


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("meta-llama/Llama-2-7b-hf", "Llama2-7B"),
        ("meta-llama/Llama-2-13b-chat-hf", "Llama2-13B"),
        ("mistralai/Mistral-7B-v0.3", "Mistral-7B"),
        ("google/gemma-2-9b", "Gemma2-9B"),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "DeepSeek-R1-8B"),
        ("meta-llama/Llama-3.1-8B", None),  # there is no Llama 2 of 8B, and no telling that it is this one
        ("meta-llama/Llama-2-70b-hf", None),
        ("embedded", None),
    ],
)
def test_base_models_of_the_paper(model: str, name: str | None) -> None:
    assert paper_model(model) == name


def test_numbers_stand_beside_ours_only_for_equal_model_peft_method_and_task() -> None:
    ours = {"model": "meta-llama/Llama-2-7b-hf", "peft": "lora", "method": "predgen", "task": "boolq"}
    found = study("table1")
    assert [p.value for p in comparable(found, **ours)] == [73.82]
    other = {"model": "embedded", "peft": "rocoft", "method": "predictor", "task": "sst2"}
    for name, changed in other.items():
        got = comparable(found, **{**ours, name: changed})
        assert [p.value for p in got] == {"peft": [73.62], "method": [66.29]}.get(name, []), name
    assert comparable(study("figure6"), **ours) == []  # its base model is not stated


def test_both_lcp_tasks_may_be_the_papers() -> None:
    ours = {"model": "meta-llama/Llama-2-7b-hf", "peft": "lora", "method": "predgen"}
    single, multi = (comparable(study("table2"), task=task, **ours) for task in ("lcp_single", "lcp_multi"))
    assert [p.value for p in single] == [p.value for p in multi] == [0.062, 0.008]
