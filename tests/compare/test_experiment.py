"""Experiments: equal rows for all, records that can be trusted, and going on where they stopped."""

import json
import math
import statistics
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli_runs import flat, predgen, reviews, write_csv
from predgen.baselines import base
from predgen.baselines.constant import Constant
from predgen.compare import cell as cell_module
from predgen.compare import expected as expected_module
from predgen.compare import runner
from predgen.compare.rows import load_rows
from predgen.compare.runner import Experiment
from predgen.core import Decoding
from predgen.errors import ConfigError, DataError
from predgen.findings.make import findings
from predgen.metrics.measure import measure
from predgen.records import PLAN_FILE, Record, read_plan, read_record, read_records, read_texts, write_record
from predgen.training.pace import Pace
from predgen.training.run import train
from tiny_experiments import InProcess, make_files, run_plan, tiny_plan
from tiny_models import save_bert
from tokenizers_for_tests import char_level


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return make_files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def numbers(files: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Record]]:
    """An experiment on numbers with all methods, baselines and two seeds."""
    folder = tmp_path_factory.mktemp("numbers") / "exp"
    plan = tiny_plan(files, baselines=["constant", "tfidf", "zero_shot"], seeds=[0, 1])
    return folder, {record.id: record for record in run_plan(plan, folder)}


def test_every_run_has_a_record(numbers: tuple[Path, dict[str, Record]]) -> None:
    folder, records = numbers
    methods = ("predictor", "generator", "predgen")
    expected = {f"data--{m}--seed{s}" for m in methods for s in (0, 1)}
    expected |= {f"data--{b}--seed0" for b in ("constant", "tfidf", "zero_shot")}
    assert set(records) == {record.id for record in read_records(folder)} == expected
    assert {record.status for record in records.values()} == {"done"}
    assert not (folder / "work").exists()


def test_all_methods_and_seeds_meet_the_same_rows(numbers: tuple[Path, dict[str, Record]]) -> None:
    _, records = numbers
    assert len({json.dumps(record.data["splits"]) for record in records.values()}) == 1
    assert len({record.measurements[0].digest for record in records.values()}) == 1
    assert len({tuple(record.measurements[0].predictions.row_id) for record in records.values()}) == 1
    steps = {record.training["optimizer_steps"] for record in records.values() if "optimizer_steps" in record.training}
    assert steps == {2}


def test_splits_of_a_file_do_not_meet(files: dict[str, Any]) -> None:
    cell = tiny_plan(files).cells("data", 0, {})[0]
    rows = load_rows(cell, Path())
    parts = [rows.training.train, rows.training.validation, rows.tests["data"]]
    ids = [row.row_id for part in parts for row in part]
    assert len(ids) == len(set(ids)) == 40
    assert [len(part) for part in parts] == pytest.approx([29, 3, 8], abs=1)


def test_record_says_what_the_same_training_outside_gives(
    numbers: tuple[Path, dict[str, Record]], files: dict[str, Any]
) -> None:
    _, records = numbers
    cell = next(c for c in tiny_plan(files).cells("data", 0, {}) if c.variant == "predgen")
    rows = load_rows(cell, Path())
    trained = train(cell.config(), data=rows.training)
    predictions = trained.predict_examples(rows.tests["data"], decoding=Decoding(distribution=True))
    found = records["data--predgen--seed0"].measurements[0].predictions
    assert found.value == [p.value for p in predictions]
    assert found.mean == pytest.approx([p.distribution.mean() for p in predictions if p.distribution], rel=1e-4)
    assert found.interval is not None
    assert all(low <= high for low, high in found.interval)
    squared = [(float(t) - float(v)) ** 2 for t, v in zip(found.target, found.value, strict=True)]
    assert records["data--predgen--seed0"].measurements[0].metrics["mse"] == pytest.approx(statistics.fmean(squared))


def test_constant_is_the_mean_of_the_training_rows(
    numbers: tuple[Path, dict[str, Record]], files: dict[str, Any]
) -> None:
    _, records = numbers
    rows = load_rows(tiny_plan(files).cells("data", 0, {})[0], Path())
    mean = statistics.fmean(float(row.target.value) for row in rows.training.train if row.target)
    assert set(records["data--constant--seed0"].measurements[0].predictions.value) == {mean}


def test_zero_shot_writes_numbers_of_the_grid_without_training(numbers: tuple[Path, dict[str, Record]]) -> None:
    _, records = numbers
    record = records["data--zero_shot--seed0"]
    assert "optimizer_steps" not in record.training
    assert record.measurements[0].predictions.top is not None
    assert all(value is not None for value in record.measurements[0].predictions.value)


def test_texts_lie_beside_the_records_and_not_in_them(numbers: tuple[Path, dict[str, Record]]) -> None:
    folder, records = numbers
    texts = read_texts(folder, "data")
    first = records["data--predgen--seed0"].measurements[0].predictions.row_id[0]
    assert texts[first]["text"].startswith("number ")
    for path in (folder / "runs").glob("*.json"):
        assert texts[first]["text"] not in path.read_text(encoding="utf-8")


def test_curves_show_losses_and_sampling(numbers: tuple[Path, dict[str, Record]]) -> None:
    curves = numbers[1]["data--predgen--seed1"].curves
    assert curves["step"] == [1, 2]
    assert len(curves["writer_loss"]) == len(curves["director_loss"]) == len(curves["p"]) == 2
    assert curves["validation_step"][-1] == 2


def test_nothing_is_made_twice_and_an_experiment_may_grow(files: dict[str, Any], tmp_path: Path) -> None:
    plan = tiny_plan(files, methods=["predictor"])
    run_plan(plan, tmp_path / "exp")
    engine = InProcess()
    run_plan(plan, tmp_path / "exp", engine)
    assert engine.made == []
    run_plan(tiny_plan(files, methods=["predictor", "generator"], seeds=[0, 1]), tmp_path / "exp", engine)
    assert engine.made == ["data--generator--seed0", "data--predictor--seed1", "data--generator--seed1"]
    assert read_plan(tmp_path / "exp")["seeds"] == [0, 1]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"settings": {"learning_rate": 0.5}}, "learning_rate None -> 0.5"),
        ({"methods": ["generator"]}, "which this plan has not"),
        ({"settings": {"split_seed": 4}}, "split_seed 0 -> 4"),
    ],
)
def test_another_experiment_is_not_mixed_in(
    files: dict[str, Any], tmp_path: Path, keys: dict[str, Any], message: str
) -> None:
    plan = {"methods": ["predictor"]}
    run_plan(tiny_plan(files, **plan), tmp_path / "exp")
    before = (tmp_path / "exp" / PLAN_FILE).read_bytes()
    with pytest.raises((ConfigError, DataError)) as error:
        run_plan(tiny_plan(files, **{**plan, **keys}), tmp_path / "exp")
    assert message in str(error.value)
    assert (tmp_path / "exp" / PLAN_FILE).read_bytes() == before


def test_runs_of_other_defaults_are_not_mixed_in(files: dict[str, Any], tmp_path: Path) -> None:
    plan = tiny_plan(files, methods=["predgen"], settings={"max_steps": 1})
    [made] = run_plan(plan, tmp_path / "exp")
    assert (made.config["director"], made.config["loss"]) == ("residual", "sum")
    for name, value in (("director", "value"), ("loss", "wdal_shifted"), ("learning_rate", 0.5), ("head_norm", "none")):
        write_record(replace(made, config={**made.config, name: value}), tmp_path / "exp")
        if (name, value) == ("director", "value"):  # what it is where the grid takes more than one pass
            assert run_plan(plan, tmp_path / "exp")
            continue
        with pytest.raises(ConfigError, match=f"other defaults .*{name} {value!r}"):
            run_plan(plan, tmp_path / "exp")


def test_refused_variant_does_not_bar_the_way(files: dict[str, Any], tmp_path: Path) -> None:
    for steps in (1, 2):  # nothing was made with the first number
        plan = tiny_plan(files, variants=[{"method": "predgen", "director": "linear"}], settings={"max_steps": steps})
        assert [record.status for record in run_plan(plan, tmp_path / "exp")] == ["refused"]


def test_changed_rows_are_noticed(files: dict[str, Any], tmp_path: Path) -> None:
    data = write_csv(tmp_path / "rows.csv", reviews(40))
    plan = tiny_plan({**files, "data": str(data)}, methods=["predictor"])
    run_plan(plan, tmp_path / "exp")
    write_csv(data, reviews(40, seed=1))
    with pytest.raises(DataError, match=r"rows of task 'data' .* files or splits have changed"):
        run_plan(plan, tmp_path / "exp")


def test_interrupted_experiment_goes_on(files: dict[str, Any], tmp_path: Path) -> None:
    plan = tiny_plan(files, methods=["predictor", "predgen"])
    with pytest.raises(KeyboardInterrupt):
        run_plan(plan, tmp_path / "exp", InProcess(stop_before="data--predgen--seed0"))
    engine = InProcess()
    run_plan(plan, tmp_path / "exp", engine)
    assert engine.made == ["data--predgen--seed0"]


def test_interrupted_run_goes_on_from_its_checkpoint(
    files: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = tiny_plan(files, methods=["predgen"], settings={"max_steps": 4, "eval_steps": 2})
    whole = run_plan(plan, tmp_path / "whole")[0]
    real, resumed = cell_module.train, []

    def interrupted(config: Any, folder: Path, **keys: Any) -> Any:
        resumed.append(keys["resume"])
        trained = real(config, folder, **keys)
        if len(resumed) == 1:  # as if the process had gone away just before its model was saved
            (folder / "predgen.json").unlink()
            raise KeyboardInterrupt
        return trained

    monkeypatch.setattr(cell_module, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_plan(plan, tmp_path / "exp")
    again = run_plan(plan, tmp_path / "exp")[0]
    assert resumed == [False, True]
    assert again.measurements[0].predictions == whole.measurements[0].predictions


def test_failed_run_is_recorded_and_the_others_go_on(
    files: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = cell_module.train

    def fails(config: Any, folder: Path, **keys: Any) -> Any:
        if config.method == "generator":
            raise RuntimeError("no luck")
        return real(config, folder, **keys)

    monkeypatch.setattr(cell_module, "train", fails)
    records = {r.variant: r for r in run_plan(tiny_plan(files), tmp_path / "exp")}
    assert {name: record.status for name, record in records.items()} == {
        "predictor": "done",
        "generator": "failed",
        "predgen": "done",
    }
    error = records["generator"].error
    assert error is not None
    assert (error["type"], error["message"]) == ("RuntimeError", "no luck")
    assert "fails" in error["traceback"]
    assert str(tmp_path) not in json.dumps(error)


def test_variant_that_does_not_fit_is_refused_before_anything_is_trained(files: dict[str, Any], tmp_path: Path) -> None:
    plan = tiny_plan(files, variants=[{"method": "predgen", "director": "linear"}, {"method": "predictor"}])
    engine = InProcess()
    records = run_plan(plan, tmp_path / "exp", engine)
    assert [record.status for record in records] == ["refused", "done"]
    assert "director 'linear' serves classification" in (records[0].error or {})["message"]
    assert engine.made == ["data--predictor--seed0"]


def test_tuning_takes_what_is_best_on_validation_rows(files: dict[str, Any], tmp_path: Path) -> None:
    plan = tiny_plan(files, methods=["predictor", "predgen"], tune={"learning_rate": [1e-4, 0.05]})
    records = run_plan(plan, tmp_path / "exp")
    trials = read_records(tmp_path / "exp", "trial")
    assert Counter(trial.variant for trial in trials) == {"predictor": 2, "predgen": 2}
    assert all(trial.measurements == [] for trial in trials)
    for record in records:
        own = {t.choice["learning_rate"]: t.validation["mse"] for t in trials if t.variant == record.variant}
        best = min(own, key=lambda rate: own[rate] or 0.0)
        assert record.config["learning_rate"] == record.choice["learning_rate"] == best


def test_validation_experiment_leaves_test_rows_alone(files: dict[str, Any], tmp_path: Path) -> None:
    record = run_plan(tiny_plan(files, methods=["predictor"], measure_on="validation"), tmp_path / "exp")[0]
    assert record.measurements[0].split == "validation"
    assert record.measurements[0].metrics["mse"] == pytest.approx(record.validation["mse"])
    assert not any("test" in name for name in record.data["splits"])


def test_further_seeds_are_run_only_where_the_constant_is_beaten(
    files: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for low, expected in ((-0.1, 1), (0.1, 2)):
        monkeypatch.setattr(cell_module, "_gain", lambda *_, low=low: {"gain": 0.2, "low": low, "high": 0.5})
        plan = tiny_plan(files, methods=["predictor"], seeds=[0, 1], screen=True)
        assert len(run_plan(plan, tmp_path / f"exp{expected}")) == expected


@pytest.mark.parametrize("target", ["score", "label"])
def test_gain_over_the_constant_has_the_sign_of_better(files: dict[str, Any], tmp_path: Path, target: str) -> None:
    held_out = write_csv(tmp_path / "held-out.csv", reviews(12, seed=3, start=100))
    plan = tiny_plan({**files, "validation_data": str(held_out)}, target, methods=["predictor"], screen=True)
    record = run_plan(plan, tmp_path / "exp")[0]
    gain = record.training["validation_gain"]
    assert gain["low"] <= gain["gain"] <= gain["high"]
    rows = load_rows(plan.cells("data", 0, {})[0], Path()).training
    name = "mse" if target == "score" else "accuracy"
    floor = Constant()
    floor.fit(plan.cells("data", 0, {})[0].config(), rows)
    plain = [p.value for p in floor.predict(rows.validation)]
    expected = measure([name], [r.target.value for r in rows.validation if r.target], plain)[name]
    better = (record.validation[name] or 0) - expected
    assert gain["gain"] == pytest.approx(-better if target == "score" else better)


def test_labels_keep_their_probabilities(files: dict[str, Any], tmp_path: Path) -> None:
    records = run_plan(tiny_plan(files, "label", baselines=["constant", "tfidf", "zero_shot"]), tmp_path / "exp")
    for record in records:
        found = record.measurements[0].predictions
        assert found.labels == ["bad", "good"]
        assert found.probabilities is not None
        assert all(sum(row) == pytest.approx(1, abs=1e-4) for row in found.probabilities)


def test_overlap_of_a_test_file_is_refused(files: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"40 of 40 rows of .* are training rows"):
        run_plan(
            tiny_plan(files, test_data=files["data"], settings={"validation_data": files["data"]}), tmp_path / "exp"
        )


def test_budget_of_tokens_sets_rows_for_all(files: dict[str, Any], tmp_path: Path) -> None:
    plan = tiny_plan(files, train_tokens=1500, settings={"epochs": 2.0})
    records = run_plan(plan, tmp_path / "exp")
    assert len({record.data["splits"]["train"]["rows"] for record in records}) == 1
    assert 500 < 2 * records[-1].training["train_tokens_per_epoch"] <= 1600


def test_folder_of_something_else_is_refused(files: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="holds no experiment"):
        Experiment(tiny_plan(files), tmp_path, InProcess()).run()
    with pytest.raises(DataError, match="is no experiment"):
        read_records(tmp_path)


def test_damaged_record_is_named(files: dict[str, Any], tmp_path: Path) -> None:
    plan = tiny_plan(files, methods=["predictor"])
    run_plan(plan, tmp_path / "exp")
    path = tmp_path / "exp" / "runs" / "data--predictor--seed0.json"
    path.write_text(path.read_text(encoding="utf-8")[:200], encoding="utf-8")
    with pytest.raises(DataError, match=r"data--predictor--seed0.json.* is damaged"):
        run_plan(plan, tmp_path / "exp")


def test_models_are_kept_where_asked(files: dict[str, Any], tmp_path: Path) -> None:
    import predgen as package

    record = run_plan(tiny_plan(files, methods=["predictor"], keep_models=True), tmp_path / "exp")[0]
    trained = package.load(tmp_path / "exp" / "models" / record.id)
    assert trained.config.to_dict() == record.config
    assert read_record(tmp_path / "exp" / "runs" / f"{record.id}.json") == record


@pytest.mark.usefixtures("forked_python")
def test_command_makes_runs_in_workers(files: dict[str, Any], tmp_path: Path) -> None:
    words = [
        "compare",
        "--data",
        files["data"],
        "--prompt",
        files["prompt"],
        "--target",
        "score",
        "--kind",
        "regression",
    ]
    words += ["--model", files["model"], "--max-steps", "1", "--methods", "predictor", "--baselines", "constant"]
    words += ["--seeds", "0", "--out", tmp_path / "exp"]
    listed = predgen(*words, "--dry-run")
    lines = listed.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["data--constant--seed0", "data--predictor--seed0"]
    assert lines[0].endswith("not timed")
    assert "about" in lines[1]
    assert "2 runs, about" in flat(listed.stderr)
    assert not (tmp_path / "exp").exists()
    gone = [str(tmp_path / "gone.csv") if word == files["data"] else word for word in words]
    assert predgen(*gone, "--dry-run").stdout.split() == ["data--constant--seed0", "data--predictor--seed0"]
    result = predgen(*words)
    assert result.exit_code == 0, result.output
    assert {record.status for record in read_records(tmp_path / "exp")} == {"done"}
    assert "2 runs, 0 failed" in flat(result.stderr)
    assert "mse, test rows" in flat(result.stdout)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tasks", "sik"], "Did you mean 'sick'"),
        (["--tasks", "sick", "--seeds", "a"], "whole numbers"),
        (["--tasks", "sick", "--tune", "lr"], "SETTING=A,B,C"),
        (["--tasks", "sick", "--tune", "lr=fast"], "must be of type float"),
        (["--tasks", "sick", "--study", "table3"], "Did you mean"),
        (["--tasks", "sick", "--losses", "wdla"], "Did you mean 'wdal'"),
    ],
)
def test_command_refuses_with_a_message(tmp_path: Path, words: list[str], message: str) -> None:
    result = predgen("compare", *words, "--out", tmp_path / "exp", "--dry-run")
    assert result.exit_code == 2, result.output
    assert message in flat(result.stderr)


def test_expected_time_follows_rows_passes_and_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expected_module, "measure_pace", lambda config, data: Pace(1e-2, 1e-3))
    plan = tiny_plan(make_files(tmp_path), "label", methods=["predictor"], baselines=["tfidf"], seeds=[0, 1])
    times = Experiment(plan, tmp_path / "exp", InProcess()).expected()
    assert [cell.variant for cell, _ in times] == ["tfidf", "predictor", "predictor"]
    rows = load_rows(times[1][0])
    train, validation, test = rows.training.train, rows.training.validation, rows.tests["data"]
    length = statistics.fmean(len(rows.training.task.prompt.format_map(row.fields)) for row in train)
    trained = 2 / math.ceil(len(train) / 4) * len(train)  # two steps of 4 rows, and one look after them
    seconds = length * (trained * 1e-2 + (len(validation) + len(test)) * 1e-3)
    assert [found for _, found in times] == [None, pytest.approx(seconds), pytest.approx(seconds)]
    assert not (tmp_path / "exp").exists()


def test_peers_run_with_every_seed_and_numbers_without_setfit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "require_packages", lambda names: None)
    monkeypatch.setattr(runner, "require_packages", lambda names: None)
    folder = save_bert(tmp_path / "bert", char_level())
    own = {"encoder_model": str(folder)}
    plan = tiny_plan(
        make_files(tmp_path),
        methods=["predictor"],
        baselines=["encoder", "setfit"],
        seeds=[0, 1],
        baseline_settings=own,
    )
    records = {record.id: record for record in run_plan(plan, tmp_path / "exp")}
    assert [records[f"data--setfit--seed{seed}"].status for seed in (0, 1)] == ["refused", "refused"]
    assert "serves classification, not regression" in (records["data--setfit--seed0"].error or {})["message"]
    peers, methods = ([records[f"data--{name}--seed{seed}"] for seed in (0, 1)] for name in ("encoder", "predictor"))
    for peer, method in zip(peers, methods, strict=True):
        assert peer.status == "done", peer.error
        assert peer.data["splits"] == method.data["splits"]
        assert peer.training["optimizer_steps"] == method.training["optimizer_steps"] == 2
        assert set(peer.cost) == set(method.cost)
        assert None not in peer.cost.values()
        assert peer.training["parameters"] > 0
    assert peers[0].measurements[0].predictions.value != peers[1].measurements[0].predictions.value
    found = findings(tmp_path / "exp", n_resamples=20)
    entry = found.entry("data", "encoder")
    assert entry is not None
    assert entry.seeds == [0, 1]
    assert [d.seeds for d in found.baseline_differences] == [[0, 1]]
