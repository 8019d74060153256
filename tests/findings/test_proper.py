"""Methods are judged by log loss and CRPS, too, each family corrected for itself; what was not measured is not judged."""

from dataclasses import replace

import numpy as np
import pytest

from compare import factory
from predgen.findings.base import Difference
from predgen.findings.make import findings
from predgen.findings.paired import holm
from predgen.metrics.base import PROPER
from predgen.metrics.classification import LOG_LOSS
from predgen.records import Record

SIMPLE = tuple(v for v in factory.VARIANTS if v.name in ("constant", "predictor", "generator"))
TASKS = ("sst2", "sick")


def records() -> list[Record]:
    return factory.records(TASKS, SIMPLE, (0, 1), n_rows=40)


def with_crps(record: Record, factor: float) -> Record:
    """The record, had its distributions been measured: each row's CRPS is a share of its absolute error."""
    m = record.measurements[0]
    p = m.predictions
    error = np.abs(np.array(p.value) - np.array(p.target))
    return replace(record, measurements=[replace(m, predictions=replace(p, facts={"crps": (factor * error).tolist()}))])


def only(found: list[Difference], task: str) -> Difference:
    [one] = [d for d in found if d.task == task and {d.first, d.second} == {"predictor", "generator"}]
    return one


def test_labels_are_compared_by_log_loss_row_by_row() -> None:
    own = records()
    found = findings(own, n_resamples=50)
    difference = only(found.proper_differences, "sst2")
    by_seed = []
    for seed in (0, 1):
        losses = {}
        for record in own:
            if (record.task, record.seed) == ("sst2", seed) and record.variant in (difference.first, difference.second):
                p = record.measurements[0].predictions
                losses[record.variant] = LOG_LOSS(p.target, p.value, p.probabilities, p.labels)
        by_seed.append(losses[difference.first] - losses[difference.second])
    assert difference.metric == "log_loss"
    assert not difference.greater_is_better
    assert difference.estimate.by_seed == pytest.approx(by_seed)
    assert difference.estimate.value == pytest.approx(np.mean(by_seed))
    assert difference.family != only(found.differences, "sst2").family


def test_numbers_are_compared_by_the_crps_that_was_measured_and_by_nothing_else() -> None:
    plain = records()
    told = [r if r.task != "sick" else with_crps(r, 0.2 if r.variant == "generator" else 0.9) for r in plain]
    found = findings(told, n_resamples=50)
    difference = only(found.proper_differences, "sick")
    assert (difference.metric, difference.verdict) == (
        "crps",
        f"{'first' if difference.first == 'generator' else 'second'} better",
    )
    corrected = holm([d.p for d in found.proper_differences])
    assert [d.p_corrected for d in found.proper_differences] == pytest.approx(corrected)
    # A distribution of which nothing was measured, as in earlier records, is not judged by its point.
    assert not [d for d in findings(plain, n_resamples=50).proper_differences if d.task == "sick"]
    assert PROPER == {"classification": "log_loss", "regression": "crps"}


def test_figures_of_facts_have_intervals_and_the_curve_of_saying_nothing_is_there() -> None:
    own = [with_crps(r, 0.5) if r.task == "sick" else r for r in records()]
    for i, record in enumerate(own):
        if record.task == "sick":
            m = record.measurements[0]
            value = float(np.mean(m.predictions.facts["crps"]))
            own[i] = replace(record, measurements=[replace(m, metrics={**m.metrics, "crps": value})])
    found = findings(own, n_resamples=50)
    entry = found.entry("sick", "generator")
    assert entry is not None
    figure = entry.metrics["crps"]
    assert figure.low is not None
    assert figure.low <= figure.value <= figure.high
    labels = found.entry("sst2", "generator")
    assert labels is not None
    assert labels.calibration is not None
    shares, errors = zip(*labels.calibration.abstention, strict=True)
    assert shares[-1] == 1.0
    assert errors[-1] == pytest.approx(1 - labels.metrics["accuracy"].value)
