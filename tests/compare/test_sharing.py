"""One model of several targets against one for each: runs, records, differences, and what changes nothing."""

from pathlib import Path
from typing import Any

import pytest

from cli_runs import write_csv
from predgen.compare.sharing import Sharing, SharingPlan, tokens_a_pass
from predgen.errors import ConfigError
from predgen.findings.make import findings
from predgen.records import Record
from target_cases import rows
from tiny_runs import tiny_base

TARGETS = ["mood:classification", "stars:regression", {"name": "tags", "kind": "multilabel"}]
QUESTIONS = ["mood", "stars", "tags[a]", "tags[b]"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = [{**row, "tags": ";".join(row["tags"]) or ";" if row["tags"] is not None else ""} for row in rows(60)]
    return write_csv(tmp_path_factory.mktemp("data") / "rows.csv", given)


def plan(base: Path, data: Path, targets: list[Any] = TARGETS, **more: Any) -> SharingPlan:
    settings = {
        "data": str(data),
        "prompt": "{text} {text}",
        "targets": targets,
        "model": str(base),
        "epochs": 1.0,
        "batch_size": 8,
    }
    return SharingPlan(settings, **{"methods": ("generator",), "seeds": (0,), **more})


@pytest.fixture(scope="module")
def made(base: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Record]]:
    folder = tmp_path_factory.mktemp("experiment") / "exp"
    return folder, Sharing(plan(base, data), folder).run()


def test_every_question_has_a_record_of_both_models_on_the_same_rows(made: tuple[Path, list[Record]]) -> None:
    folder, records = made
    variants = {"constant", "tfidf", "generator alone", "generator joint"}
    assert {(record.task, record.variant) for record in records} == {(q, v) for q in QUESTIONS for v in variants}
    assert all(record.status == "done" for record in records)
    for question in QUESTIONS:
        own = [record for record in records if record.task == question]
        assert len({record.measurements[0].digest for record in own}) == 1
        assert len({record.data["splits"]["train"]["digest"] for record in own}) == 1
    found = findings(folder, n_resamples=200)
    assert set(found.tasks) == set(QUESTIONS)
    assert found.shortfalls == []
    pairs = {(d.task, d.first, d.second) for d in found.differences}
    assert {(q, "generator alone", "generator joint") for q in QUESTIONS} <= {
        (task, *sorted((first, second))) for task, first, second in pairs
    }
    assert all(d.estimate.low <= d.estimate.value <= d.estimate.high for d in found.differences)
    assert not (folder / "work").exists()


def test_the_joint_model_trains_on_as_many_tokens_as_all_single_ones(
    base: Path, data: Path, made: tuple[Path, list[Record]]
) -> None:
    sharing = Sharing(plan(base, data), made[0])
    sharing._read_rows()
    config = sharing.plan.config("generator", 0)
    tokens = tokens_a_pass(config, sharing.data)
    assert tokens["joint"] < sum(value for name, value in tokens.items() if name != "joint")
    steps = {r.variant: r.training["optimizer_steps"] for r in made[1] if r.task == "mood" and not r.cell["baseline"]}
    spent = steps["generator joint"] * 8 / len(sharing.data.train) * tokens["joint"]
    single = sum(value for name, value in tokens.items() if name != "joint")
    assert spent == pytest.approx(single, abs=8 / len(sharing.data.train) * tokens["joint"])
    assert steps["generator joint"] > steps["generator alone"]


def test_the_order_of_targets_changes_no_figure(
    base: Path, data: Path, made: tuple[Path, list[Record]], tmp_path: Path
) -> None:
    turned = Sharing(plan(base, data, TARGETS[::-1], baselines=()), tmp_path / "exp").run()
    before = {record.id: record.measurements[0] for record in made[1]}
    assert len(turned) == 2 * len(QUESTIONS)
    for record in turned:
        assert record.measurements[0] == before[record.id]


def test_what_is_there_is_not_made_again_and_other_settings_are_refused(
    base: Path, data: Path, made: tuple[Path, list[Record]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: Any, **more: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("predgen.compare.sharing.train_targets", fail)
    assert Sharing(plan(base, data), made[0]).run() == made[1]
    other = plan(base, data)
    with pytest.raises(ConfigError, match="other settings"):
        Sharing(SharingPlan({**other.settings, "epochs": 2.0}, other.methods, (0,)), made[0]).run()
    with pytest.raises(ConfigError, match="twice or more"):
        plan(base, data, TARGETS[:1])
    with pytest.raises(ConfigError, match="`test_data`"):
        SharingPlan({**other.settings, "validation_data": str(data)}, other.methods, (0,))
    with pytest.raises(ConfigError, match="`seeds`"):
        plan(base, data, seeds=())


def test_the_command_says_what_does_not_go_with_several_targets() -> None:
    from typer.testing import CliRunner

    from predgen.cli.main import app

    told = CliRunner().invoke(
        app, ["compare", "--target", "a:classification", "--target", "b:regression", "--screen", "--out", "x"]
    )
    assert told.exit_code == 2
    assert "--screen" in told.output
