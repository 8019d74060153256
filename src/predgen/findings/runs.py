"""The runs of an experiment, checked to be comparable: same rows, same training data, same steps."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from predgen import registries
from predgen.core import Kind
from predgen.errors import DataError
from predgen.findings.base import RunStatus, Shortfall, VariantFacts, trains
from predgen.metrics.base import PRIMARY, metric_of
from predgen.metrics.measure import measure
from predgen.metrics.rows import Rows
from predgen.records import Measurement, Record

MEAN = " (mean)"
"""What is added to a variant's name where the mean of its numbers is measured."""

CONSTANT = "constant"
"""The baseline that says the most frequent label, or the mean."""

_FACTS = tuple(
    "model method peft rank director pooling head_norm loss reduction sampling sampling_schedule p_max max_steps_for_sampling"
    " ordered_last_weight learning_rate decimals form".split()
)
"""Settings to tell variants apart by."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run that went well, on the rows of one task.

    Attributes:
        record: The run.
        measurement: Its figures and predictions on the task; of the numbers' means in a derived one.
    """

    record: Record
    measurement: Measurement

    def rows(self) -> Rows:
        """Return checked columns, with probabilities where there are any."""
        p = self.measurement.predictions
        checked = Rows.checked(cast(Kind, self.record.kind), p.target, p.value, p.probabilities or None, p.labels)
        return checked.with_facts(p.facts)

    @property
    def is_judged_properly(self) -> bool:
        """Whether the kind's proper score can be taken: a distribution of numbers of which nothing was measured cannot be judged."""
        p = self.measurement.predictions
        if self.record.kind == "classification":
            return p.probabilities is not None
        return self.record.kind == "regression" and (p.interval is None or "crps" in p.facts)

    def figure(self, name: str) -> float:
        """Return a metric as the record tells it; the primary one of its predictions where it does not; nan without."""
        told = self.measurement.metrics.get(name)
        if told is None and name == PRIMARY[self.record.kind]:
            return self.primary()
        return float("nan") if told is None else told

    def primary(self) -> float:
        """Return the primary metric of the predictions; nan where no number could be read."""
        return metric_of(PRIMARY[self.record.kind]).on(self.rows())


@dataclass(frozen=True, slots=True)
class Runs:
    """All runs of an experiment.

    Attributes:
        split: "test" or "validation".
        tasks: Measured tasks, labels before numbers before word problems.
        kinds: Task -> kind.
        sources: Measured task -> task trained on.
        variants: Methods, derived ones after their own, then baselines.
        done: (measured task, variant) -> seed -> run.
        seeds: All seeds.
        seeds_of: Task to train on -> its seeds; fewer where the experiment did not go on with it.
        shortfalls: Runs that are in no figure.
    """

    split: str
    tasks: list[str]
    kinds: dict[str, str]
    sources: dict[str, str]
    variants: list[VariantFacts]
    done: dict[tuple[str, str], dict[int, Run]]
    seeds: list[int]
    seeds_of: dict[str, list[int]]
    shortfalls: list[Shortfall]

    def of(self, task: str, variant: VariantFacts) -> dict[int, Run]:
        """Return seed -> run, in the order of the seeds; empty without runs."""
        return dict(sorted(self.done.get((task, variant.name), {}).items()))


def gather(records: Sequence[Record], plan: Mapping[str, Any]) -> Runs:
    """Bring records of final runs together.

    Args:
        records: Records of stage "final", in any order.
        plan: The experiment's plan; empty where only records are there.

    Raises:
        DataError: If there are no records, two are of the same run, or what they measured, on which data or in how many
            steps they were trained differs; the message names them.
    """
    if not records:
        raise DataError("the experiment has no records of final runs yet; let `predgen compare` make some.")
    _refuse_doubles(records)
    good = [record for record in records if record.status == "done"]
    done: dict[tuple[str, str], dict[int, Run]] = {}
    for record in good:
        for measurement in record.measurements:
            run = Run(record, measurement)
            _check_primary(run)
            for name, found in ((record.variant, run), *_derived(run)):
                done.setdefault((measurement.task, name), {})[record.seed] = found
    split = _check_equal_rows(done)
    _check_equal_training(good)
    kinds = {task: next(iter(runs.values())).record.kind for (task, _), runs in done.items()}
    sources = {task: next(iter(runs.values())).record.task for (task, _), runs in done.items()}
    seeds_of = _seeds_of(records, plan)
    return Runs(
        split=split,
        tasks=sorted(kinds, key=lambda task: (list(PRIMARY).index(kinds[task]), _place(task, registries.tasks))),
        kinds=kinds,
        sources=sources,
        variants=_variants(records, plan, {name for _, name in done}),
        done=done,
        seeds=sorted({record.seed for record in records} | set(plan.get("seeds", ()))),
        seeds_of=seeds_of,
        shortfalls=[*_broken(records), *_missing(records, plan, seeds_of)],
    )


def baseline_of(record: Record) -> str | None:
    """Name of the baseline that a record is of; None for a method."""
    name: str | None = record.cell.get("baseline")
    return name


def _settings(record: Record) -> Mapping[str, Any]:
    """A run's settings; a run that failed early has only those that it was asked for."""
    settings: Mapping[str, Any] = record.config or record.cell.get("settings", {})
    return settings


def _place(name: str, known: Any) -> tuple[int, str]:  # noqa: ANN401
    """Order of the registry, others after it by name."""
    names = list(known)
    return (names.index(name) if name in names else len(names), name)


def _refuse_doubles(records: Sequence[Record]) -> None:
    """Raise where two records are of the same run: one of them would be lost in silence."""
    seen: dict[tuple[str, str, int], Record] = {}
    for record in records:
        other = seen.setdefault((record.task, record.variant, record.seed), record)
        if other is not record:
            raise DataError(
                f"records {other.id!r} and {record.id!r} are both of {record.variant!r} on {record.task!r} with seed"
                f" {record.seed}. Take one of them away."
            )


def _check_primary(run: Run) -> None:
    """Raise where the record's own figure is not that of its predictions."""
    name = PRIMARY[run.record.kind]
    told, value = run.figure(name), run.primary()
    if not np.isclose(told, value, rtol=1e-6, atol=1e-9, equal_nan=True):
        raise DataError(
            f"record {run.record.id!r} says {name} {told:g} on {run.measurement.task!r}, but its predictions give {value:g}."
            " It is damaged; delete it and run the experiment again."
        )


def _derived(run: Run) -> Iterator[tuple[str, Run]]:
    """Yield the mean of what a method without a head writes as a variant of its own: the same run, read in another way."""
    record, measurement = run.record, run.measurement
    p = measurement.predictions
    method = _settings(record).get("method")
    is_headless = method in registries.methods and registries.methods.facts(str(method)).get("headless", False)
    if record.kind != "regression" or not is_headless or baseline_of(record) is not None or p.mean is None:
        return
    names = [name for name in measurement.metrics if name in registries.metrics]
    values = measure(names, p.target, p.mean, facts=p.facts)
    metrics = {name: None if math.isnan(value) else value for name, value in values.items()}
    predictions = replace(p, value=list(p.mean))
    yield record.variant + MEAN, Run(record, replace(measurement, metrics=metrics, predictions=predictions))


def _check_equal_rows(done: Mapping[tuple[str, str], Mapping[int, Run]]) -> str:
    """Raise where runs on a task met different rows; returns the split that all measured."""
    first: dict[str, Run] = {}
    for run in (run for runs in done.values() for run in runs.values()):
        known = first.setdefault(run.measurement.task, run)
        ours, theirs = run.measurement, known.measurement
        same = ours.digest == theirs.digest and ours.predictions.row_id == theirs.predictions.row_id
        if not (same and ours.predictions.target == theirs.predictions.target):
            raise DataError(
                f"records {known.record.id!r} and {run.record.id!r} measured different rows of {ours.task!r} (digests"
                f" {theirs.digest} and {ours.digest}), so they cannot be compared. Run both with the same files, `split_seed` and"
                " `scored_rows`."
            )
    splits = {run.measurement.split: run.record.id for run in first.values()}
    if len(splits) > 1:
        told = ", ".join(f"{split} ({name!r})" for split, name in sorted(splits.items()))
        raise DataError(f"records measured different splits: {told}. Keep them in two experiments.")
    return next(iter(splits), "test")


def _check_equal_training(records: Sequence[Record]) -> None:
    """Raise where runs on a task were trained on different rows, or in different numbers of steps.

    Runs that stop early (`patience`) are free in their steps; so are baselines, which have none, and models that share several
    targets, which are equal to single ones in total cost.
    """
    rows: dict[str, tuple[Any, Record]] = {}
    steps: dict[str, tuple[Any, Record]] = {}
    for record in records:
        digest = record.data.get("splits", {}).get("train", {}).get("digest")
        _same(rows, digest, record, "training rows with digest", "the same files, `split_seed` and `limit`")
        is_free = _settings(record).get("patience") is not None or record.cell.get("sharing", False)
        if baseline_of(record) is None and not is_free:
            taken = record.training.get("optimizer_steps")
            _same(
                steps, taken, record, "optimizer steps:", "the same `epochs`, `batch_size` and `gradient_accumulation`"
            )


def _same(seen: dict[str, tuple[Any, Record]], value: object, record: Record, what: str, repair: str) -> None:
    """Raise where a value differs from that of the first record of the task."""
    known, other = seen.setdefault(record.task, (value, record))
    if value != known:
        raise DataError(
            f"records {other.id!r} and {record.id!r} cannot be compared: {what} {known} and {value}. Run both with {repair}."
        )


def _seeds_of(records: Sequence[Record], plan: Mapping[str, Any]) -> dict[str, list[int]]:
    """Seeds that a task's methods should have: the plan's, or those that the other methods have.

    An experiment that screens goes on only with tasks that are worth it: there, seeds that no run has are not missing.
    """
    found: dict[str, set[int]] = {}
    for record in records:
        found.setdefault(record.task, set()).add(record.seed)
    planned = set() if plan.get("screen") else set(plan.get("seeds", ()))
    return {source: sorted(seeds | planned) for source, seeds in found.items()}


def _names(records: Sequence[Record], plan: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Names of methods' variants in the plan's order, and of baselines."""
    methods = [variant["name"] for variant in plan.get("variants", ())]
    methods += [record.variant for record in records if baseline_of(record) is None]
    baselines = {*plan.get("baselines", ()), *(r.variant for r in records if baseline_of(r) is not None)}
    return list(dict.fromkeys(methods)), sorted(baselines, key=lambda name: _place(name, registries.baselines))


def _variants(records: Sequence[Record], plan: Mapping[str, Any], measured: set[str]) -> list[VariantFacts]:
    """What each variant is."""
    methods, baselines = _names(records, plan)
    planned = {variant["name"]: variant["settings"] for variant in plan.get("variants", ())}
    found = []
    for name in methods:
        settings = [_settings(record) for record in records if record.variant == name] or [planned[name]]
        constant = {
            k: settings[0][k] for k in _FACTS if k in settings[0] and all(s.get(k) == settings[0][k] for s in settings)
        }
        found.append(VariantFacts(name, constant.get("method"), None, None, constant))
        if name + MEAN in measured:
            found.append(VariantFacts(name + MEAN, constant.get("method"), None, name, constant))
    return found + [VariantFacts(name, None, name, None, {}) for name in baselines]


def _broken(records: Sequence[Record]) -> Iterator[Shortfall]:
    """Yield runs that failed or were refused."""
    for record in records:
        if record.status != "done":
            error = record.error or {}
            reason = f"{error.get('type', 'error')}: {error.get('message', 'not recorded')}"
            status: RunStatus = record.status
            yield Shortfall(record.id, record.task, record.variant, record.seed, status, reason)


def _missing(
    records: Sequence[Record], plan: Mapping[str, Any], seeds_of: Mapping[str, Sequence[int]]
) -> Iterator[Shortfall]:
    """Yield runs that should be there and are not: every variant on every task with every seed, baselines that do not train once."""
    methods, baselines = _names(records, plan)
    there = {(record.task, record.variant, record.seed) for record in records}
    once = {(record.task, record.variant) for record in records}
    for source, seeds in seeds_of.items():
        wanted = [(name, seed) for name in [*methods, *filter(trains, baselines)] for seed in seeds]
        wanted += [(name, seeds[0]) for name in baselines if not trains(name) and (source, name) not in once]
        for name, seed in wanted:
            if (source, name, seed) not in there:
                reason = "there is no record; let `predgen compare` go on"
                yield Shortfall(f"{source} / {name} / seed {seed}", source, name, seed, "missing", reason)
    measured = {m.task for record in records for m in record.measurements} | {
        test for record in records for test in record.cell.get("tests", ())
    }
    for task in plan.get("tasks", ()):
        if task not in measured and task not in seeds_of:
            yield Shortfall(task, task, "all", 0, "missing", "there is no record of the task yet")
