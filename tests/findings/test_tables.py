"""Findings as text: everything that counts is in it, nothing breaks the form."""

from dataclasses import replace
from pathlib import Path

import pytest

from compare import factory
from predgen.findings.base import Findings, MetricEstimate
from predgen.findings.make import findings
from predgen.findings.study_tables import study_tables
from predgen.findings.tables import (
    Table,
    headline_tables,
    markdown,
    ordering_table,
    tables,
    tuning_table,
    with_interval,
)
from predgen.terminal import PlainConsole


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    folder = tmp_path_factory.mktemp("experiment") / "x"
    return findings(factory.write_experiment(folder, study="table2", n_rows=60), n_resamples=50)


def text(table: Table) -> str:
    console = PlainConsole(width=200, no_color=True)
    with console.capture() as capture:
        console.print(table.rich())
    return capture.get()


def titled(found: Findings, title: str) -> Table:
    return next(table for table in tables(found) if table.title == title)


def test_figures_carry_their_interval() -> None:
    assert with_interval(MetricEstimate(0.5, 0.4, 0.6, [0.5], "rows only")) == "0.500 [0.400, 0.600]"
    assert with_interval(MetricEstimate(-0.5, -0.6, 0.1, [-0.5], "rows only"), signed=True) == "-0.500 [-0.600, +0.100]"
    assert with_interval(MetricEstimate(0.5, None, None, [0.5], "nothing")) == "0.500"
    assert with_interval(MetricEstimate(None, None, None, [None], "nothing")) == "not defined"


def test_markdown_keeps_its_form() -> None:
    table = Table("What", ["name", "value"], [["a|b", "1"], ["two\nlines", "-2"]], ("A note.",))
    assert (
        table.markdown()
        == "**What**\n\n| name | value |\n| --- | ---: |\n| a\\|b | 1 |\n| two lines | -2 |\n\nA note.\n"
    )


def test_rich_shows_brackets_as_they_are() -> None:
    shown = text(Table("[bold]", ["[a]", "b"], [["x", "0.5 [0.4, 0.6]"]], ("[note]",)))
    assert all(part in shown for part in ("[bold]", "[a]", "0.5 [0.4, 0.6]", "[note]"))


def test_every_table_is_rectangular(whole: Findings) -> None:
    made = [*tables(whole), *study_tables(whole)]
    assert len(made) == 12
    for table in made:
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.columns)}, table.title
        assert text(table)
        assert table.title in table.markdown()


def test_headline_tells_lacking_seeds_refusals_and_what_is_not_learnable(whole: Findings) -> None:
    labels, numbers, math = headline_tables(whole)
    rows = {row[0]: dict(zip(t.columns, row, strict=True)) for t in (labels, numbers, math) for row in t.rows}
    assert rows["boolq"]["generator"].endswith("(2 of 3 seeds)")
    assert rows["sick"]["predgen loss=wdal"].endswith("(2 of 3 seeds)")
    assert (rows["gsm8k"]["predictor"], rows["multiarith"]["tfidf"]) == ("refused", "refused")
    assert "seed" not in rows["sst2"]["constant"]
    assert (labels.title, numbers.title, math.title) == (
        "accuracy, test rows",
        "mse, test rows",
        "exact_match, test rows",
    )
    assert "higher is better" in labels.notes[0]
    assert "lower is better" in numbers.notes[0]
    assert "generator (mean)" in numbers.columns
    assert "generator (mean)" not in labels.columns
    assert any("Not learnable at this size" in note and note.endswith("wassa.") for note in numbers.notes)


def test_a_figure_of_one_seed_says_so() -> None:
    found = findings(factory.records(("sst2",), seeds=(0,), n_rows=10), n_resamples=10)
    [table] = headline_tables(found)
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert row["predictor"].endswith("(1 seed)")
    assert not row["constant"].endswith("(1 seed)")


def test_differences_name_the_better_variant(whole: Findings) -> None:
    table = titled(whole, "Differences to the baselines")
    told = {(row[0], row[1]): row[-1] for row in table.rows}
    assert told["sst2", "generator minus constant"] == "generator better"
    assert "no difference shown" in told.values()
    assert "(constant)" in table.notes[1]
    assert len(titled(whole, "Differences").rows) == len(whole.differences)


def test_shortfalls_are_told_with_their_reasons(whole: Findings) -> None:
    table = titled(whole, "Runs that are in no figure")
    assert len(table.rows) == len(whole.shortfalls) == 6
    assert any("the loss is not finite at step 12" in row[-1] for row in table.rows)


def test_tuning_tells_whether_it_was_equal(whole: Findings) -> None:
    assert tuning_table(whole).notes == ("Every variant of a task had the same number of trials.",)
    unequal = replace(whole, tuning=[replace(whole.tuning[0], trials=9), *whole.tuning[1:]])
    assert tuning_table(unequal).notes == ("Trials are not equal.",)
    assert "learning_rate=0.002" in tuning_table(whole).rows[0]


def test_tables_without_rows_are_left_out() -> None:
    found = findings([factory.broken(r) for r in factory.records(("sst2",), n_rows=5)], n_resamples=5)
    assert [table.title for table in tables(found)] == ["Runs that are in no figure"]
    assert ordering_table(found).rows == []


def test_markdown_of_all(whole: Findings) -> None:
    written = markdown(tables(whole), {"Notes": whole.notes})
    assert written.count("**Notes**") == 1
    assert all(f"- {note}\n" in written for note in whole.notes)
    assert "\n\n\n" not in written


def test_no_study_no_study_tables(whole: Findings) -> None:
    assert study_tables(replace(whole, study=None)) == []


def test_the_papers_numbers_stand_apart_from_another_base_model(whole: Findings) -> None:
    ours, theirs = study_tables(whole)
    assert not any(row[0].startswith("the paper's") for row in ours.rows)
    assert ours.notes[0].startswith("Base models: embedded is not one of the paper's.")
    assert "sick, mse / mae" in ours.columns
    assert "sst2, accuracy" in ours.columns
    assert len(theirs.rows) == 36
    assert theirs.rows[0] == [
        "Llama2-7B / lora / predictor",
        "0.454 / 0.151",
        "0.86 / 0.28",
        "0.965 / 0.95",
        "0.93 / 0.105",
        "1.014 / 0.784",
        "1.348 / 1.046",
    ]
    assert any("two figures called MSE and MAE" in note for note in theirs.notes)


def as_if(model: str, study: str, folder: Path, tasks: tuple[str, ...]) -> Findings:
    """An experiment as if with another base model."""
    records = [replace(r, config={**r.config, "model": model}) for r in factory.records(tasks, n_rows=10, seeds=(0,))]
    return findings(factory.write_experiment(folder / "x", records, study=study), n_resamples=10)


def test_the_papers_numbers_stand_beside_those_of_its_base_model(tmp_path: Path) -> None:
    ours, _ = study_tables(as_if("meta-llama/Llama-2-7b-hf", "table1", tmp_path, ("boolq", "sst2")))
    rows = {row[0]: row[1:] for row in ours.rows}
    boolq = [column.startswith("boolq") for column in ours.columns[1:]].index(True)
    assert rows["the paper's predictor"][boolq] == "0.6629"
    assert rows["the paper's predictor"][1 - boolq] == "-"
    assert "the paper's generator" in rows
    assert "the paper's constant" not in rows


def test_doubt_stands_beside_the_papers_number(tmp_path: Path) -> None:
    ours, _ = study_tables(as_if("meta-llama/Llama-2-7b-hf", "table2", tmp_path, ("wassa",)))
    rows = {row[0]: row[1:] for row in ours.rows}
    assert rows["the paper's generator"] == ["0.09 / 0.023 (possible as MAE/MSE)"]
    assert "the paper's generator (mean)" not in rows


@pytest.mark.parametrize(
    ("study", "setting", "values"),
    [
        ("figure4", "max_steps_for_sampling", [50, 1000]),
        ("figure5", "sampling", ["sequence", "token"]),
        ("figure6", "loss", ["wdal", "sum"]),
        ("d3", "ordered_last_weight", [1.0, 2.0]),
    ],
)
def test_figures_list_the_setting_that_varies(study: str, setting: str, values: list, tmp_path: Path) -> None:
    variants = [
        factory.Simulated(f"predgen {setting}={value}", {"method": "predgen", setting: value}) for value in values
    ]
    records = factory.records(("sick",), [*variants, factory.VARIANTS[0]], (0,), n_rows=10)
    found = findings(factory.write_experiment(tmp_path / "x", records, study=study), n_resamples=10)
    ours, theirs = study_tables(found)
    assert ours.columns[:2] == ["variant", setting]
    assert [row[1] for row in ours.rows] == [*map(str, values), "-"]
    assert [row[0] for row in ours.rows][:2] == [variant.name for variant in variants]
    assert any(note.startswith("The paper: ") for note in theirs.notes)
    assert bool(theirs.rows) == (study in ("figure5", "figure6"))
