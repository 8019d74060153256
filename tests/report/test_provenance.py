"""Plan, data cards and commands: what was asked and how to do it again."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
import typer

from predgen.cli.main import app
from predgen.cli.options import settings
from predgen.config import RunConfig, _with_targets
from predgen.report.experiment import LoadedExperiment
from predgen.report.provenance import absent_runs, asked, data_cards, environments, plan_text, training_command
from report.conftest import Made


def parsed(command: str) -> dict[str, Any]:
    """Settings that `predgen train` reads from a command line."""
    program, name, *words = shlex.split(command)
    assert (program, name) == ("predgen", "train")
    group: Any = typer.main.get_command(app)
    with click.Context(group) as context, group.commands["train"].make_context("train", words, parent=context) as inner:
        return _with_targets({key: value for key, value in inner.params.items() if value not in (None, ())})


@pytest.mark.parametrize(
    "config",
    [
        RunConfig(task="sick", method="predgen", director="expected", seed=3, split_seed=0, limit=200),
        RunConfig(task="sst2", method="generator", peft="rocoft", rocoft_axis="row", max_tree_nodes=99, bf16=True),
        RunConfig(
            data="my file.csv", prompt="Review: {text}\nIt's:", target="score", kind="regression", method="predictor"
        ),
    ],
)
def test_command_of_a_run_gives_its_settings(config: RunConfig, single: Made) -> None:
    run = replace(single.experiment.done[0], config=config.to_dict())
    given = parsed(training_command(run))
    known = {key: value for key, value in given.items() if key in config.to_dict()}
    assert settings(None, known)[0] == config
    assert given["out"] == Path(f"RUN-{run.id}")


def test_plan_is_told_in_words(sample: Made) -> None:
    plan = {
        "variants": [{"name": "predgen", "settings": {"method": "predgen", "loss": "sum"}}],
        "baselines": ["constant", "other"],
        "seeds": [0],
        "train_tokens": 100_000,
        "scored_rows": 400,
        "tune": {"learning_rate": [1e-3, 2e-3]},
        "trials": 2,
        "settings": {"epochs": 3, "data_dir": "data"},
        "keep_models": None,
    }
    experiment = replace(sample.experiment, plan=plan)
    told = dict(asked(experiment))
    assert told["Tasks"] == "4 tasks: sst2, sick, gsm8k and multiarith"
    assert told["Methods"] == "predgen (loss sum)"
    assert told["Baselines"] == "constant: the most frequent label or answer, or the mean; other"
    assert told["Seeds"] == "0: one seed, so that nothing is known about other seeds"
    assert told["Rows"] == "validation rows select the checkpoint, figures are on test rows, at most 400 of each"
    assert told["Training"].startswith(
        "at most 100,000 training tokens a run, all passes counted, 60 optimizer steps, epochs 3"
    )
    assert told["Tuning"] == "learning_rate of 0.001 or 0.002, 2 trials each"
    assert told["Base model"] == "embedded, tuned with lora"
    assert "keep_models" not in plan_text(experiment)
    assert "scored_rows: 400\n" in plan_text(experiment)


def test_plan_says_what_has_no_figures_and_which_seeds_are_left_out(sample: Made) -> None:
    plan = {"tasks": ["stsb", "sick", "sst2"], "seeds": [0, 1], "screen": True}
    told = dict(asked(replace(sample.experiment, plan=plan)))
    assert told["Tasks"] == "5 tasks: stsb, sick, sst2, gsm8k and multiarith; no figures yet of stsb"
    assert told["Seeds"].endswith(
        "; further ones only for tasks where a method beats the constant baseline at the first, on validation rows"
    )


def test_validation_figures_are_said_to_have_selected(sample: Made) -> None:
    found = replace(sample.experiment.found, split="validation")
    told = dict(asked(replace(sample.experiment, found=found)))
    assert told["Rows"].startswith("figures are on validation rows, which also selected the checkpoints")


def test_data_cards_hold_source_splits_and_targets(sample: Made) -> None:
    cards = {card.task: card for card in data_cards(sample.experiment)}
    facts = dict(cards["sst2"].facts)
    assert facts["Source"].startswith("Socher et al. (2013)")
    assert facts["Labels"] == "negative and positive"
    assert dict(cards["sick"].facts)["Scale"] == "1 to 5"
    assert dict(cards["multiarith"].facts)["Trained on the rows of"] == "gsm8k"
    assert cards["sst2"].splits == [
        ("train", 400, "sst2-train"),
        ("validation", 400, "sst2-validati"[:12]),
        ("test", 400, "sst2-test"),
    ]
    targets = sample.experiment.of_task("sst2")[0].measurement.predictions.target
    assert {name: n for name, _, n in cards["sst2"].labels} == {name: targets.count(name) for name in set(targets)}
    assert cards["sst2"].truncated[0] == ("predictor", 2)
    assert cards["sst2"].differing == []
    assert cards["sick"].drawing is not None
    assert "Targets of sick, 60 rows" in cards["sick"].drawing


def test_cards_say_where_runs_had_other_rows_and_what_records_know(single: Made) -> None:
    runs = list(single.experiment.runs)
    data = {
        "splits": {"train": {"rows": 7, "digest": "other"}},
        "targets": {"rows": {"negative": 3, "neutral": 1}},
        "licence": "CC0",
        "skipped_rows": 2,
    }
    runs = [replace(run, data=data) if run.id == "sst2--constant--seed0" else run for run in runs]
    card = next(c for c in data_cards(replace(single.experiment, runs=tuple(runs))) if c.task == "sst2")
    assert card.differing == ["train"]
    assert (dict(card.facts)["Licence"], dict(card.facts)["Skipped rows"]) == ("CC0", "2")
    assert [(name, train) for name, train, _ in card.labels if name != "positive"] == [("negative", 3), ("neutral", 1)]


def test_own_files_have_a_card_too(single: Made) -> None:
    measured = [replace(m, task="data") for r in single.experiment.runs if r.task == "sick" for m in r.measurements]
    runs = tuple(replace(single.experiment.done[-1], task="data", measurements=[m]) for m in measured[:1])
    experiment = LoadedExperiment(single.folder, {}, runs, replace(single.experiment.found, tasks=["data"]))
    [card] = data_cards(experiment)
    assert dict(card.facts)["What"] == "a file of the user's own"


def test_environments_are_counted_and_compared(single: Made) -> None:
    runs = list(single.experiment.runs)
    runs[0] = replace(runs[0], environment={"torch": "9.9", "gpu": None, "new": 1})
    found = environments(replace(single.experiment, runs=tuple(runs)))
    assert found.runs == [len(runs) - 1, 1]
    assert found.lines["torch"] == (["2.13.0", "9.9"], True)
    assert found.lines["gpu"] == (["none", "none"], False)
    assert found.lines["new"] == (["not recorded", "1"], True)


def test_runs_with_the_same_reason_stand_together(sample: Made) -> None:
    groups = {(group.status, len(group.runs)): group for group in absent_runs(sample.experiment)}
    assert set(groups) == {("failed", 1), ("refused", 2), ("missing", 1)}
    assert "trainer.py" in groups["failed", 1].traceback
    assert groups["missing", 1].traceback == ""
