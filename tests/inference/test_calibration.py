"""Runs with enough validation rows are calibrated, keep it when saved, and promise sets, intervals and abstention with it."""

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import predgen
from predgen.core import Decoding, Target
from predgen.errors import ConfigError, DataError, SavedModelError
from predgen.evaluation import calibrate_folder, calibrate_on, evaluate
from predgen.inference.guarantees import Promised
from predgen.inference.stream import predict_file
from predgen.inference.trained import TrainedModel, load
from predgen.saved.digests import CALIBRATION
from predgen.terminal import PlainConsole
from predgen.training.calibrated import dealt
from predgen.uncertainty.record import LEAST_ROWS
from predgen.uncertainty.scores import BASES, OF_LABELS, cqr_name
from tiny_runs import TARGET, tiny_base, tiny_config, tiny_data, tiny_rows, tiny_run

FEW = {"max_steps": 2, "decimals": 1}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base") / "llama")


@pytest.fixture(scope="module")
def fresh(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, TrainedModel]:
    """A run of each kind with 120 validation rows, as training returns it; saved in a folder of its kind's name."""
    folder = tmp_path_factory.mktemp("runs")
    made = {k: tiny_run(base, k, tiny_data(k, 16, 120), folder / k, **FEW) for k in ("classification", "regression")}
    FOLDERS.update({kind: folder / kind for kind in made})
    return made


FOLDERS: dict[str, Path] = {}


@pytest.fixture(scope="module")
def runs(fresh: dict[str, TrainedModel]) -> dict[str, Path]:
    """Where they are saved."""
    return dict(FOLDERS)


@pytest.fixture(scope="module")
def labelled(runs: dict[str, Path]) -> TrainedModel:
    return load(runs["classification"])


@pytest.fixture(scope="module")
def numbered(runs: dict[str, Path]) -> TrainedModel:
    return load(runs["regression"])


def rows_of(n: int, kind: str, seed: int = 5) -> list[dict[str, Any]]:
    """Rows as dictionaries, with a group."""
    return [
        {"text": f"{e.fields['text']} {i}", TARGET: e.target.value, "group": "ab"[i % 2]}
        for i, e in enumerate(tiny_rows(n, kind, seed))
        if e.target
    ]


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_half_of_the_validation_rows_calibrates_and_the_other_half_chooses(runs: dict[str, Path], kind: str) -> None:
    data = json.loads((runs[kind] / "predgen.json").read_text())
    assert data["calibration"]["rows"] == data["report"]["selection"]["rows"] == 60
    said = data["report"]["calibration"]
    assert (said["rows"], said["temperature"]) == (60, data["calibration"]["temperature"])
    assert said["after"]["nll"] <= said["before"]["nll"]
    if kind == "classification":
        assert set(data["calibration"]["scores"]) == set(OF_LABELS)
        assert said["bins"] == "10 of equal width over P(predicted label)"
        assert {"nll", "brier", "ece", "reliability"} == set(said["before"]) == set(said["after"])
        assert sum(b["rows"] for b in said["after"]["reliability"]) == 60
    elif "remark" in said:
        assert said["temperature"] == 1.0
    else:
        assert said["after"]["crps"] <= said["before"]["crps"]
    if kind == "regression":
        assert set(data["calibration"]["scores"]) == {"cps", *map(cqr_name, BASES)}
        assert {"nll", "crps", "quantiles"} == set(said["after"])


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_a_loaded_model_says_what_the_calibrated_one_said(
    runs: dict[str, Path], fresh: dict[str, TrainedModel], kind: str
) -> None:
    trained, again = fresh[kind], load(runs[kind])
    assert trained.calibration == again.calibration is not None
    assert again.model.temperature == trained.model.temperature
    rows, whole = rows_of(6, kind), Decoding(distribution=kind == "regression")
    ours, theirs = (model.predict(rows, decoding=whole) for model in (trained, again))
    assert [p.value for p in ours] == [p.value for p in theirs]
    assert [p.probabilities for p in ours] == [p.probabilities for p in theirs]
    if kind == "regression":
        assert [p.distribution.to_dict() for p in ours] == [p.distribution.to_dict() for p in theirs]


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_calibration_changes_no_answer(runs: dict[str, Path], kind: str) -> None:
    model, rows = load(runs[kind]), rows_of(20, kind)
    ours = [p.value for p in model.predict(rows)]
    model.model.temperature = 1.0 if model.model.temperature != 1 else 2.0
    theirs = [p.value for p in model.predict(rows)]
    assert ours == (theirs if kind == "classification" else pytest.approx(theirs, abs=1e-6))


def test_rows_that_choose_and_rows_that_calibrate_are_dealt_by_seed_and_share_none(base: Path) -> None:
    rows = tiny_rows(300, "classification")
    config = tiny_config(base, "classification", seed=3)
    looked, spared = dealt(rows, 500, config, "classification")
    assert (len(looked), len(spared)) == (150, 150)
    assert {r.row_id for r in looked} | {r.row_id for r in spared} == set(range(300))
    assert [r.row_id for r in looked] != [
        r.row_id for r in dealt(rows, 500, replace(config, seed=4), "classification")[0]
    ]
    plain = dealt(rows, 80, replace(config, calibrate=False), "classification")[0]
    few, rest = dealt(rows, 80, config, "classification")
    assert [r.row_id for r in few] == [r.row_id for r in plain], "rows beyond `eval_rows` cost the choice nothing"
    assert len(rest) == 220
    for kept, settings, kind in ((99, {}, "regression"), (300, {"calibrate": False}, "regression"), (300, {}, "math")):
        assert dealt(rows[:kept], 500, replace(config, **settings), kind) == (rows[:kept], [])


@pytest.mark.parametrize(("n", "said"), [(2 * LEAST_ROWS - 1, "half of the 99"), (0, "")])
def test_too_few_rows_calibrate_nothing_and_it_is_said(
    base: Path, n: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_config(base, "classification", max_steps=1)
    trained = predgen.train(config, data=tiny_data("classification", 8, n), console=PlainConsole())
    assert trained.calibration is None
    assert trained.model.temperature == 1.0
    if n:
        assert trained.report["selection"]["rows"] == n
        assert said in trained.report["calibration"]["remark"]
        assert said in " ".join(capsys.readouterr().out.split())
    with pytest.raises(ConfigError, match="`coverage` needs a calibrated model"):
        trained.predict_set([{"text": "a"}])


def test_one_class_among_the_calibration_rows_is_said_and_stops_no_run(base: Path) -> None:
    data = tiny_data("classification", 16, 120)
    one = [replace(row, target=Target("low")) for row in data.validation]
    trained = tiny_run(base, "classification", replace(data, validation=one), max_steps=1)
    assert "all 60 calibration rows have the label 'low'" in trained.report["calibration"]["remark"]
    assert trained.calibration is None


def test_sets_of_labels(labelled: TrainedModel) -> None:
    rows = rows_of(30, "classification")
    sets = labelled.predict_set(rows, coverage=0.9)
    values = [p.value for p in labelled.predict(rows)]
    assert all(value in found for value, found in zip(values, sets, strict=True))
    assert all(set(found) <= {"low", "high"} for found in sets)
    for how in OF_LABELS:
        narrow, wide = (labelled.predict_set(rows, coverage, conformal=how) for coverage in (0.3, 0.95))
        assert all(set(a) <= set(b) for a, b in zip(narrow, wide, strict=True))
    assert labelled.predict_set([], coverage=0.9) == []
    with pytest.raises(ConfigError, match="intervals are for numbers"):
        labelled.predict_interval(rows)


def test_intervals_of_numbers(numbered: TrainedModel) -> None:
    rows = rows_of(30, "regression")
    points = [float(p.value or 0) for p in numbered.predict(rows)]
    for how in ("cqr", "cps"):
        narrow, wide = (numbered.predict_interval(rows, coverage, conformal=how) for coverage in (0.5, 0.9))
        assert all(low <= point <= high for point, (low, high) in zip(points, wide, strict=True))
        assert np.mean([b - a for a, b in narrow]) < np.mean([b - a for a, b in wide])
    assert numbered.predict_interval(rows, 0.8) == numbered.predict_interval(rows, 0.8, conformal="cqr")
    assert numbered.predict_interval([]) == []
    with pytest.raises(ConfigError, match="sets are for labels"):
        numbered.predict_set(rows)


def test_the_calibration_rows_themselves_are_covered(numbered: TrainedModel) -> None:
    validation = tiny_data("regression", 16, 120).validation
    spared = dealt(validation, 500, numbered.config, "regression")[1]
    ends = numbered.predict_interval([dict(row.fields) for row in spared], 0.8)
    inside = [
        low <= float(row.target.value) <= high for row, (low, high) in zip(spared, ends, strict=True) if row.target
    ]
    assert np.mean(inside) >= 0.8


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"coverage": 1.0}, "`coverage` is 1.0, but must lie between 0 and 1"),
        ({"coverage": 0.99}, "needs at least 99 calibration rows, but the model was calibrated on 60"),
        ({"conformal": "cqr"}, "`conformal` is 'cqr', but this model allows: lac, aps, ordinal"),
        ({"by": "group"}, "`by` is 'group', but the model was calibrated without groups"),
    ],
)
def test_what_cannot_be_promised_is_refused(labelled: TrainedModel, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        labelled.predict_set([{"text": "a"}], **given)


@pytest.mark.parametrize(
    ("promised", "message"),
    [
        (Promised(by="group"), "`by` says how sets and intervals are made: give `coverage`"),
        (Promised(max_error=0.1, min_confidence=0.8), "give one of them"),
        (Promised(max_error=0.0001), "cannot be promised by the 60 calibration rows"),
        (Promised(min_confidence=1.2), r"`min_confidence` is 1\.2"),
    ],
)
def test_promises_that_contradict_or_prove_nothing_are_refused(
    labelled: TrainedModel, promised: Promised, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        labelled.guarantee(promised)
    with pytest.raises(ConfigError, match="`coverage` is about the model's own prediction"):
        labelled.guarantee(Promised(coverage=0.9), Decoding("greedy"))


def test_numbers_have_no_confidence_to_abstain_by(numbered: TrainedModel) -> None:
    with pytest.raises(ConfigError, match="`min_confidence` goes by the probability of a label"):
        numbered.guarantee(Promised(min_confidence=0.5))


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_columns_of_promises(labelled: TrainedModel, numbered: TrainedModel, tmp_path: Path, suffix: str) -> None:
    from predgen.data.sources import read_rows

    source = tmp_path / "in.jsonl"
    rows = rows_of(12, "classification")
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    promised = Promised(coverage=0.9, min_confidence=0.6)
    out = tmp_path / f"labels.{suffix}"
    predict_file(labelled, source, out, promised=promised)
    found = list(read_rows(out))
    assert list(found[0]) == [*rows[0], "prediction", "set", "abstained"]
    sets = [json.loads(row["set"]) if suffix == "csv" else list(row["set"]) for row in found]
    assert sets == labelled.predict_set(rows, 0.9)
    sure = [max(p.probabilities or ()) for p in labelled.predict(rows)]
    assert [str(row["abstained"]).lower() for row in found] == [str(s < 0.6).lower() for s in sure]
    out = tmp_path / f"numbers.{suffix}"
    predict_file(numbered, source, out, promised=Promised(coverage=0.9), quantiles=[0.5])
    found = list(read_rows(out))
    assert list(found[0]) == [*rows[0], "prediction", "q(0.5)", "lower", "upper"]
    ends = [(float(row["lower"]), float(row["upper"])) for row in found]
    np.testing.assert_allclose(ends, numbered.predict_interval(rows, 0.9))


def test_a_missing_group_column_is_told_before_anything_is_predicted(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(runs["classification"], tmp_path / "run")
    calibrate_folder(folder, rows_of(80, "classification"), by="group")
    trained = load(folder)
    source = tmp_path / "in.csv"
    source.write_text("text\na dull book\n")
    monkeypatch.setattr(TrainedModel, "predict_examples", None)
    with pytest.raises(DataError, match="row 1 has no column 'group', which `by` names"):
        predict_file(trained, source, tmp_path / "out.csv", promised=Promised(coverage=0.9, by="group"))
    assert not (tmp_path / "out.csv").exists()


def test_calibrating_anew_changes_the_manifest_alone_and_seals_it(runs: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(runs["classification"], tmp_path / "run")
    before = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    rows = rows_of(80, "classification")
    found = calibrate_folder(folder, rows, by="group")
    after = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert before.keys() == after.keys()
    assert [str(name) for name in before if before[name] != after[name]] == ["predgen.json"]
    trained = load(folder)
    assert trained.calibration is not None
    assert (trained.calibration.rows, trained.calibration.by) == (80, "group")
    assert trained.report["calibration"] == json.loads(json.dumps(found))
    assert found["by"] == "group"
    sets = trained.predict_set(rows[:10], 0.9, by="group")
    assert len(sets) == 10
    new = trained.predict_set([{"text": "a dull book", "group": "new"}], 0.9, by="group")
    assert new == [["high", "low"]], "nothing is known of that group"
    data = json.loads((folder / "predgen.json").read_text())
    data["calibration"]["temperature"] *= 0.99
    (folder / "predgen.json").write_text(json.dumps(data))
    with pytest.raises(SavedModelError, match=CALIBRATION):
        load(folder)


def test_a_calibration_that_is_stopped_leaves_the_old_one(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(runs["classification"], tmp_path / "run")
    before = (folder / "predgen.json").read_bytes()

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("predgen.files.os.replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        calibrate_folder(folder, rows_of(80, "classification"))
    monkeypatch.undo()
    assert (folder / "predgen.json").read_bytes() == before
    load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [{**row, TARGET: "middle"} if i == 3 else row for i, row in enumerate(rows)], "'middle'"),
        (lambda rows: [{**row, TARGET: "low"} for row in rows], "all 80 calibration rows have the label 'low'"),
        (lambda rows: rows[:49], "there are 49 calibration rows, but at least 50 are needed"),
    ],
    ids=["unseen label", "one class", "too few"],
)
def test_rows_that_say_nothing_are_refused_and_the_model_stays(
    runs: dict[str, Path], change: Any, message: str
) -> None:
    trained = load(runs["classification"])
    before, temperature = trained.calibration, trained.model.temperature
    with pytest.raises(DataError, match=message):
        calibrate_on(trained, change(rows_of(80, "classification")))
    assert (trained.calibration, trained.model.temperature) == (before, temperature)


def test_rows_of_training_calibrate_nothing_unawares(runs: dict[str, Path]) -> None:
    trained = load(runs["classification"])
    rows = [{**e.fields, TARGET: e.target.value} for e in tiny_rows(16, "classification") if e.target] * 4
    with pytest.raises(DataError, match="trained on"):
        calibrate_on(trained, rows)
    calibrate_on(trained, rows, with_trained_rows=True)


def test_a_model_saved_before_predicts_as_before_and_says_that_it_is_not_calibrated(base: Path, tmp_path: Path) -> None:
    trained = tiny_run(base, "classification", tiny_data("classification", 8, 4), tmp_path / "run", max_steps=1)
    path = tmp_path / "run" / "predgen.json"
    data = json.loads(path.read_text())
    del data["calibration"], data["config"]["calibrate"]
    path.write_text(json.dumps(data))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = load(tmp_path / "run")
    rows = rows_of(5, "classification")
    assert [p.probabilities for p in again.predict(rows)] == [p.probabilities for p in trained.predict(rows)]
    with pytest.raises(ConfigError, match="saved by an earlier version"):
        again.predict_set(rows)
    calibrate_folder(tmp_path / "run", rows_of(60, "classification"), with_trained_rows=True)
    assert load(tmp_path / "run").predict_set(rows)


def test_a_predictor_of_numbers_has_a_predictive_system_around_its_number(base: Path) -> None:
    trained = tiny_run(base, "regression", tiny_data("regression", 16, 120), method="predictor", max_steps=2)
    assert trained.calibration is not None
    assert set(trained.calibration.scores) == {"cps"}
    rows = rows_of(10, "regression")
    points = [float(p.value or 0) for p in trained.predict(rows)]
    ends = trained.predict_interval(rows, 0.8)
    widths = {round(b - a, 6) for a, b in ends if a > 0}
    assert all(a <= point <= b for point, (a, b) in zip(points, ends, strict=True))
    assert len(widths) <= 2


def test_evaluation_has_proper_scores_intervals_and_a_curve(labelled: TrainedModel, numbered: TrainedModel) -> None:
    rows = tiny_rows(40, "classification", seed=9)
    found = evaluate(labelled, rows, n_resamples=20)
    assert set(found.uncertainty) == {"brier", "ece", "aurc", "set_coverage", "set_size"}
    assert set(found.intervals) == {*found.metrics, *found.uncertainty}
    sets = labelled.predict_set([dict(row.fields) for row in rows], 0.9)
    hits = [row.target.value in told for row, told in zip(rows, sets, strict=True) if row.target]
    assert found.uncertainty["set_coverage"] == pytest.approx(np.mean(hits))
    assert found.abstention[-1]["error"] == pytest.approx(1 - found.metrics["accuracy"])
    assert found.to_dict()["abstention"][0]["answered"] == 0.05
    numbers = tiny_rows(40, "regression", seed=9)
    found = evaluate(numbered, numbers, n_resamples=20)
    assert set(found.uncertainty) == {"crps", "number_nll", "coverage", "width"}
    assert set(found.intervals) == {*found.metrics, *found.uncertainty}
    ends = numbered.predict_interval([dict(row.fields) for row in numbers], 0.9)
    assert found.uncertainty["width"] == pytest.approx(np.mean([b - a for a, b in ends]))
    told = numbered.predict_examples(numbers, decoding=Decoding(distribution=True))
    plain = [
        p.distribution.crps(float(r.target.value))
        for p, r in zip(told, numbers, strict=True)
        if p.distribution and r.target
    ]
    assert found.uncertainty["crps"] == pytest.approx(np.mean(plain))


def test_crps_may_choose_the_checkpoint(base: Path) -> None:
    trained = tiny_run(base, "regression", tiny_data("regression", 16, 20), metric="crps", **FEW)
    assert trained.report["selection"]["metric"] == "crps"
    found = evaluate(trained, tiny_rows(20, "regression", seed=1), n_resamples=5)
    assert trained.report["validation"]["crps"] == pytest.approx(found.metrics["crps"], rel=1e-5)
