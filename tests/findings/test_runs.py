"""Runs are compared only where they can be, and none that is lacking is hidden."""

from dataclasses import replace
from typing import Any

import pytest

from compare import factory
from predgen import registries
from predgen.errors import DataError
from predgen.findings.runs import gather
from predgen.metrics.base import PRIMARY
from predgen.records import Measurement, Record

SIMPLE = tuple(v for v in factory.VARIANTS if v.name in ("constant", "predictor", "generator"))


def small(task: str = "sst2", **changes: Any) -> list[Record]:
    return factory.records((task,), SIMPLE, (0, 1), n_rows=12, **changes)


def changed(records: list[Record], place: int, **fields: Any) -> list[Record]:
    return [replace(r, **fields) if i == place else r for i, r in enumerate(records)]


def remeasured(record: Record, **fields: Any) -> list[Measurement]:
    return [replace(record.measurements[0], **fields)]


def test_runs_are_ordered_by_kind_and_plan_not_by_their_records() -> None:
    records = factory.records(("gsm8k", "sick", "boolq", "sst2"), n_rows=8)
    runs = gather(records[::-1], {"variants": [{"name": "predgen loss=sum", "settings": {}}]})
    assert [runs.kinds[task] for task in runs.tasks] == ["classification", "classification", "regression", "math"]
    assert runs.tasks.index("sst2") != runs.tasks.index("boolq")
    names = [v.name for v in runs.variants]
    assert names[0] == "predgen loss=sum"
    assert names[-3:] == ["constant", "tfidf", "zero_shot"]
    assert list(runs.of("sst2", runs.variants[0])) == [0, 1, 2]


@pytest.mark.parametrize("kind", PRIMARY)
def test_primary_metric_is_the_first_of_every_task_of_the_kind(kind: str) -> None:
    own = [task for name in registries.tasks if (task := registries.tasks.get(name)).kind == kind]
    assert own
    assert {task.metrics[0] for task in own} == {PRIMARY[kind]}


def test_no_records_is_an_error() -> None:
    with pytest.raises(DataError, match="no records of final runs yet"):
        gather([], {})


def test_two_records_of_one_run_are_an_error() -> None:
    records = small()
    with pytest.raises(DataError, match=r"'sst2--predictor--seed0' and 'copy' are both of 'predictor' on 'sst2'"):
        gather([*records, replace(records[1], id="copy")], {})


@pytest.mark.parametrize("what", ["digest", "row_id", "target"])
def test_different_rows_are_an_error_that_names_both_records(what: str) -> None:
    records = small()
    p = records[1].measurements[0].predictions
    if what == "digest":
        measurements = remeasured(records[1], digest="other")
    elif what == "row_id":
        measurements = remeasured(records[1], predictions=replace(p, row_id=p.row_id[::-1]))
    else:  # both sides turned around, so that the accuracy stays what the record says
        turned = {"negative": "positive", "positive": "negative"}
        p = replace(p, target=[turned[t] for t in p.target], value=[turned[v] for v in p.value])
        measurements = remeasured(records[1], predictions=p)
    message = r"'sst2--constant--seed0' and 'sst2--predictor--seed0' measured different rows of 'sst2'"
    with pytest.raises(DataError, match=message):
        gather(changed(records, 1, measurements=measurements), {})


def test_different_training_rows_are_an_error() -> None:
    records = small()
    data = {"splits": {"train": {"rows": 300, "digest": "fewer"}}}
    with pytest.raises(DataError, match=r"training rows with digest sst2-train and fewer.*`limit`"):
        gather(changed(records, 2, data=data), {})


def test_different_steps_are_an_error_unless_runs_may_stop_early() -> None:
    records = small()
    longer = changed(records, 3, training={**records[3].training, "optimizer_steps": 90})
    with pytest.raises(DataError, match=r"'sst2--predictor--seed0' and 'sst2--generator--seed0'.*steps: 60 and 90"):
        gather(longer, {})
    patient = [replace(r, config={**r.config, "patience": 2}) for r in longer]
    assert gather(patient, {}).tasks == ["sst2"]


def test_two_splits_are_an_error() -> None:
    records = small() + small("sick", split="validation")
    with pytest.raises(DataError, match=r"different splits: test \('sst2.*validation \('sick"):
        gather(records, {})


def test_a_figure_that_the_predictions_do_not_give_is_an_error() -> None:
    records = small()
    wrong = remeasured(records[2], metrics={**records[2].measurements[0].metrics, "accuracy": 0.123})
    with pytest.raises(DataError, match=r"'sst2--predictor--seed1' says accuracy 0.123 on 'sst2'.*damaged"):
        gather(changed(records, 2, measurements=wrong), {})


def test_a_primary_figure_that_was_not_recorded_comes_from_the_predictions() -> None:
    records = small()
    told = records[2].measurements[0].metrics
    rest = {name: value for name, value in told.items() if name != "accuracy"}
    runs = gather(changed(records, 2, measurements=remeasured(records[2], metrics=rest)), {})
    run = runs.done["sst2", "predictor"][1]
    assert run.figure("accuracy") == pytest.approx(told["accuracy"])


def test_failed_refused_and_missing_runs_are_listed() -> None:
    records = small()
    records[1] = factory.broken(records[1])
    records[2] = factory.broken(records[2], factory.REFUSAL)
    runs = gather(records[:-1], {})
    assert [(s.variant, s.seed, s.status) for s in runs.shortfalls] == [
        ("predictor", 0, "failed"),
        ("predictor", 1, "refused"),
        ("generator", 1, "missing"),
    ]
    assert runs.shortfalls[0].reason == "TrainingError: the loss is not finite at step 12. Lower `learning_rate`."
    assert ("sst2", "predictor") not in runs.done


def test_a_variant_whose_runs_all_failed_early_is_still_told() -> None:
    records = small()
    for place in (1, 2):
        records[place] = replace(factory.broken(records[place]), config={}, kind="", data={})
    runs = gather(records, {})
    assert next(v for v in runs.variants if v.name == "predictor").method == "predictor"


def test_a_failed_run_without_a_reason_is_listed() -> None:
    records = small()
    records[1] = replace(factory.broken(records[1]), error=None)
    assert gather(records, {}).shortfalls[0].reason == "error: not recorded"


def test_the_plan_says_what_is_missing() -> None:
    plan = {
        "tasks": ["sst2", "sick"],
        "variants": [{"name": n, "settings": {"method": n}} for n in ("predictor", "generator", "predgen")],
        "baselines": ["constant", "tfidf"],
        "seeds": [0, 1, 2],
    }
    runs = gather(small(), plan)
    missing = [(s.source, s.variant, s.seed) for s in runs.shortfalls]
    assert missing == [
        ("sst2", "predictor", 2),
        ("sst2", "generator", 2),
        ("sst2", "predgen", 0),
        ("sst2", "predgen", 1),
        ("sst2", "predgen", 2),
        ("sst2", "tfidf", 0),
        ("sick", "all", 0),
    ]
    assert {s.status for s in runs.shortfalls} == {"missing"}
    assert runs.seeds == [0, 1, 2]
    assert [v.name for v in runs.variants] == ["predictor", "generator", "predgen", "constant", "tfidf"]


def test_seeds_that_a_screened_task_was_not_given_are_not_missing() -> None:
    records = small() + factory.records(("sick",), SIMPLE, (0,), n_rows=12)
    plan = {"tasks": ["sst2", "sick"], "seeds": [0, 1], "screen": True}
    runs = gather(records, plan)
    assert runs.shortfalls == []
    assert runs.seeds_of == {"sst2": [0, 1], "sick": [0]}
    assert [(s.variant, s.seed) for s in gather(records, {**plan, "screen": False}).shortfalls] == [
        ("predictor", 1),
        ("generator", 1),
    ]


def test_a_task_that_shares_its_training_rows_is_not_missing() -> None:
    records = factory.records(("gsm8k", "multiarith"), SIMPLE, (0,), n_rows=12)
    runs = gather(records, {"tasks": ["gsm8k", "multiarith"]})
    assert runs.shortfalls == []
    assert runs.sources == {"gsm8k": "gsm8k", "multiarith": "gsm8k"}


def test_only_a_generators_numbers_have_a_mean_of_their_own() -> None:
    records = factory.records(("sick", "sst2"), seeds=(0,), n_rows=12)
    mean = [0.0] * 12
    for place, record in enumerate(records):  # even a baseline that writes has means
        if record.variant == "zero_shot" and record.task == "sick":
            p = replace(record.measurements[0].predictions, mean=mean)
            records[place] = replace(record, measurements=remeasured(record, predictions=p))
    runs = gather(records, {})
    derived = [v for v in runs.variants if v.derived_from is not None]
    assert [(v.name, v.derived_from) for v in derived] == [("generator (mean)", "generator")]
    assert [task for task, name in runs.done if name == "generator (mean)"] == ["sick"]
    run = runs.done["sick", "generator (mean)"][0]
    p = run.measurement.predictions
    assert p.value == p.mean
    by_hand = sum((m - t) ** 2 for m, t in zip(p.mean or [], p.target, strict=True)) / 12
    assert run.measurement.metrics["mse"] == pytest.approx(by_hand)
    assert run.measurement.metrics["mse"] != runs.done["sick", "generator"][0].measurement.metrics["mse"]


def test_settings_that_differ_between_a_variants_runs_are_not_its_settings() -> None:
    records = small() + small("sick")
    records = [
        replace(r, config={**r.config, "learning_rate": 1e-3 if r.task == "sick" else 2e-3, "loss": "sum"})
        for r in records
    ]
    facts = next(v for v in gather(records, {}).variants if v.name == "generator")
    assert facts.settings["loss"] == "sum"
    assert "learning_rate" not in facts.settings


def test_a_task_of_the_users_own_is_last_of_its_kind() -> None:
    own = [replace(r, id=f"own-{r.id}", task="data", measurements=remeasured(r, task="data")) for r in small()]
    assert gather([*own, *small()], {"tasks": []}).tasks == ["sst2", "data"]
