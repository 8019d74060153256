"""Measuring a trained model: metrics, intervals, counts, and which rows are measured."""

import json
from pathlib import Path
from typing import Any

import pytest

import predgen
from predgen.config import RunConfig
from predgen.core import Example, Prediction, Target
from predgen.errors import ConfigError, DataError
from predgen.evaluation import Evaluation, evaluate, rows_to_measure
from predgen.inference.trained import TrainedModel
from predgen.metrics.intervals import bootstrap_interval
from predgen.metrics.measure import measure
from predgen.training.rows import load_data
from predgen.training.run import train
from tiny_runs import tiny_base, tiny_data, tiny_rows, tiny_run


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def labelled(base: Path) -> TrainedModel:
    return tiny_run(base, "classification", tiny_data("classification"), max_steps=2)


@pytest.fixture(scope="module")
def numbered(base: Path) -> TrainedModel:
    return tiny_run(base, "regression", tiny_data("regression"), max_steps=2)


def test_metrics_are_those_of_the_predictions(labelled: TrainedModel) -> None:
    rows = tiny_rows(30, "classification", seed=3)
    found = evaluate(labelled, rows, n_resamples=50, seed=7)
    predictions = labelled.predict_examples(rows)
    targets, values = [r.target.value for r in rows if r.target], [p.value for p in predictions]
    probabilities = [p.probabilities for p in predictions]
    assert found.metrics == measure(labelled.task.metrics, targets, values, probabilities, labelled.labels)
    assert found.metrics["accuracy"] == sum(t == v for t, v in zip(targets, values, strict=True)) / 30
    expected = bootstrap_interval("log_loss", targets, values, probabilities, labelled.labels, n_resamples=50, seed=7)
    assert found.intervals["log_loss"] == expected
    trained = {e.fields["text"] for e in tiny_data("classification").train}
    assert (found.rows, found.counts) == (30, {"trained_on": sum(r.fields["text"] in trained for r in rows)})


def test_interval_holds_the_value_and_follows_the_seed(numbered: TrainedModel) -> None:
    rows = tiny_rows(30, "regression", seed=3)
    first, again, other = (evaluate(numbered, rows, n_resamples=100, seed=seed) for seed in (0, 0, 1))
    low, high = first.intervals["mae"]
    assert low < first.metrics["mae"] < high
    assert first == again
    assert first.intervals != other.intervals


def test_targets_outside_the_codec_are_scored_and_counted(numbered: TrainedModel) -> None:
    rows = [Example(i, {"text": "new wine"}, Target(value)) for i, value in enumerate((0.1, 0.2, 100.0, -50.0))]
    found = evaluate(numbered, rows, n_resamples=10)
    assert found.counts == {"out_of_range": 2}
    assert found.metrics["mae"] > 30  # the smaller of both misses is at least 49, of four rows


def test_truncated_rows_are_counted(labelled: TrainedModel) -> None:
    rows = [Example(0, {"text": "good wine " * 200}, Target("low")), Example(1, {"text": "tea"}, Target("high"))]
    assert evaluate(labelled, rows, n_resamples=10).counts == {"truncated": 1}


def test_unread_answers_are_counted_and_wrong(labelled: TrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    unread = Prediction(None, None, "???", frozenset({"parse_failure"}))
    monkeypatch.setattr(TrainedModel, "predict_encoded", lambda self, rows, **_: [unread] * len(rows))
    found = evaluate(labelled, [Example(i, {"text": f"tea {i}"}, Target("low")) for i in range(4)], n_resamples=10)
    assert found.counts == {"parse_failure": 4}
    assert found.metrics["accuracy"] == 0.0
    assert "log_loss" not in found.metrics  # no probabilities were given


def test_unseen_label_is_an_error(labelled: TrainedModel) -> None:
    with pytest.raises(DataError, match=r"row 1 has the label 'middling', which .*'high', 'low'"):
        evaluate(labelled, [Example(0, {"text": "tea"}, Target("middling"))])


def test_undefined_values_are_null_in_json() -> None:
    nan = float("nan")
    data = Evaluation(1, {"r2": nan, "mae": 0.5}, {"r2": (nan, nan), "mae": (0.5, 0.5)}, {"truncated": 1}).to_dict()
    assert json.loads(json.dumps(data, allow_nan=False)) == {
        "rows": 1,
        "metrics": {"r2": None, "mae": 0.5},
        "intervals": {"r2": [None, None], "mae": [0.5, 0.5]},
        "counts": {"truncated": 1},
    }


# Which rows are measured


def write_rows(path: Path, n: int = 40, bad_row: int | None = None, start: int = 0) -> Path:
    lines = [{"text": f"row {i} of the file", "score": "?" if i == bad_row else i % 7} for i in range(start, start + n)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def custom_run(base: Path, data: Path, out: Path, **settings: Any) -> TrainedModel:
    given = {"batch_size": 4, "max_steps": 1, "rank": 2, "model": str(base), "data": str(data), **settings}
    return train(RunConfig(prompt="{text} =", target="score", kind="regression", **given), out)


def test_validation_of_a_file_is_rebuilt_whatever_the_limit(base: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl")
    trained = custom_run(base, data, tmp_path / "run", limit=9, seed=4)
    rows = rows_to_measure(trained, split="validation")
    assert rows == load_data(trained.config).validation
    assert len(rows) == 4  # 10 % of 40
    assert trained.report["train_rows"] == 9
    measured = trained.report["validation"]
    assert evaluate(trained, rows, n_resamples=10).metrics == pytest.approx(measured, nan_ok=True)


def test_bad_rows_are_skipped_as_in_training(base: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", bad_row=5)
    trained = custom_run(base, data, tmp_path / "run", bad_rows="skip")
    rows = rows_to_measure(trained, split="validation")
    assert len(rows) == trained.report["validation_rows"]
    assert 5 not in {row.row_id for row in rows}


def test_all_rows_of_a_file(base: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl")
    trained = custom_run(base, data, tmp_path / "run")
    other = write_rows(tmp_path / "other.jsonl", 13, start=40)
    assert len(rows_to_measure(trained, data=str(other))) == 13


def test_split_of_a_task_has_the_runs_seed(numbered: TrainedModel, tmp_path: Path) -> None:
    from dataclasses import replace

    from predgen import registries
    from predgen.data.tables import load_task

    task = registries.tasks.get("sick")
    names = "pair_ID\tsentence_A\tsentence_B\trelatedness_score\n"
    lines = [f"{i}\tmen {i} sing\tnobody {i} sings\t{1 + i % 5}\n" for i in range(40)]
    (tmp_path / "SICK_train.txt").write_text(names + "".join(lines))
    (tmp_path / "SICK_trial.txt").write_text(names + "".join(lines[:5]))
    config = replace(numbered.config, data=None, task="sick", prompt=None, target=None, kind=None, seed=6)
    trained = replace(numbered, task=task, config=config)
    found = rows_to_measure(trained, split="validation", data_dir=str(tmp_path))
    expected = load_task(task, "validation", data_dir=tmp_path, seed=6)
    assert [row.fields["sentence_A"] for row in found] == [row["sentence_A"] for row in expected]
    assert len(rows_to_measure(trained, split="test", data_dir=str(tmp_path))) == 5  # the published trial file
    with pytest.raises(ConfigError, match=r"unknown split 'tset'\. Did you mean 'test'"):
        rows_to_measure(trained, split="tset", data_dir=str(tmp_path))


def test_trained_rows_are_refused_unless_told(base: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl")
    trained = custom_run(base, data, tmp_path / "run", limit=9)
    with pytest.raises(
        DataError, match=r"^9 of 40 rows of .*rows\.jsonl' are rows that this run was trained on, such as row"
    ):
        rows_to_measure(trained, data=str(data))
    rows = rows_to_measure(trained, data=str(data), with_trained_rows=True)
    assert len(rows) == 40
    assert evaluate(trained, rows, n_resamples=10).counts == {"trained_on": 9}
    assert rows_to_measure(predgen.load(tmp_path / "run"), data=str(data), with_trained_rows=True) == rows
    with pytest.raises(DataError, match=r"^9 of 40 rows"):
        rows_to_measure(predgen.load(tmp_path / "run"), data=str(data))


def test_file_that_changed_after_training_is_noticed(base: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl")
    trained = custom_run(base, data, tmp_path / "run")
    assert len(rows_to_measure(trained, split="validation")) == 4
    write_rows(tmp_path / "rows.jsonl", 60)  # other rows are held out now
    with pytest.raises(DataError, match=r"of 6 rows of split 'validation' are rows that this run was trained on"):
        rows_to_measure(trained, split="validation")


def test_repeats_in_the_users_own_validation_file_are_counted(base: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl")
    own = write_rows(tmp_path / "own.jsonl", 5, start=38)
    trained = custom_run(base, data, tmp_path / "run", validation_data=str(own))
    rows = rows_to_measure(trained, split="validation")
    assert evaluate(trained, rows, n_resamples=10).counts == {"trained_on": 2}


def test_repeats_of_a_published_split_are_counted_and_of_others_refused(base: Path, tmp_path: Path) -> None:
    names = "pair_ID\tsentence_A\tsentence_B\trelatedness_score\n"
    lines = [f"{i}\tmen {i} sing\tnobody {i} sings\t{1 + i % 5}\n" for i in range(40)]
    (tmp_path / "SICK_train.txt").write_text(names + "".join(lines))
    (tmp_path / "SICK_trial.txt").write_text(names + "".join(lines[:5]))
    settings = {"batch_size": 4, "max_steps": 1, "rank": 2, "model": str(base), "data_dir": str(tmp_path)}
    trained = train(RunConfig(task="sick", **settings))
    published = rows_to_measure(trained, split="test")
    seen = evaluate(trained, published, n_resamples=10).counts["trained_on"]
    assert 0 < seen <= 5
    assert len(rows_to_measure(trained, split="validation")) == 4
    with pytest.raises(DataError, match=r"^36 of 36 rows of split 'train' are rows"):
        rows_to_measure(trained, split="train")
    other = tmp_path / "other"
    other.mkdir()
    (other / "SICK_train.txt").write_text(names + "".join(lines[:30]))  # other rows, hence another seeded split
    (other / "SICK_trial.txt").write_text(names + "".join(lines[:5]))
    with pytest.raises(DataError, match=r"rows of split 'validation' are rows that this run was trained on"):
        rows_to_measure(trained, split="validation", data_dir=str(other))


def math_folder(folder: Path) -> Path:
    """GSM8K's training file and a MultiArith sample that repeats one of its problems."""
    (folder / "gsm8k").mkdir()
    (folder / "multiarith").mkdir()
    lines = [{"question": f"What is {i} plus one?", "answer": f"Add.\n#### {i + 1}"} for i in range(20)]
    (folder / "gsm8k" / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = [{"sQuestion": f" What is  {i} plus two? ", "lSolutions": [i + 2.0]} for i in range(6)]
    (folder / "multiarith" / "sample.json").write_text(json.dumps(rows))
    return folder


def test_another_tasks_split_is_asked_with_the_runs_prompt(base: Path, tmp_path: Path) -> None:
    settings = {"batch_size": 4, "max_steps": 1, "rank": 2, "model": str(base), "rationale": False}
    prompt = "Q: {question} ="
    trained = train(RunConfig(task="gsm8k", data_dir=str(math_folder(tmp_path)), prompt=prompt, **settings))
    rows = rows_to_measure(trained, split="test", task="multiarith")
    assert [(row.fields["question"], row.target) for row in rows][1] == ("What is  1 plus two?", Target(3.0))
    found = evaluate(trained, rows, n_resamples=10)
    assert (found.rows, set(found.metrics)) == (6, {"exact_match"})
    repeated = json.loads((tmp_path / "multiarith" / "sample.json").read_text())
    seen = load_data(trained.config).train[0].fields["question"]
    (tmp_path / "multiarith" / "sample.json").write_text(
        json.dumps([*repeated, {"sQuestion": seen, "lSolutions": [1.0]}])
    )
    with pytest.raises(DataError, match=r"^1 of 7 rows of split 'test' of task 'multiarith' are rows"):
        rows_to_measure(trained, split="test", task="multiarith")
    with pytest.raises(
        ConfigError, match=r"`task` 'sst2' is a classification task with labels negative, positive, but the run"
    ):
        rows_to_measure(trained, split="test", task="sst2")
    with pytest.raises(ConfigError, match=r"`task` 'svamp' names whose `split` to measure on"):
        rows_to_measure(trained, data="x.csv", task="svamp")


def test_wrong_choices_are_refused(numbered: TrainedModel) -> None:
    for wrong in ({}, {"split": "test", "data": "x.csv"}):
        with pytest.raises(ConfigError, match=r"give either `split` \(of the run's task\) or `data`"):
            rows_to_measure(numbered, **wrong)
    with pytest.raises(ConfigError, match="`split` is 'test', but this run was trained on rows of yours"):
        rows_to_measure(numbered, split="test")


def test_rows_without_targets_and_no_rows_are_refused(labelled: TrainedModel) -> None:
    rows = [*tiny_rows(2, "classification"), Example(2, {"text": "tea"})]
    with pytest.raises(DataError, match=r"1 of 3 rows have no target .*row 3"):
        evaluate(labelled, rows)
    with pytest.raises(DataError, match="no rows"):
        evaluate(labelled, [])


def test_rows_in_memory_are_measured_like_a_file(labelled: TrainedModel) -> None:
    rows = [{"text": "new wine", "tone": "low"}, {"text": "an old tea", "tone": "high"}]
    found = rows_to_measure(labelled, data=rows, target="tone")
    assert [(e.fields["text"], e.target.value) for e in found if e.target] == [
        ("new wine", "low"),
        ("an old tea", "high"),
    ]
    with pytest.raises(DataError, match="the rows given has no column 'answer'"):
        rows_to_measure(labelled, data=rows)
