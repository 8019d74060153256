"""What an experiment shows: by hand, by scipy, by the metrics, and on hostile input."""

import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats

from compare import factory
from predgen.errors import ConfigError, DataError
from predgen.findings.base import Difference, Findings
from predgen.findings.make import findings
from predgen.findings.paired import holm, min_f_p, sign_flip_p
from predgen.metrics.intervals import paired_difference
from predgen.records import PLAN_FILE, Predictions, Record, write_record

Change = Callable[[Predictions], Predictions]
SIMPLE = tuple(v for v in factory.VARIANTS if v.name in ("constant", "predictor", "generator"))
FAST = 100
"""Resamples where the ends of intervals are not looked at."""


def small(tasks: tuple[str, ...] = ("sst2",), seeds: tuple[int, ...] = (0, 1, 2), n_rows: int = 40) -> list[Record]:
    return factory.records(tasks, SIMPLE, seeds, n_rows=n_rows)


def with_predictions(record: Record, change: Change) -> Record:
    """The record, had it predicted something else."""
    old = record.measurements[0]
    new = factory.measurement(old.task, change(old.predictions), old.split)
    return replace(record, measurements=[replace(new, digest=old.digest)])


def only(found: list[Difference], task: str, first: str, second: str) -> Difference:
    [one] = [d for d in found if (d.task, d.first, d.second) == (task, first, second)]
    return one


def right(record: Record) -> np.ndarray:
    p = record.measurements[0].predictions
    return np.array([t == v for t, v in zip(p.target, p.value, strict=True)], dtype=float)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    """Findings of the factory's experiment, with its accidents."""
    return findings(factory.write_experiment(tmp_path_factory.mktemp("experiment") / "x", n_rows=60), n_resamples=FAST)


def test_figures_are_means_over_seeds_of_what_records_tell(whole: Findings) -> None:
    entry = whole.entry("sick", "predictor")
    assert entry is not None
    told = {r.seed: r for r in factory.records(("sick",), n_rows=60) if r.variant == "predictor"}
    for name, figure in entry.metrics.items():
        by_seed = [told[seed].measurements[0].metrics[name] for seed in entry.seeds]
        assert figure.by_seed == by_seed
        assert figure.value == pytest.approx(sum(by_seed) / 3)
        assert figure.low is not None
        assert figure.high is not None
        assert figure.low < figure.value < figure.high
        assert figure.chance == "rows and seeds"
    assert list(entry.metrics) == ["mse", "mae", "rmse", "pearson", "spearman", "r2"]
    assert entry.primary is entry.metrics["mse"]


def test_accidents_are_told(whole: Findings) -> None:
    told = [(s.source, s.variant, s.seed, s.status) for s in whole.shortfalls]
    assert told == [
        *(("gsm8k", "predictor", seed, "refused") for seed in (0, 1, 2)),
        ("gsm8k", "tfidf", 0, "refused"),
        ("sick", "predgen loss=wdal", 1, "failed"),
        ("boolq", "generator", 2, "missing"),
    ]
    lacking = {(e.task, e.variant): (e.seeds, e.lacking) for e in whole.entries if e.lacking}
    assert lacking == {("boolq", "generator"): ([0, 1], [2]), ("sick", "predgen loss=wdal"): ([0, 2], [1])}
    assert "boolq, generator: 2 of 3 seeds; seed 2 is lacking." in whole.notes
    assert whole.entry("gsm8k", "predictor") is None
    assert {"4 runs refused.", "1 run failed.", "1 run missing."} <= set(whole.notes)


def test_differences_take_the_seeds_that_both_have(whole: Findings) -> None:
    one = only(whole.differences, "boolq", "predictor", "generator")
    assert one.seeds == [0, 1]
    assert len(one.estimate.by_seed) == 2


def test_tasks_that_nobody_learns_are_named(whole: Findings) -> None:
    assert whole.not_learnable == ["wassa"]
    assert whole.not_judged == []


def test_tasks_without_the_constant_baseline_are_not_judged() -> None:
    records = [r for r in small(("sst2", "boolq")) if (r.task, r.variant) != ("boolq", "constant")]
    found = findings(records, n_resamples=FAST)
    assert found.not_judged == ["boolq"]
    assert found.not_learnable == []


def test_costs_are_means_over_runs(whole: Findings) -> None:
    cost = next(c for c in whole.costs if (c.source, c.variant) == ("sick", "predgen loss=wdal"))
    assert (cost.runs, cost.train_s, cost.optimizer_steps) == (2, 31.0, 60.0)  # seeds 0 and 2 took 30 s and 32 s
    constant = next(c for c in whole.costs if (c.source, c.variant) == ("sick", "constant"))
    assert (constant.train_s, constant.trainable_parameters, constant.peak_memory_bytes) == (None, None, 4e8)
    assert not any(c.variant == "generator (mean)" for c in whole.costs)


def test_tuning_trials_are_counted(whole: Findings) -> None:
    assert {t.source for t in whole.tuning} == {"sst2", "sick"}
    assert {(t.trials, t.failed) for t in whole.tuning} == {(2, 0)}
    assert whole.tuning[0].choice == {"learning_rate": 2e-3}
    assert whole.has_equal_tuning


def test_unequal_tuning_is_told() -> None:
    trials = factory.trials(("sst2",), SIMPLE)
    trials[0] = factory.broken(trials[0])
    found = findings([*small(), *trials, replace(trials[-1], id="one-more")], n_resamples=FAST)
    assert not found.has_equal_tuning
    assert [(t.variant, t.trials, t.failed) for t in found.tuning] == [("predictor", 2, 1), ("generator", 3, 0)]
    assert "sst2: variants had unequal numbers of tuning trials (predictor 2, generator 3)." in found.notes


def test_findings_are_plain_data_and_the_same_every_time(whole: Findings) -> None:
    records = small(("sst2", "sick"), n_rows=15)
    again = list(records)
    random.Random(3).shuffle(again)
    first, second = findings(records, n_resamples=FAST), findings(records, n_resamples=FAST)
    assert json.dumps(first.to_dict()) == json.dumps(second.to_dict())
    shuffled = findings(again, n_resamples=FAST)
    assert {(e.task, e.variant): e for e in shuffled.entries} == {(e.task, e.variant): e for e in first.entries}
    assert findings(records, n_resamples=FAST, seed=1).entries != first.entries
    assert json.loads(json.dumps(whole.to_dict(), allow_nan=False)) == whole.to_dict()


def test_difference_of_right_and_wrong_by_other_routes() -> None:
    records = small(seeds=(0,))
    found = only(findings(records, n_resamples=4000).differences, "sst2", "predictor", "generator")
    by = right(records[1]) - right(records[2])
    assert found.estimate.value == pytest.approx(by.mean())
    assert found.p_rows == pytest.approx(stats.binomtest(int((by > 0).sum()), int((by != 0).sum())).pvalue, abs=0.005)
    assert (found.p_seeds, found.p) == (None, found.p_rows)
    p = [records[i].measurements[0].predictions for i in (1, 2)]
    other = paired_difference("accuracy", p[0].target, p[0].value, p[1].value, n_resamples=4000)
    assert (found.estimate.low, found.estimate.high) == pytest.approx((other.low, other.high), abs=0.03)
    assert found.estimate.chance == "rows only"


def test_differences_join_rows_and_seeds() -> None:
    records = small()
    found = only(findings(records, n_resamples=FAST).differences, "sst2", "predictor", "generator")
    runs = {(r.variant, r.seed): right(r) for r in records}
    by = np.stack([runs["predictor", s] - runs["generator", s] for s in range(3)])
    assert found.estimate.by_seed == pytest.approx(by.mean(axis=1).tolist())
    assert (found.p_rows, found.p_seeds) == (sign_flip_p(by.mean(axis=0)), min_f_p(by))
    assert found.p == max(found.p_rows, found.p_seeds or 0)


def test_a_baseline_stands_for_every_seed() -> None:
    records = small()
    found = only(findings(records, n_resamples=FAST).baseline_differences, "sst2", "predictor", "constant")
    constant = right(records[0])
    assert found.seeds == [0, 1, 2]
    expected = [right(r).mean() - constant.mean() for r in records if r.variant == "predictor"]
    assert found.estimate.by_seed == pytest.approx(expected)
    named = findings(records, headline=["constant", "predictor"], n_resamples=FAST)
    assert [(d.first, d.second, d.seeds) for d in named.differences] == [("predictor", "constant", [0, 1, 2])]


def test_holm_is_over_tasks_and_pairs_of_the_headline() -> None:
    records = small(("sst2", "boolq", "sick"), n_rows=20)
    found = findings(records, n_resamples=FAST)
    assert found.headline == ["predictor", "generator", "generator (mean)"]
    assert len(found.differences) == 5  # 1 pair on two tasks of labels, 3 on the numbers
    assert [d.p_corrected for d in found.differences] == holm([d.p for d in found.differences])
    assert "p-values are corrected (Holm) for 5 comparisons." in found.notes
    chosen = findings(records, headline=["generator", "predictor"], n_resamples=FAST)
    assert chosen.headline == ["predictor", "generator"]
    assert len(chosen.differences) == 3
    against = findings(records, n_resamples=FAST).baseline_differences
    assert {d.family for d in against} == {"constant"}
    assert [d.p_corrected for d in against] == holm([d.p for d in against])


def test_an_unknown_headline_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"`headline` names 'predicter'.*Did you mean 'predictor'"):
        findings(small(n_rows=5), headline=["predicter"], n_resamples=5)


def test_a_reference_is_what_the_others_are_compared_with() -> None:
    records = small(("sst2", "sick"), n_rows=20)
    found = findings(records, reference="generator", n_resamples=FAST)
    pairs = [("predictor", "generator"), ("generator (mean)", "generator")]
    assert [(o.first, o.second) for o in found.ordering] == pairs
    assert [(d.task, d.first, d.second) for d in found.differences] == [
        ("sst2", *pairs[0]),
        ("sick", *pairs[0]),
        ("sick", *pairs[1]),
    ]
    assert [d.p_corrected for d in found.differences] == holm([d.p for d in found.differences])
    with pytest.raises(ConfigError, match=r"`reference` names 'generater'.*Did you mean 'generator'"):
        findings(records, reference="generater", n_resamples=FAST)


def test_nothing_is_compared_with_a_planned_reference_without_runs(tmp_path: Path) -> None:
    records = small(("sst2",), n_rows=20)
    for record in records:
        write_record(record, tmp_path)
    (tmp_path / PLAN_FILE).write_text(yaml.safe_dump({"reference": "predgen"}), encoding="utf-8")
    assert findings(tmp_path, n_resamples=FAST).differences == []


def test_ordering_counts_verdicts_and_averages_over_tasks(whole: Findings) -> None:
    for ordering in whole.ordering:
        own = [d for d in whole.differences if (d.first, d.second) == (ordering.first, ordering.second)]
        assert ordering.tasks == [d.task for d in own]
        assert ordering.first_better == sum(d.verdict == "first better" for d in own)
        assert ordering.first_better + ordering.second_better + ordering.no_difference == len(own)
        sizes = [d.standardised for d in own]
        test = stats.ttest_1samp(sizes, 0)
        assert ordering.standardised == pytest.approx(np.mean(sizes))
        interval = test.confidence_interval(0.95)
        assert (ordering.low, ordering.high) == pytest.approx((interval.low, interval.high))
    assert len(whole.ordering) == 10


def test_ordering_of_one_task_has_no_interval() -> None:
    [ordering] = findings(small(n_rows=20), n_resamples=FAST).ordering
    assert ordering.standardised is not None
    assert (ordering.low, ordering.high) == (None, None)


def test_equal_methods_show_no_difference() -> None:
    twins = tuple(replace(SIMPLE[1], name=name) for name in ("predictor", "twin"))
    found = findings(factory.records(factory.TASKS, twins, n_rows=50), n_resamples=FAST)
    assert [d.verdict for d in found.differences] == ["no difference shown"] * 5


def test_a_true_difference_is_shown() -> None:
    good, bad = (replace(SIMPLE[1], name=n, skill=s, seed_spread=0.0) for n, s in (("good", 0.9), ("bad", 0.2)))
    found = findings(factory.records(("sst2", "sick"), (bad, good), n_rows=80), n_resamples=FAST)
    assert [(d.first, d.verdict) for d in found.differences] == [("bad", "second better")] * 2
    assert [(o.first_better, o.second_better) for o in found.ordering] == [(0, 2)]
    assert found.ordering[0].standardised is not None
    assert found.ordering[0].standardised < 0


def test_validation_only_experiments_say_so() -> None:
    found = findings(factory.records(("sst2",), SIMPLE, n_rows=15, split="validation"), n_resamples=FAST)
    assert found.split == "validation"
    assert found.notes[0].startswith("All figures are on validation rows")


def test_one_seed_is_said_to_cover_rows_only() -> None:
    found = findings(small(seeds=(4,), n_rows=15), n_resamples=FAST)
    assert {e.primary.chance for e in found.entries} == {"rows only"}
    assert found.seeds == [4]
    assert "sst2: one seed, so intervals and tests cover rows only and say nothing about other seeds." in found.notes
    assert any("two seeds" in note for note in findings(small(seeds=(0, 1), n_rows=9), n_resamples=5).notes)


def test_math_tasks_that_share_models_are_said_to() -> None:
    found = findings(small(("gsm8k", "multiarith"), n_rows=10), n_resamples=FAST)
    assert {(e.task, e.source) for e in found.entries} == {("gsm8k", "gsm8k"), ("multiarith", "gsm8k")}
    assert any(note.startswith("gsm8k, multiarith measure the same models, trained on gsm8k") for note in found.notes)


def test_numbers_that_were_not_read_are_left_out_for_both_and_told() -> None:
    records = small(("sick",))

    def unread(p: Predictions) -> Predictions:
        return replace(p, value=[None, None, *p.value[2:]])

    records[2] = with_predictions(records[2], unread)
    found = findings(records, n_resamples=FAST)
    entry = found.entry("sick", "predictor")
    assert entry is not None
    assert entry.counts["unread"] == [0, 2, 0]
    one = only(found.differences, "sick", "predictor", "generator")
    assert (one.rows, one.left_out) == (38, 2)
    squares = {
        (r.variant, r.seed): np.array([(v - t) ** 2 for v, t in list(zip(p.value, p.target, strict=True))[2:]])
        for r in records
        for p in [r.measurements[0].predictions]
    }
    by_seed = [squares["predictor", s].mean() - squares["generator", s].mean() for s in range(3)]
    assert one.estimate.by_seed == pytest.approx(by_seed)
    assert (
        "sick: of 40 rows a run, up to so many answers could not be read and are left out: predictor 2." in found.notes
    )


def test_a_run_that_read_nothing_shows_nothing() -> None:
    records = small(("sick",), seeds=(0,), n_rows=10)
    records[1] = with_predictions(records[1], lambda p: replace(p, value=[None] * 10))
    found = findings(records, n_resamples=FAST)
    entry = found.entry("sick", "predictor")
    assert entry is not None
    assert entry.primary.value is None
    assert entry.residuals is None
    one = only(found.differences, "sick", "predictor", "generator")
    assert (one.rows, one.left_out, one.estimate.value, one.p, one.verdict) == (0, 10, None, 1.0, "no difference shown")
    assert one.standardised is None


def test_labels_and_answers_that_were_not_read_are_wrong() -> None:
    records = small(("sst2",), seeds=(0,), n_rows=10)
    records[1] = with_predictions(records[1], lambda p: replace(p, value=[None] * 10))
    entry = findings(records, n_resamples=FAST).entry("sst2", "predictor")
    assert entry is not None
    assert entry.primary.value == 0.0
    assert entry.counts["unread"] == [10]


def test_rows_that_were_trained_on_are_told() -> None:
    records = small(n_rows=10)
    seen = [replace(records[1].measurements[0], counts={"trained_on": 3})]
    records[1] = replace(records[1], measurements=seen)
    assert any(
        "up to so many measured rows are training rows, too: predictor 3." in n
        for n in findings(records, n_resamples=FAST).notes
    )


def test_a_correlation_that_is_not_defined_is_none() -> None:
    entry = findings(small(("sick",), n_rows=15), n_resamples=FAST).entry("sick", "constant")
    assert entry is not None
    assert entry.metrics["pearson"].by_seed == [None]
    assert (entry.metrics["pearson"].value, entry.metrics["pearson"].chance) == (None, "nothing")
    assert entry.metrics["mse"].value is not None


def test_a_metric_of_the_users_own_has_a_value_and_no_interval() -> None:
    records = [
        replace(r, measurements=[replace(m, metrics={**m.metrics, "own": 0.25}) for m in r.measurements])
        for r in small(n_rows=15)
    ]
    entry = findings(records, n_resamples=FAST).entry("sst2", "predictor")
    assert entry is not None
    assert entry.metrics["own"].value == 0.25
    assert (entry.metrics["own"].low, entry.metrics["own"].chance) == (None, "nothing")


def test_one_row_shows_nothing_and_breaks_nothing() -> None:
    found = findings(small(("sst2", "sick", "gsm8k"), n_rows=1), n_resamples=FAST)
    assert {e.primary.low for e in found.entries} == {None}
    assert {d.verdict for d in found.differences} == {"no difference shown"}
    assert {d.p for d in found.differences} == {1.0}
    assert found.to_dict()["not_learnable"] == ["sst2", "sick", "gsm8k"]


def test_only_failed_runs_are_findings_too() -> None:
    found = findings([factory.broken(r) for r in small(n_rows=5)], n_resamples=5)
    assert (found.tasks, found.entries, found.differences, found.not_learnable) == ([], [], [], [])
    assert len(found.shortfalls) == 7


def test_equal_records_in_a_folder_and_in_memory_give_equal_figures(tmp_path: Path) -> None:
    records = small(n_rows=12)
    folder = factory.write_experiment(tmp_path / "x", records, study="table1")
    found = findings(folder, n_resamples=FAST)
    assert found.study == "table1"
    in_memory = findings(records, n_resamples=FAST)
    assert {(e.task, e.variant): e for e in found.entries} == {(e.task, e.variant): e for e in in_memory.entries}
    assert in_memory.study is None


def test_a_folder_that_is_no_experiment_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=PLAN_FILE):
        findings(tmp_path)
    write_record(small(n_rows=5)[0], tmp_path)
    with pytest.raises(DataError, match="is no experiment"):
        findings(tmp_path)


def test_an_empty_experiment_is_an_error(tmp_path: Path) -> None:
    (tmp_path / PLAN_FILE).write_text("tasks: [sst2]\n", encoding="utf-8")
    with pytest.raises(DataError, match="no records of final runs yet"):
        findings(tmp_path)


def test_no_value_is_nan(whole: Findings) -> None:
    def numbers(value: Any) -> list[float]:
        if isinstance(value, dict):
            return [n for part in value.values() for n in numbers(part)]
        if isinstance(value, list):
            return [n for part in value for n in numbers(part)]
        return [value] if isinstance(value, float) else []

    found = numbers(whole.to_dict())
    assert len(found) > 1000
    assert all(math.isfinite(n) for n in found)


@pytest.mark.parametrize(("text", "message"), [("tasks: [", "is damaged"), ("", "holds no settings")])
def test_a_damaged_plan_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    folder = factory.write_experiment(tmp_path / "x", small(n_rows=5))
    (folder / PLAN_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=f"{PLAN_FILE}.*{message}"):
        findings(folder, n_resamples=5)
